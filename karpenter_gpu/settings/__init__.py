"""What a user can say: frozen, strict, and every fault reported at once."""

from karpenter_gpu.settings._types import NEVER
from karpenter_gpu.settings.ami import AmiAlias, AmiFamily, AmiIds, AmiParameter
from karpenter_gpu.settings.cluster import ExistingVpc, NewCluster, NewVpc, SystemNodes
from karpenter_gpu.settings.context import platform_from_context
from karpenter_gpu.settings.cpu_pool import AnyPool, CpuPool, InstanceCategory
from karpenter_gpu.settings.device_plugin import DevicePlugin
from karpenter_gpu.settings.existing import AuthenticationMode, DiscoveryMode, ExistingCluster, IpFamily
from karpenter_gpu.settings.health import Health, Metrics
from karpenter_gpu.settings.karpenter import IRSA, POD_IDENTITY, FeatureGates, Identity, KarpenterSettings
from karpenter_gpu.settings.kubelet import Kubelet
from karpenter_gpu.settings.platform import Platform
from karpenter_gpu.settings.pool import (
    ON_DEMAND,
    SPOT,
    Architecture,
    Budget,
    CapacityType,
    ConsolidationPolicy,
    DisruptionReason,
    GpuPool,
    InstanceStorePolicy,
    Pool,
    RootVolume,
    Taint,
    TaintEffect,
)
from karpenter_gpu.settings.reservations import (
    RESERVED,
    NewReservation,
    ReservationById,
    ReservationMatch,
    ReservationsByTags,
)
from karpenter_gpu.settings.sharing import MPS, TIME_SLICING, MigProfile, MigSharing, Sharing, SharingStrategy

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
    "AnyPool",
    "Architecture",
    "AuthenticationMode",
    "Budget",
    "CapacityType",
    "ConsolidationPolicy",
    "CpuPool",
    "DevicePlugin",
    "DiscoveryMode",
    "DisruptionReason",
    "ExistingCluster",
    "ExistingVpc",
    "FeatureGates",
    "GpuPool",
    "Health",
    "Identity",
    "InstanceCategory",
    "InstanceStorePolicy",
    "IpFamily",
    "KarpenterSettings",
    "Kubelet",
    "Metrics",
    "MigProfile",
    "MigSharing",
    "NewCluster",
    "NewReservation",
    "NewVpc",
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
    "platform_from_context",
]
