"""What attaches a stack to an existing cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.function import DeployFunction
from karpenter_gpu.labels import DISCOVERY_TAG, MADE_BY_TAG
from karpenter_gpu.settings import POD_IDENTITY
from karpenter_gpu.settings.existing import TAGS

RESOURCE_TYPE = "Custom::KarpenterGpuAttachment"


class Attachment(DeployFunction):
    """Looks at deployment whether the cluster is as it was taken to be, and then tags what is not this app's.

    Its marks tell the tags and the OIDC provider that it created from the existing ones; a deletion removes only
    what has them.

    Args:
        cluster_name: Literal.

        authentication_mode: That the stack was synthesized for.

        identity: `irsa`, or `pod-identity`, whose agent must then be there.

        discovery: `tags` or `ids`.

        subnet_ids, security_group_ids: What of others GPU nodes use.

        own_ids: Security groups and subnets of this app that have the tag by their templates.

        node_security_group_ids: Those of which the cluster's other nodes must have one.

        function_subnet_ids: Where functions are that are in a VPC; none where they are outside any, or not known.

        kubectl_in_vpc: Whether what runs kubectl is inside the cluster's VPC; None where that is not known.

        oidc_issuer, oidc_provider_arn: The provider to use, or make. Default: none.
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
        function_subnet_ids: Sequence[str],
        oidc_issuer: str | None = None,
        oidc_provider_arn: str | None = None,
    ) -> None:
        stack = Stack.of(scope)
        statements, wide = _rights(
            stack,
            cluster_name=cluster_name,
            tagged=[f"subnet/{id}" for id in subnet_ids] + [f"security-group/{id}" for id in security_group_ids]
            if discovery == TAGS
            else [],
            pod_identity=identity == POD_IDENTITY,
            oidc_provider_arn=oidc_provider_arn,
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
                "FunctionSubnetIds": list(function_subnet_ids),
                **({} if kubectl_in_vpc is None else {"KubectlInVpc": str(kubectl_in_vpc).lower()}),
                **({"OidcIssuer": oidc_issuer, "OidcProviderArn": oidc_provider_arn} if oidc_provider_arn else {}),
            },
        )


def _rights(
    stack: Stack, *, cluster_name: str, tagged: Sequence[str], pod_identity: bool, oidc_provider_arn: str | None
) -> tuple[list[iam.PolicyStatement], dict[str, str]]:
    """What it may do, and which resources have a `*`.

    CloudFormation updates a policy before what depends on it. So what removes is allowed by our mark, and not by the
    ids of now: by then the policy does not name what is removed any more.
    """

    def arn(service: str, resource: str, *, region: str = stack.region) -> str:
        return f"arn:{stack.partition}:{service}:{region}:{stack.account}:{resource}"

    def allow(actions: list[str], resources: list[str], conditions: dict[str, Any] | None = None) -> None:
        statements.append(iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions))

    statements: list[iam.PolicyStatement] = []
    marked = {f"aws:ResourceTag/{MADE_BY_TAG}": stack.stack_name}
    # Without a key `ForAllValues` is true, and a call without tags would be for all tags.
    two_tags = {
        "ForAllValues:StringEquals": {"aws:TagKeys": [DISCOVERY_TAG, MADE_BY_TAG]},
        "Null": {"aws:TagKeys": "false"},
    }
    subnets, groups = arn("ec2", "subnet/*"), arn("ec2", "security-group/*")
    providers, addon = (
        arn("iam", "oidc-provider/*", region=""),
        arn("eks", f"addon/{cluster_name}/eks-pod-identity-agent/*"),
    )
    kinds = ("Subnets", "RouteTables", "SecurityGroups", "Instances", "Tags")
    look = [f"ec2:Describe{kind}" for kind in kinds]
    allow(look, ["*"], {"StringEquals": {"aws:RequestedRegion": stack.region}})
    allow(["eks:DescribeCluster"], [arn("eks", f"cluster/{cluster_name}")])
    allow([f"cloudformation:{action}" for action in ("DescribeStacks", "ListStackResources")], [stack.stack_id])
    if pod_identity:
        allow(["eks:DescribeAddon"], [addon])
    if tagged:
        names = {f"aws:RequestTag/{DISCOVERY_TAG}": cluster_name, f"aws:RequestTag/{MADE_BY_TAG}": stack.stack_name}
        allow(["ec2:CreateTags"], [arn("ec2", one) for one in tagged], {**two_tags, "StringEquals": names})
    allow(["ec2:DeleteTags"], [subnets, groups], {**two_tags, "StringEquals": marked})
    if oidc_provider_arn is not None:
        allow([f"iam:{action}OpenIDConnectProvider" for action in ("Create", "Tag")], [oidc_provider_arn])
    allow(["iam:GetOpenIDConnectProvider"], [providers])
    allow(["iam:DeleteOpenIDConnectProvider"], [providers], {"StringEquals": marked})
    by_mark = "only what has this stack's mark is removed, and a policy of ids would not name what an update removes"
    return statements, {
        "*": "EC2's describing actions take no resource: service authorization reference, Amazon EC2",
        **dict.fromkeys((subnets, groups, providers), by_mark),
        **({addon: "an add-on's ARN ends with an id that EKS chooses"} if pod_identity else {}),
    }
