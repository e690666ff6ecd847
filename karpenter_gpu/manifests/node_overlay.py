"""NodeOverlay: what EC2 does not say of an instance type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from karpenter_gpu import labels
from karpenter_gpu.settings import GpuPool, Pool


def node_overlays(pool: Pool) -> Iterator[dict[str, Any]]:
    """What Karpenter must be told of a pool's instance types: one GPU of the fractional ones, and how many pods share GPUs.

    A capacity is a number and no factor, so there is an overlay for each number of GPUs.

    Source: karpenter-provider-aws website concepts/nodeoverlays.md (v1.14); karpenter core
    pkg/apis/v1alpha1/nodeoverlay_validation.go, which allows nvidia.com/gpu.
    """
    if not isinstance(pool, GpuPool):
        return
    if fractional := [i.name for i in pool.types if i.is_fractional]:
        yield _overlay(pool, pool.name, labels.INSTANCE_TYPE, fractional, 1)
    if pool.sharing is not None:
        for gpus in sorted({i.gpus for i in pool.types}):
            # A pool's name has no dot, so that this is no other pool's.
            name = f"{pool.name}.{gpus}"
            yield _overlay(pool, name, labels.INSTANCE_GPU_COUNT, [str(gpus)], gpus * pool.pods_per_gpu)


def _overlay(pool: GpuPool, name: str, key: str, values: Sequence[str], gpus: int) -> dict[str, Any]:
    return {
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {"name": name},
        "spec": {
            "requirements": [
                {"key": labels.NODEPOOL, "operator": "In", "values": [pool.name]},
                {"key": key, "operator": "In", "values": list(values)},
            ],
            "capacity": {labels.GPU_RESOURCE: str(gpus)},
        },
    }
