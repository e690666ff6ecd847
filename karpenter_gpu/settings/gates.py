"""Which of Karpenter's feature gates a pool needs: they are set for it, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from karpenter_gpu.settings.karpenter import KarpenterSettings
from karpenter_gpu.settings.pool import GpuPool
from karpenter_gpu.settings.reservations import RESERVED


class Need(NamedTuple):
    """A gate that a setting cannot do without.

    Args:
        gate: Its name in `FeatureGates`.

        where: The setting.

        why: What would go wrong, to be continued after a comma.

        way_out: What else can be done than to open it.
    """

    gate: str
    where: str
    why: str
    way_out: str


def needs(pool: GpuPool) -> Iterator[Need]:
    """The gates that a pool needs."""
    if pool.has_fractional_types:
        families = ", ".join(sorted({kind.family for kind in pool.types if kind.is_fractional}))
        yield Need("node_overlay", "", f"EC2 counts no GPU on {families}", f"leave {families} out")
    if RESERVED in pool.capacity_types:
        why = "Karpenter uses no reservations unless it is told to"
        yield Need("reserved_capacity", "capacity_types", why, "leave 'reserved' out")
    if pool.sharing is not None:
        yield Need("node_overlay", "sharing", "EC2 counts a shared GPU as one", "leave it out")


def with_gates(karpenter: KarpenterSettings, pools: Iterable[GpuPool]) -> KarpenterSettings:
    """The controller with the gates open that its pools need."""
    opened = {need.gate: True for pool in pools for need in needs(pool)}
    return replace(karpenter, feature_gates=replace(karpenter.feature_gates, **opened)) if opened else karpenter
