"""The images that AWS publishes for EKS nodes: SSM's public parameters and EC2's images of them.

Paths and first and last releases: docs of Karpenter 1.14 and the EKS AMI changelog, as of 2026-07-14. An image comes
into being when its parameter is first read; its id is a hash of its name, so `recommended` and the release of the
same date are one image.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from eks_rehearsal.aws.world import World

# The newest release of each, as `vYYYYMMDD`.
_NEWEST: Final = "v20260714"
_NEWEST_AL2: Final = "v20251209"
_NEWEST_BOTTLEROCKET: Final = "1.62.1"
# The last Kubernetes minor that AL2 images were made for.
LAST_AL2_MINOR: Final = 32
# Of accelerated AL2023 images, which came after the standard ones: the first release.
_FIRST: Final = {
    ("x86_64", "nvidia"): "v20241024",
    ("arm64", "nvidia"): "v20250403",
    ("x86_64", "neuron"): "v20240924",
}
# Amazon's account of EKS images in most regions.
_OWNER: Final = "602401143452"
_ROOT_DEVICE: Final = "/dev/xvda"


@dataclass(frozen=True)
class Image:
    """One published image.

    Args:
        name: As DescribeImages shows it.

        architecture: EC2's word, `x86_64` or `arm64`.

        release: What `release_version` parameters say.
    """

    name: str
    architecture: str
    release: str

    @property
    def id(self) -> str:
        """`ami-` and a hash of the name."""
        return f"ami-{hashlib.sha256(self.name.encode()).hexdigest()[:17]}"


def _dated(release: str, recommended: str, prefix: str) -> str | None:
    """The `vYYYYMMDD` that a path's release part says; None when it is not of this kind of image."""
    if release == "recommended":
        return recommended
    match = re.fullmatch(re.escape(prefix) + r"-(v\d{8})", release)
    return match[1] if match and match[1] <= recommended else None


def _release_version(minor: int, date: str) -> str:
    return f"1.{minor}.0-{date.removeprefix('v')}"


def _al2(minor: int, variant: str, release: str) -> Image | None:
    kind = {"": "", "-arm64": "arm64-", "-gpu": "gpu-"}[variant]
    prefix = f"amazon-eks-{kind}node-1.{minor}"
    date = _dated(release, _NEWEST_AL2, prefix)
    if minor > LAST_AL2_MINOR or date is None:
        return None
    architecture = "arm64" if kind == "arm64-" else "x86_64"
    return Image(f"{prefix}-{date}", architecture, _release_version(minor, date))


def _al2023(minor: int, architecture: str, variant: str, release: str) -> Image | None:
    prefix = f"amazon-eks-node-al2023-{architecture}-{variant}-1.{minor}"
    date = _dated(release, _NEWEST, prefix)
    if date is None or date < _FIRST.get((architecture, variant), ""):
        return None
    if (architecture, variant) == ("arm64", "neuron"):
        return None
    return Image(f"{prefix}-{date}", architecture, _release_version(minor, date))


def _bottlerocket(minor: int, variant: str, architecture: str, release: str) -> Image | None:
    version = _NEWEST_BOTTLEROCKET if release == "latest" else release.removeprefix("v")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        return None
    name = f"bottlerocket-aws-k8s-1.{minor}{variant}-{architecture}-v{version}"
    return Image(name, architecture, version)


_LEAF: Final = r"(?P<leaf>/image_id|/release_version|/image_name|/image_version|)"
_EKS: Final = r"/aws/service/eks/optimized-ami/1\.(?P<minor>\d+)"
_PATHS: Final[tuple[tuple[re.Pattern[str], Callable[..., Image | None]], ...]] = (
    (re.compile(rf"{_EKS}/amazon-linux-2(?P<variant>|-arm64|-gpu)/(?P<release>[^/]+){_LEAF}"), _al2),
    (
        re.compile(
            rf"{_EKS}/amazon-linux-2023/(?P<architecture>x86_64|arm64)/(?P<variant>standard|nvidia|neuron)"
            rf"/(?P<release>[^/]+){_LEAF}"
        ),
        _al2023,
    ),
    (
        re.compile(
            r"/aws/service/bottlerocket/aws-k8s-1\.(?P<minor>\d+)(?P<variant>|-nvidia|-fips)"
            rf"/(?P<architecture>x86_64|arm64)/(?P<release>[^/]+){_LEAF}"
        ),
        _bottlerocket,
    ),
)


def image_of(path: str) -> tuple[Image, str] | None:
    """The image that a public parameter is of, and the parameter's value; None for a path that AWS does not have."""
    for pattern, make in _PATHS:
        match = pattern.fullmatch(path)
        if match is None:
            continue
        parts = match.groupdict()
        leaf = parts.pop("leaf")
        image = make(**{**parts, "minor": int(parts["minor"])})
        return (image, _value(image, leaf)) if image else None
    return None


def _value(image: Image, leaf: str) -> str:
    told = {
        "/image_id": image.id,
        "/image_name": image.name,
        "/image_version": image.release,
        "/release_version": image.release,
    }
    whole = {"schema_version": "2", "image_id": image.id, "image_name": image.name, "release_version": image.release}
    return told.get(leaf) or json.dumps(whole)


def publish(world: World, image: Image) -> None:
    """Put the image into EC2, once, owned by Amazon and public."""
    from moto.ec2.models.amis import Ami  # noqa: PLC0415 - with moto.ec2 come 2 s of tables

    backend: Any = world.backend("ec2")
    if image.id in backend.amis:
        return
    dated = re.search(r"v(\d{8})$", image.name)
    made = datetime.strptime(dated[1], "%Y%m%d") if dated else None  # noqa: DTZ007 - moto's own are naive
    backend.amis[image.id] = Ami(
        backend,
        image.id,
        name=image.name,
        description=f"EKS node image {image.release}",
        owner_id=_OWNER,
        owner_alias="amazon",
        public=True,
        virtualization_type="hvm",
        architecture=image.architecture,
        creation_date=made,
        hypervisor="xen",
        root_device_type="ebs",
        root_device_name=_ROOT_DEVICE,
        image_location=f"amazon/{image.name}",
        region_name=f"{world.region}a",
    )
