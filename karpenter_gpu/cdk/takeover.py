"""What finds a Karpenter that is on a cluster already."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.function import DeployFunction
from karpenter_gpu.cdk.target import Target
from karpenter_gpu.settings import KarpenterSettings
from karpenter_gpu.settings.existing import CONFIG_MAP

RESOURCE_TYPE = "Custom::KarpenterGpuTakeover"

# To look takes less than to hand over. Source: EKS user guide, "Review access policy permissions".
_POLICIES = {False: "AmazonEKSAdminViewPolicy", True: "AmazonEKSClusterAdminPolicy"}


class Takeover(DeployFunction):
    """Looks for a Karpenter before this stack's is installed: fails and says what is where, or takes it over.

    It enters the cluster by an access entry of its own; where aws-auth alone decides, as the role that kubectl takes.

    Args:
        cluster: Where to look.

        settings: Version and namespace of what is to be installed, and whether to take over.

        queue_name: By which a controller is known as this stack's own.
    """

    def __init__(
        self, scope: Construct, id: str, *, cluster: Target, settings: KarpenterSettings, queue_name: str
    ) -> None:
        stack = Stack.of(scope)
        by_map = cluster.authentication_mode == CONFIG_MAP
        statements = [
            iam.PolicyStatement(actions=["eks:DescribeCluster"], resources=[str(cluster.cluster.cluster_arn)])
        ]
        if by_map:
            statements.append(
                iam.PolicyStatement(actions=["sts:AssumeRole"], resources=[str(cluster.kubectl_role_arn)])
            )
        super().__init__(
            scope,
            id,
            handler="takeover",
            description="Looks for a Karpenter that is on the cluster already, and takes it over if it is told to",
            statements=statements,
            wide={},
            resource_type=RESOURCE_TYPE,
            properties={
                # By reference, so that it waits for the cluster.
                "ClusterName": cluster.cluster_name,
                "Version": settings.version,
                "Namespace": settings.namespace,
                "Adopt": str(settings.adopt).lower(),
                "InterruptionQueue": queue_name,
                **({"KubectlRoleArn": cluster.kubectl_role_arn} if by_map else {}),
            },
            network=cluster.kubectl_network,
        )
        if not by_map:
            policy = eks.CfnAccessEntry.AccessPolicyProperty(
                policy_arn=f"arn:{stack.partition}:eks::aws:cluster-access-policy/{_POLICIES[settings.adopt]}",
                access_scope=eks.CfnAccessEntry.AccessScopeProperty(type="cluster"),
            )
            entry = eks.CfnAccessEntry(
                self,
                "Access",
                cluster_name=cluster.cluster_name,
                principal_arn=self.role.role_arn,
                access_policies=[policy],
            )
            self.resource.node.add_dependency(entry)
        elif cluster.is_made:
            trust = iam.PolicyStatement(actions=["sts:AssumeRole"], principals=[self.role])
            cluster.cluster.admin_role.assume_role_policy.add_statements(trust)
