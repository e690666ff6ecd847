"""What attaches a stack to a cluster that was there before it."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.function import DeployFunction
from karpenter_gpu.labels import DISCOVERY_TAG, MADE_BY_TAG
from karpenter_gpu.settings import POD_IDENTITY

RESOURCE_TYPE = "Custom::KarpenterGpuAttachment"


class Attachment(DeployFunction):
    """Looks at deployment whether the cluster is as it was taken to be, and then tags what is not this app's.

    Its marks tell the tags and the OIDC provider that it made from those that were there; a deletion takes away only
    what has them.

    Args:
        cluster_name: Literal.

        authentication_mode: That the stack was synthesized for.

        identity: `irsa`, or `pod-identity`, whose agent must then be there.

        discovery: `tags` or `ids`.

        subnet_ids, security_group_ids: What of others GPU nodes use.

        own_ids: Security groups and subnets of this app that have the tag by their templates.

        node_security_group_ids: Those of which the cluster's other nodes must have one.

        kubectl_in_vpc: Whether what runs kubectl is inside the cluster's VPC; None where that is not known.

        oidc_issuer, oidc_provider_arn: The provider to use, or make. Left out: none.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        authentication_mode: str,
        identity: str,
        discovery: str,
        subnet_ids: Sequence[str],
        security_group_ids: Sequence[str],
        own_ids: Sequence[str],
        node_security_group_ids: Sequence[str],
        kubectl_in_vpc: bool | None,
        oidc_issuer: str | None = None,
        oidc_provider_arn: str | None = None,
    ) -> None:
        stack = Stack.of(scope)

        def arn(service: str, resource: str, *, region: str = stack.region) -> str:
            return f"arn:{stack.partition}:{service}:{region}:{stack.account}:{resource}"

        look = ["ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeInstances", "ec2:DescribeTags"]
        addon = arn("eks", f"addon/{cluster_name}/eks-pod-identity-agent/*")
        statements = [
            iam.PolicyStatement(
                actions=look, resources=["*"], conditions={"StringEquals": {"aws:RequestedRegion": stack.region}}
            ),
            iam.PolicyStatement(actions=["eks:DescribeCluster"], resources=[arn("eks", f"cluster/{cluster_name}")]),
        ]
        wide = {"*": "EC2's describing actions take no resource: service authorization reference, Amazon EC2"}
        if identity == POD_IDENTITY:
            statements.append(iam.PolicyStatement(actions=["eks:DescribeAddon"], resources=[addon]))
            wide[addon] = "an add-on's ARN ends with an id that EKS chooses"
        tagged = [arn("ec2", f"subnet/{id}") for id in subnet_ids]
        tagged += [arn("ec2", f"security-group/{id}") for id in security_group_ids]
        if discovery == "tags" and tagged:
            statements.append(
                iam.PolicyStatement(
                    actions=["ec2:CreateTags", "ec2:DeleteTags"],
                    resources=tagged,
                    conditions={"ForAllValues:StringEquals": {"aws:TagKeys": [DISCOVERY_TAG, MADE_BY_TAG]}},
                )
            )
        if oidc_provider_arn is not None:
            actions = ("Get", "Create", "Delete", "Tag")
            statements.append(
                iam.PolicyStatement(
                    actions=[f"iam:{action}OpenIDConnectProvider" for action in actions], resources=[oidc_provider_arn]
                )
            )
        super().__init__(
            scope,
            id,
            handler="attach",
            description="Looks whether the cluster is as it was taken to be, and tags what GPU nodes use",
            statements=statements,
            wide=wide,
            resource_type=RESOURCE_TYPE,
            properties={
                "ClusterName": cluster_name,
                "Stack": stack.stack_name,
                "Account": stack.account,
                "AuthenticationMode": authentication_mode,
                "PodIdentity": str(identity == POD_IDENTITY).lower(),
                "Discovery": discovery,
                "SubnetIds": list(subnet_ids),
                "SecurityGroupIds": list(security_group_ids),
                "OwnIds": list(own_ids),
                "NodeSecurityGroupIds": list(node_security_group_ids),
                **({} if kubectl_in_vpc is None else {"KubectlInVpc": str(kubectl_in_vpc).lower()}),
                **({"OidcIssuer": oidc_issuer, "OidcProviderArn": oidc_provider_arn} if oidc_provider_arn else {}),
            },
        )
