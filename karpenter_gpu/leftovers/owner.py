"""Whose something is, by its tags and its name.

Sources of the tags:
- Kubernetes and EKS: https://docs.aws.amazon.com/eks/latest/userguide/eks-using-tags.html, sec-group-reqs.html
- Karpenter: karpenter-provider-aws pkg/apis/v1/labels.go; `karpenter.k8s.aws/cluster` until 1.0
- eksctl: eksctl pkg/apis/eksctl.io/v1alpha5/types.go
- amazon-vpc-cni-k8s pkg/awsutils/awsutils.go; aws-load-balancer-controller pkg/deploy/tracking/provider.go
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from karpenter_gpu.labels import CNI_CLUSTER_TAG, EKS_CLUSTER_TAG, OLD_CLUSTER_TAG, cluster_tag

CLUSTER_TAG_PREFIX: Final = cluster_tag("")
# Keys whose value is the cluster's name.
NAMING_TAGS: Final = (
    EKS_CLUSTER_TAG,
    OLD_CLUSTER_TAG,
    "aws:eks:cluster-name",
    "eks:cluster-name",
    "alpha.eksctl.io/cluster-name",
    "eksctl.cluster.k8s.io/v1alpha1/cluster-name",
    CNI_CLUSTER_TAG,
    "elbv2.k8s.aws/cluster",
    "ingress.k8s.aws/cluster",
)
# Karpenter writes it on what belongs to no region: pkg/providers/instanceprofile/instanceprofile.go.
REGION_TAG: Final = "topology.kubernetes.io/region"
STACK_TAG: Final = "aws:cloudformation:stack-id"

# Source: https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html
_CLUSTER_NAME: Final = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")

Tags = Mapping[str, str]


def is_cluster_name(text: str) -> bool:
    """Whether EKS takes this for a cluster's name."""
    return bool(_CLUSTER_NAME.fullmatch(text))


@dataclass(frozen=True)
class Claim:
    """Why something is the cluster's.

    Args:
        because: The tag, or the name, that says so.

        kept: Why it is never deleted from here; empty where it may be.
    """

    because: str
    kept: str = ""


@dataclass(frozen=True)
class Owner:
    """The cluster of one name in one region."""

    cluster: str
    region: str

    @property
    def tag_keys(self) -> tuple[str, ...]:
        """Every tag key that can say that something is the cluster's."""
        return (cluster_tag(self.cluster), *NAMING_TAGS)

    def claim(
        self, tags: Tags, name: str = "", names: Iterable[str] = (), *, regions: Iterable[str] | None = None
    ) -> Claim | None:
        """Why a thing is the cluster's, or nothing where it is not, or is shared.

        Args:
            tags: All it has.

            name: What `names` are held against.

            names: Regular expressions of whole names, with `{cluster}` in them.

            regions: The regions it names, for what belongs to no region; None for what is listed by region.
        """
        if tags.get(cluster_tag(self.cluster)) == "shared":
            return None
        said = [f"{key}={value}" for key, value in tags.items() if self._is_mine(key, value)]
        others = sorted({other for key, value in tags.items() if (other := self._other(key, value))})
        if not said:
            is_named = any(re.fullmatch(one.format(cluster=re.escape(self.cluster)), name) for one in names)
            return Claim("its name", "only its name says so") if is_named and not others else None
        elsewhere = regions is not None and self._regions(tags, regions)
        if elsewhere and self.region not in elsewhere:
            return None
        return Claim(f"tag {said[0]}", _kept(others, is_anywhere=elsewhere == set()))

    def _is_mine(self, key: str, value: str) -> bool:
        if key == cluster_tag(self.cluster):
            return value == "owned"
        return key in NAMING_TAGS and value == self.cluster

    def _other(self, key: str, value: str) -> str:
        """The other cluster that a tag names."""
        if key.startswith(CLUSTER_TAG_PREFIX):
            other = key.removeprefix(CLUSTER_TAG_PREFIX)
        else:
            other = value if key in NAMING_TAGS else ""
        return "" if other == self.cluster else other

    @staticmethod
    def _regions(tags: Tags, regions: Iterable[str]) -> set[str]:
        of_stack = tags.get(STACK_TAG, "").split(":")
        return {one for one in (*regions, tags.get(REGION_TAG, ""), *of_stack[3:4]) if one}


def _kept(others: list[str], *, is_anywhere: bool) -> str:
    if others:
        return f"its tags name cluster {', '.join(others)}, too"
    return "nothing says that it is not of a cluster of the same name in another region" if is_anywhere else ""
