"""What a template says of an existing cluster, for whoever reads it, and for a rehearsal that creates it first.

The contract is eks-rehearsal's: `eks_rehearsal/existing_cluster.schema.json`.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict

EXISTING_CLUSTER: Final = "eks-rehearsal:existing-cluster"


class ExistingClusterFacts(TypedDict):
    """Version 1; what is None is not written."""

    Version: Literal[1]
    Name: str
    KubernetesVersion: str
    AuthenticationMode: str | None
    IpFamily: str
    OidcIssuer: str | None
    OidcProvider: bool
    VpcId: str | None
    SubnetIds: list[str]
    ClusterSecurityGroupId: str | None
    SecurityGroupIds: list[str]
    NodeGroup: str | None
    KubectlRoleArn: str | None
    PodIdentityAgent: bool
