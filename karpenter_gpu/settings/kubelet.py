"""What the kubelet of a pool's nodes is told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import Distinct, Duration, default, karpenter_duration

Reserved = Literal["cpu", "memory", "ephemeral-storage", "pid"]
Signal = Literal[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
]
_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Percent = Annotated[int, Field(ge=0, le=100)]

_QUANTITY: Final = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?"
_SHARE: Final = r"([0-9]{1,2}(\.[0-9]{1,2})?|100(\.0{1,2})?)%"

# Setting -> Karpenter's name, where it is not the same words. Source: EC2NodeClass CRD, spec.kubelet.
_NAMES: Final = {
    "image_gc_high_threshold_percent": "imageGCHighThresholdPercent",
    "image_gc_low_threshold_percent": "imageGCLowThresholdPercent",
    "cpu_cfs_quota": "cpuCFSQuota",
    "cluster_dns": "clusterDNS",
}


@setting
class Kubelet:
    """Settings of the kubelet; one left out keeps the image's own.

    Args:
        max_pods: Pods on a node. With prefix delegation (`cluster.addon_values`) a node takes more than it has addresses.

        pods_per_core: Pods for each vCPU, where that is less. Not on Bottlerocket.

        kube_reserved: What Kubernetes' own programs keep: cpu, memory, ephemeral-storage, pid.

        system_reserved: The same for the system's.

        eviction_hard: Where pods are evicted at once: `{"memory.available": "5%"}`.

        eviction_soft: Where they are after their grace period.

        eviction_soft_grace_period: How long each signal of `eviction_soft` must last.

        eviction_max_pod_grace_period: The most seconds a pod gets at a soft eviction.

        image_gc_high_threshold_percent: Disk use at which images are removed.

        image_gc_low_threshold_percent: Disk use down to which they are.

        cpu_cfs_quota: Whether CPU limits are enforced.

        cluster_dns: Addresses of the DNS server.

    Source: EC2NodeClass CRD, v1.0.1 to v1.15.1; every field here exists in all of them.
    """

    max_pods: _Count | None = None
    pods_per_core: _Count | None = None
    kube_reserved: Mapping[Reserved, str] = field(default_factory=dict)
    system_reserved: Mapping[Reserved, str] = field(default_factory=dict)
    eviction_hard: Mapping[Signal, str] = field(default_factory=dict)
    eviction_soft: Mapping[Signal, str] = field(default_factory=dict)
    eviction_soft_grace_period: Mapping[Signal, Duration] = field(default_factory=dict)
    eviction_max_pod_grace_period: _Count | None = None
    image_gc_high_threshold_percent: _Percent | None = None
    image_gc_low_threshold_percent: _Percent | None = None
    cpu_cfs_quota: bool | None = None
    cluster_dns: Distinct[str] = default(())

    def check(self) -> Iterator[Fault]:
        for name, pattern in (
            ("kube_reserved", _QUANTITY),
            ("system_reserved", _QUANTITY),
            ("eviction_hard", f"{_SHARE}|{_QUANTITY}"),
            ("eviction_soft", f"{_SHARE}|{_QUANTITY}"),
        ):
            for key, value in getattr(self, name).items():
                if not re.fullmatch(pattern, value):
                    like = "'5%' or '1Gi'" if "eviction" in name else "'500m' or '1Gi'"
                    yield Fault(f"{name}.{key}", f"{value!r} is not an amount; write it as in {like}")
        for given, other in (
            ("eviction_soft", "eviction_soft_grace_period"),
            ("eviction_soft_grace_period", "eviction_soft"),
        ):
            for key in sorted(set(getattr(self, given)) - set(getattr(self, other))):
                yield Fault(given, f"{key} is given without {other}, and Karpenter takes both or neither; add {other}")
        high, low = self.image_gc_high_threshold_percent, self.image_gc_low_threshold_percent
        if high is not None and low is not None and high <= low:
            yield Fault(
                "image_gc_high_threshold_percent", f"{high} is not above image_gc_low_threshold_percent, which is {low}"
            )

    def rendered(self) -> dict[str, Any]:
        """As Karpenter has it: what was given, and nothing else."""
        found: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Mapping):
                value = {key: v if isinstance(v, str) else karpenter_duration(v) for key, v in value.items()}
            elif isinstance(value, tuple):
                value = list(value)
            if value not in (None, {}, []):
                found[karpenter_name(one.name)] = value
        return found


def karpenter_name(setting: str) -> str:
    """A field as Karpenter calls it: `max_pods` is `maxPods`."""
    first, *more = setting.split("_")
    return _NAMES.get(setting, first + "".join(word.capitalize() for word in more))
