"""The role of the nodes Karpenter launches, and their way into the cluster."""

from __future__ import annotations

from aws_cdk import Aws, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct, IConstruct

from karpenter_gpu.cdk.cluster import ec2_principal, grant_node_policies
from karpenter_gpu.cdk.function import DeployFunction
from karpenter_gpu.cdk.target import Target
from karpenter_gpu.settings.existing import CONFIG_MAP

AWS_AUTH_TYPE = "Custom::KarpenterGpuAwsAuth"


class NodeRole(Construct):
    """The node role, and what lets it in: an access entry, or aws-auth where the cluster knows nothing else.

    Args:
        cluster: Whose nodes these are.

        role_name: `KarpenterNodeRole-<cluster>`, say.

        path: IAM path.
    """

    def __init__(self, scope: Construct, id: str, *, cluster: Target, role_name: str, path: str) -> None:
        super().__init__(scope, id)
        self.role = iam.Role(
            self,
            "Role",
            role_name=role_name,
            path=path,
            assumed_by=ec2_principal(),
            description="EC2 instances launched by Karpenter",
        )
        grant_node_policies(self.role, ipv6=cluster.is_ipv6)
        # aws-auth knows roles without their path: https://docs.aws.amazon.com/eks/latest/userguide/auth-configmap.html
        arn = f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{role_name}"
        self.access: IConstruct
        if cluster.authentication_mode != CONFIG_MAP:
            # An L2 entry has a list of access policies, and EKS takes none for this type.
            self.access = eks.CfnAccessEntry(
                self,
                "Access",
                cluster_name=cluster.cluster_name,
                principal_arn=self.role.role_arn,
                type="EC2_LINUX",
            )
        elif cluster.is_made:
            self.access = _in_the_clusters_own_map(cluster, arn)
        else:
            self.access = _in_the_map_that_is_there(self, cluster, arn)


def _in_the_clusters_own_map(cluster: Target, arn: str) -> IConstruct:
    """The CDK writes the map of a cluster it makes, and takes roles of that cluster's stack alone."""
    stack = Stack.of(cluster.cluster)
    id = f"KarpenterNodes-{cluster.name}"
    role = iam.Role.from_role_arn(stack, id, arn)
    cluster.cluster.aws_auth.add_role_mapping(
        role, username="system:node:{{EC2PrivateDNSName}}", groups=["system:bootstrappers", "system:nodes"]
    )
    access: IConstruct = cluster.cluster.aws_auth
    return access


def _in_the_map_that_is_there(scope: Construct, cluster: Target, arn: str) -> IConstruct:
    """One entry, merged into what is there and taken out alone."""
    kubectl = cluster.cluster.kubectl_role
    private = cluster.cluster.kubectl_private_subnets
    group: ec2.ISecurityGroup | None = cluster.cluster.kubectl_security_group
    function = DeployFunction(
        scope,
        "AwsAuth",
        handler="aws_auth",
        description="Lets the nodes' role in by the cluster's aws-auth, and out again",
        statements=[
            iam.PolicyStatement(actions=["sts:AssumeRole"], resources=[kubectl.role_arn]),
            iam.PolicyStatement(actions=["eks:DescribeCluster"], resources=[cluster.cluster.cluster_arn]),
        ],
        wide={},
        resource_type=AWS_AUTH_TYPE,
        properties={"ClusterName": cluster.name, "RoleArn": arn, "KubectlRoleArn": kubectl.role_arn},
        vpc=cluster.vpc if private else None,
        subnets=private or (),
        security_groups=[group] if group else (),
    )
    return function.resource
