"""Which machine image a pool's nodes boot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import Distinct, case_by_key

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
            family == "bottlerocket" and version != "latest" and not re.fullmatch(r"v?[0-9]+\.[0-9]+\.[0-9]+", version)
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
        if not self.ssm_parameter.startswith("/"):
            yield Fault("ssm_parameter", f"{self.ssm_parameter!r} is not the full name of a parameter; begin with '/'")


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
