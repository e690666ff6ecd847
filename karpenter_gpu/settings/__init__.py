"""What a user can say: frozen, strict, and every fault reported at once."""

from karpenter_gpu.settings._types import NEVER
from karpenter_gpu.settings.ami import AmiAlias, AmiIds, AmiParameter
from karpenter_gpu.settings.cluster import ExistingVpc, NewCluster, NewVpc, SystemNodes
from karpenter_gpu.settings.context import platform_from_context
from karpenter_gpu.settings.device_plugin import DevicePlugin
from karpenter_gpu.settings.existing import ExistingCluster
from karpenter_gpu.settings.karpenter import IRSA, POD_IDENTITY, FeatureGates, KarpenterSettings
from karpenter_gpu.settings.kubelet import Kubelet
from karpenter_gpu.settings.platform import Platform
from karpenter_gpu.settings.pool import ON_DEMAND, SPOT, Budget, GpuPool, RootVolume, Taint

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
    "ExistingCluster",
    "ExistingVpc",
    "FeatureGates",
    "GpuPool",
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
