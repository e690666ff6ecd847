"""NodeOverlay: what EC2 does not say of an instance type."""

from __future__ import annotations

from typing import Any

from karpenter_gpu import labels
from karpenter_gpu.settings import GpuPool


def node_overlay(pool: GpuPool) -> dict[str, Any] | None:
    """One countable GPU for the fractional types of a pool; None when it has none.

    Source: karpenter-provider-aws website concepts/nodeoverlays.md (v1.14); karpenter core
    pkg/apis/v1alpha1/nodeoverlay_validation.go, which allows nvidia.com/gpu.
    """
    fractional = [i.name for i in pool.types if i.is_fractional]
    if not fractional:
        return None
    return {
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {"name": pool.name},
        "spec": {
            "requirements": [
                {"key": labels.NODEPOOL, "operator": "In", "values": [pool.name]},
                {"key": labels.INSTANCE_TYPE, "operator": "In", "values": fractional},
            ],
            "capacity": {labels.GPU_RESOURCE: "1"},
        },
    }
