"""Which of Karpenter's feature gates other settings need: they are set for these, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from karpenter_gpu.compat import FEATURE_GATES
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings.health import Health
from karpenter_gpu.settings.karpenter import KarpenterSettings
from karpenter_gpu.settings.pool import GpuPool, Pool
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


def needs(pool: Pool) -> Iterator[Need]:
    """The gates that a pool needs."""
    if not isinstance(pool, GpuPool):
        return
    if pool.has_fractional_types:
        families = ", ".join(sorted({kind.family for kind in pool.types if kind.is_fractional}))
        yield Need("node_overlay", "", f"EC2 counts no GPU on {families}", f"leave {families} out")
    if RESERVED in pool.capacity_types:
        why = "Karpenter uses no reservations unless it is told to"
        yield Need("reserved_capacity", "capacity_types", why, "leave 'reserved' out")
    if pool.sharing is not None:
        yield Need("node_overlay", "sharing", "EC2 counts a shared GPU as one", "leave it out")


def needs_of_health(health: Health | None) -> Iterator[Need]:
    """The gate by which Karpenter repairs nodes."""
    if health is not None and health.repair:
        yield Need("node_repair", "health.repair", "Karpenter repairs no nodes unless it is told to", "leave it out")


def faults(need: Need, karpenter: KarpenterSettings) -> Iterator[Fault]:
    """What is needed is opened, where the version has it and nobody has closed it."""
    since = FEATURE_GATES[need.gate][2]
    if karpenter.release.line < since:
        yield Fault(
            need.where,
            f"{need.why}, and Karpenter {karpenter.release} cannot be told otherwise; use Karpenter {since} or later, or {need.way_out}",
        )
    elif getattr(karpenter.feature_gates, need.gate) is False:
        yield Fault(
            need.where,
            f"{need.why}, and karpenter.feature_gates.{need.gate} is false, so that Karpenter is not told otherwise; "
            f"leave the gate out, or {need.way_out}",
        )


def with_gates(karpenter: KarpenterSettings, pools: Iterable[Pool], health: Health | None = None) -> KarpenterSettings:
    """The controller with the gates open that its pools and the repair of their nodes need."""
    wanted = [need for pool in pools for need in needs(pool)] + [*needs_of_health(health)]
    opened = {need.gate: True for need in wanted}
    return replace(karpenter, feature_gates=replace(karpenter.feature_gates, **opened)) if opened else karpenter
