"""GPUs on EKS that appear when a pod asks for one and are gone, and unbilled, a minute after the last pod leaves.

`EksGpuStack` is a whole platform; `Karpenter`, with `add_gpu_pool`, is for a stack and a cluster of your own. What a
user can say is plain Python and needs neither the CDK nor Node.js until one of these two is asked for.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from karpenter_gpu import _node
from karpenter_gpu.errors import Fault, InvalidSettings, KarpenterGpuError, NodeMissing, plain_faults
from karpenter_gpu.settings import (
    IRSA,
    MPS,
    NEVER,
    ON_DEMAND,
    POD_IDENTITY,
    RESERVED,
    SPOT,
    TIME_SLICING,
    AmiAlias,
    AmiFamily,
    AmiIds,
    AmiParameter,
    Architecture,
    AuthenticationMode,
    Budget,
    CapacityType,
    ConsolidationPolicy,
    CpuPool,
    DevicePlugin,
    DiscoveryMode,
    DisruptionReason,
    ExistingCluster,
    ExistingVpc,
    FeatureGates,
    GpuPool,
    Health,
    Identity,
    InstanceCategory,
    InstanceStorePolicy,
    IpFamily,
    KarpenterSettings,
    Kubelet,
    Metrics,
    MigProfile,
    MigSharing,
    NewCluster,
    NewReservation,
    NewVpc,
    Platform,
    Pool,
    ReservationById,
    ReservationMatch,
    ReservationsByTags,
    RootVolume,
    Sharing,
    SharingStrategy,
    SystemNodes,
    Taint,
    TaintEffect,
    platform_from_context,
)

if TYPE_CHECKING:
    from karpenter_gpu.cdk.karpenter import Karpenter
    from karpenter_gpu.stack import EksGpuStack

__all__ = [
    "IRSA",
    "MPS",
    "NEVER",
    "ON_DEMAND",
    "POD_IDENTITY",
    "RESERVED",
    "SPOT",
    "TIME_SLICING",
    "AmiAlias",
    "AmiFamily",
    "AmiIds",
    "AmiParameter",
    "Architecture",
    "AuthenticationMode",
    "Budget",
    "CapacityType",
    "ConsolidationPolicy",
    "CpuPool",
    "DevicePlugin",
    "DiscoveryMode",
    "DisruptionReason",
    "EksGpuStack",
    "ExistingCluster",
    "ExistingVpc",
    "Fault",
    "FeatureGates",
    "GpuPool",
    "Health",
    "Identity",
    "InstanceCategory",
    "InstanceStorePolicy",
    "InvalidSettings",
    "IpFamily",
    "Karpenter",
    "KarpenterGpuError",
    "KarpenterSettings",
    "Kubelet",
    "Metrics",
    "MigProfile",
    "MigSharing",
    "NewCluster",
    "NewReservation",
    "NewVpc",
    "NodeMissing",
    "Platform",
    "Pool",
    "ReservationById",
    "ReservationMatch",
    "ReservationsByTags",
    "RootVolume",
    "Sharing",
    "SharingStrategy",
    "SystemNodes",
    "Taint",
    "TaintEffect",
    "plain_faults",
    "platform_from_context",
]

_CONSTRUCTS = {"EksGpuStack": "karpenter_gpu.stack", "Karpenter": "karpenter_gpu.cdk.karpenter"}

__version__ = _version("karpenter-gpu")

# Hidden from type checkers, to which a module with `__getattr__` has every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the constructs, and with them the CDK, when they are first asked for."""
        if name in _CONSTRUCTS:
            _node.require_node()
            return getattr(_import_module(_CONSTRUCTS[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


_node.use_installed_node()
_node.disable_jsii_cache()
