"""Which machine image a pool's nodes boot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, Tag

from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import Distinct, case_by_key
from karpenter_gpu.versions import Minor, Version

# Karpenter's amiFamily: how user data is written and which device is the root. It does not choose the image.
AmiFamily = Literal["AL2", "AL2023", "Bottlerocket"]

_FAMILY_OF_ALIAS = {"al2": "AL2", "al2023": "AL2023", "bottlerocket": "Bottlerocket"}


@setting
class AmiAlias:
    """An EKS-optimized image by Karpenter's alias; Karpenter finds the NVIDIA variant itself.

    Args:
        alias: `family@version`: `al2023@v20260714`, `bottlerocket@1.62.0`, or `family@latest`, which is allowed and
            warned about, for every new release then replaces every node.

    Source: karpenter-provider-aws website concepts/nodeclasses.md, spec.amiSelectorTerms; EC2NodeClass CRD.
    """

    alias: str

    def check(self) -> Iterator[Fault]:
        family, at, version = self.alias.partition("@")
        if not at or not version or len(self.alias) > 30 or family not in _FAMILY_OF_ALIAS:
            yield Fault(
                "alias",
                f"{self.alias!r} is not an alias with NVIDIA images; use family@version with the family al2023, "
                "bottlerocket or al2, as in al2023@v20260714",
            )
        elif (
            family == "bottlerocket"
            and version != "latest"
            and not re.fullmatch(r"v?(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", version)
        ):
            yield Fault("alias", f"{self.alias!r} names no release; Bottlerocket's are numbered, as in 1.62.0")
        elif family != "bottlerocket" and version != "latest" and not re.fullmatch(r"v[0-9]{8}", version):
            yield Fault("alias", f"{self.alias!r} names no release; {family} releases are dated, as in v20260714")

    @property
    def release(self) -> str:
        """What stands behind the @."""
        return self.alias.partition("@")[2]

    @property
    def alias_family(self) -> str:
        """What stands before the @."""
        return self.alias.partition("@")[0]

    @property
    def numbered(self) -> Version | None:
        """Bottlerocket's release as numbers; None for other families, and for the latest."""
        numbered = self.alias_family == "bottlerocket" and self.release != "latest"
        return Version.parse(self.release.removeprefix("v")) if numbered else None

    @property
    def family(self) -> str:
        """Karpenter's amiFamily."""
        return _FAMILY_OF_ALIAS[self.alias_family]


@setting
class AmiParameter:
    """The image whose id stands in an SSM parameter when the stack is deployed.

    CloudFormation reads the parameter at each deployment, so a changed value is seen then and not before.

    Args:
        ssm_parameter: The full name, `/aws/service/eks/optimized-ami/1.30/amazon-linux-2-gpu/recommended/image_id`.

        family: Karpenter's amiFamily, which must fit the image.
    """

    ssm_parameter: Annotated[str, Field(min_length=1)]
    family: AmiFamily

    def check(self) -> Iterator[Fault]:
        image = self.public_image
        if not self.ssm_parameter.startswith("/"):
            yield Fault("ssm_parameter", f"{self.ssm_parameter!r} is not the full name of a parameter; begin with '/'")
        elif self.ssm_parameter.startswith(_AWS_IMAGES) and not self.ssm_parameter.endswith("/image_id"):
            yield Fault(
                "ssm_parameter",
                f"{self.ssm_parameter!r} holds more than the id of an image; use the one that ends in /image_id",
            )
        elif image is not None and image.family != self.family:
            yield Fault(
                "family", f"{self.family} does not fit {self.ssm_parameter}, which is of {image.family}; use that"
            )

    @property
    def public_image(self) -> PublicImage | None:
        """What the name of one of AWS's own parameters says of its image; None for any other parameter."""
        for family, pattern in _PUBLIC.items():
            if found := re.fullmatch(pattern, self.ssm_parameter):
                kind = found["kind"] or "standard"
                arm = kind == "-arm64" or "arm64" in found.groupdict().values()
                return PublicImage(
                    Minor.parse(found["kubernetes"]), family, "arm64" if arm else "amd64", kind.strip("-")
                )
        return None


class PublicImage(NamedTuple):
    """An image of AWS's.

    Args:
        kubernetes: The minor it is for.

        family: Karpenter's amiFamily.

        architecture: Kubernetes' word.

        variant: What it is for: `standard`, `arm64`, `gpu`, `nvidia`, `neuron` and so on.
    """

    kubernetes: Minor
    family: AmiFamily
    architecture: str
    variant: str

    @property
    def has_nvidia(self) -> bool:
        """Whether NVIDIA's driver is in it."""
        return self.variant in {"gpu", "nvidia", "nvidia-fips"}


_AWS_IMAGES: Final = ("/aws/service/eks/optimized-ami/", "/aws/service/bottlerocket/aws-k8s-")

# Source: karpenter-provider-aws pkg/providers/amifamily/{al2,al2023,bottlerocket}.go.
_PUBLIC: Final[Mapping[AmiFamily, str]] = {
    "AL2": r"/aws/service/eks/optimized-ami/(?P<kubernetes>1\.[0-9]{2})/amazon-linux-2(?P<kind>-arm64|-gpu)?/[^/]+/image_id",
    "AL2023": r"/aws/service/eks/optimized-ami/(?P<kubernetes>1\.[0-9]{2})/amazon-linux-2023/(?P<arch>x86_64|arm64)/"
    r"(?P<kind>[a-z]+)/[^/]+/image_id",
    "Bottlerocket": r"/aws/service/bottlerocket/aws-k8s-(?P<kubernetes>1\.[0-9]{2})(?P<kind>-[a-z-]+)?/(?P<arch>x86_64|arm64)/"
    r"[^/]+/image_id",
}


@setting
class AmiIds:
    """Images by id.

    Args:
        ami_ids: One or more `ami-…` ids of the stack's region.

        family: Karpenter's amiFamily, which must fit the images.
    """

    ami_ids: Annotated[Distinct[str], Field(min_length=1, max_length=30)]
    family: AmiFamily

    def check(self) -> Iterator[Fault]:
        for ami in self.ami_ids:
            if not re.fullmatch(r"ami-([0-9a-f]{8}|[0-9a-f]{17})", ami):
                yield Fault("ami_ids", f"{ami!r} is not the id of an image; ids look like ami-0123456789abcdef0")


_CASES: dict[str, type[Any]] = {"alias": AmiAlias, "ssm_parameter": AmiParameter, "ami_ids": AmiIds}

Ami = Annotated[
    Annotated[AmiAlias, Tag("AmiAlias")]
    | Annotated[AmiParameter, Tag("AmiParameter")]
    | Annotated[AmiIds, Tag("AmiIds")],
    case_by_key(_CASES, AmiAlias),
]
