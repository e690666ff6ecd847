"""The role of the nodes Karpenter launches, and their way into the cluster."""

from __future__ import annotations

from aws_cdk import Aws, Stack
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct, IConstruct

from karpenter_gpu.cdk.cluster import ec2_principal, grant_node_policies
from karpenter_gpu.cdk.function import DeployFunction
from karpenter_gpu.cdk.target import Target
from karpenter_gpu.labels import MADE_BY_TAG
from karpenter_gpu.settings.existing import CONFIG_MAP

AWS_AUTH_TYPE = "Custom::KarpenterGpuAwsAuth"
NODE_ACCESS_TYPE = "Custom::KarpenterGpuNodeAccess"


class NodeRole(Construct):
    """The node role, and what lets it in: an access entry, or aws-auth where the cluster knows nothing else.

    Args:
        cluster: Whose nodes these are.

        role_name: `KarpenterNodeRole-<cluster>`, say.

        path: IAM path.

        there: An existing role, to which nothing is attached; none is created then.
    """

    def __init__(
        self, scope: Construct, id: str, *, cluster: Target, role_name: str, path: str, there: iam.IRole | None = None
    ) -> None:
        super().__init__(scope, id)
        self.role: iam.IRole = there or self._made(cluster, role_name, path)
        # aws-auth knows roles without their path: https://docs.aws.amazon.com/eks/latest/userguide/auth-configmap.html
        arn = f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{there.role_name if there else role_name}"
        self.access: IConstruct
        if cluster.authentication_mode == CONFIG_MAP:
            way_in = _by_own_aws_auth if cluster.is_made else _by_existing_aws_auth
            self.access = way_in(self, cluster, arn)
        elif there:
            self.access = _by_existing_entry(self, cluster, self.role.role_arn)
        else:
            # An L2 entry has a list of access policies, and EKS takes none for this type.
            self.access = eks.CfnAccessEntry(
                self,
                "Access",
                cluster_name=cluster.cluster_name,
                principal_arn=self.role.role_arn,
                type="EC2_LINUX",
            )

    def _made(self, cluster: Target, role_name: str, path: str) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            role_name=role_name,
            path=path,
            assumed_by=ec2_principal(),
            description="EC2 instances launched by Karpenter",
        )
        grant_node_policies(role, ipv6=cluster.is_ipv6)
        return role


def _by_existing_entry(scope: Construct, cluster: Target, arn: str) -> IConstruct:
    """An access entry that is used where it is, and made where it is not: EKS has one of a role."""
    stack = Stack.of(scope)
    entries = f"arn:{stack.partition}:eks:{stack.region}:{stack.account}:access-entry/*"
    function = DeployFunction(
        scope,
        "Access",
        handler="node_access",
        description="Lets an existing node role in by an access entry, and out again if it made that",
        statements=[
            iam.PolicyStatement(
                actions=["eks:CreateAccessEntry", "eks:TagResource"],
                resources=[
                    str(cluster.cluster.cluster_arn),
                    f"arn:{stack.partition}:eks:{stack.region}:{stack.account}:access-entry/{cluster.name}/*",
                ],
            ),
            # Of any cluster and role, because a policy is updated before an entry that an update replaces is deleted.
            iam.PolicyStatement(actions=["eks:DescribeAccessEntry"], resources=[entries]),
            iam.PolicyStatement(
                actions=["eks:DeleteAccessEntry"],
                resources=[entries],
                conditions={"StringEquals": {f"aws:ResourceTag/{MADE_BY_TAG}": stack.stack_name}},
            ),
        ],
        wide={
            f"arn:{stack.partition}:eks:{stack.region}:{stack.account}:access-entry/{cluster.name}/*": "an access entry's "
            "ARN ends with an id that EKS chooses",
            entries: "only what has this stack's mark is deleted, also of a role or cluster that an update lets go of",
        },
        resource_type=NODE_ACCESS_TYPE,
        properties={"ClusterName": cluster.cluster_name, "RoleArn": arn, "Stack": stack.stack_name},
    )
    return function.resource


def _by_own_aws_auth(_: Construct, cluster: Target, arn: str) -> IConstruct:
    """The CDK writes the map of a cluster it makes, and takes roles of that cluster's stack alone."""
    stack = Stack.of(cluster.cluster)
    id = f"KarpenterNodes-{cluster.name}"
    role = iam.Role.from_role_arn(stack, id, arn)
    cluster.cluster.aws_auth.add_role_mapping(
        role, username="system:node:{{EC2PrivateDNSName}}", groups=["system:bootstrappers", "system:nodes"]
    )
    access: IConstruct = cluster.cluster.aws_auth
    return access


def _by_existing_aws_auth(scope: Construct, cluster: Target, arn: str) -> IConstruct:
    """One entry, merged into what is there and taken out alone."""
    kubectl, stack = cluster.cluster.kubectl_role, Stack.of(scope)
    clusters = f"arn:{stack.partition}:eks:{stack.region}:{stack.account}:cluster/*"
    function = DeployFunction(
        scope,
        "AwsAuth",
        handler="aws_auth",
        description="Lets the nodes' role in by the cluster's aws-auth, and out again",
        statements=[
            iam.PolicyStatement(actions=["sts:AssumeRole"], resources=[kubectl.role_arn]),
            iam.PolicyStatement(actions=["eks:DescribeCluster"], resources=[clusters]),
        ],
        wide={clusters: "a policy is updated before an entry in a cluster that the update lets go of is removed"},
        resource_type=AWS_AUTH_TYPE,
        properties={"ClusterName": cluster.name, "RoleArn": arn},
        environment={"KUBECTL_ROLE_ARN": kubectl.role_arn},
        network=cluster.kubectl_network,
    )
    return function.resource
