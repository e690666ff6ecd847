"""The role of the nodes Karpenter launches, and their way into the cluster."""

from __future__ import annotations

from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.cluster import ec2_principal, grant_node_policies


class NodeRole(Construct):
    """The node role and its access entry.

    Args:
        cluster: Whose nodes these are; it must take access entries, as every `aws_eks_v2` cluster does.

        role_name: `KarpenterNodeRole-<cluster>`, say.

        path: IAM path.

        ipv6: Whether nodes assign IPv6 addresses.
    """

    def __init__(
        self, scope: Construct, id: str, *, cluster: eks.ICluster, role_name: str, path: str, ipv6: bool
    ) -> None:
        super().__init__(scope, id)
        self.role = iam.Role(
            self,
            "Role",
            role_name=role_name,
            path=path,
            assumed_by=ec2_principal(),
            description="EC2 instances launched by Karpenter",
        )
        grant_node_policies(self.role, ipv6=ipv6)
        # An L2 entry has a list of access policies, and EKS takes none for this type.
        eks.CfnAccessEntry(
            self,
            "Access",
            cluster_name=cluster.cluster_name,
            principal_arn=self.role.role_arn,
            type="EC2_LINUX",
        )
