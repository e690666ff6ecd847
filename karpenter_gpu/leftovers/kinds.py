"""Every kind of thing that a cluster can leave: how it is found, whose it is, what it costs, how it is deleted.

The rows stand in the order in which deletion works: first what launches others, then what holds others, roles last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from karpenter_gpu.labels import MADE_BY_TAG
from karpenter_gpu.leftovers import finding, prices, removing
from karpenter_gpu.leftovers.account import Account
from karpenter_gpu.leftovers.finding import Finder, Resource, by_iam, by_tag_filter, of_cluster
from karpenter_gpu.leftovers.removing import Delete, calling


def _never(_: Resource) -> bool:
    return False


def _always(_: Resource) -> bool:
    return True


def _unknown(_: Account, __: Resource) -> str:
    return ""


def _is_of_a_claim(volume: Resource) -> bool:
    """Whether a PersistentVolumeClaim made it. Source: kubernetes-sigs/aws-ebs-csi-driver docs/tagging.md."""
    return any(
        key.startswith(("kubernetes.io/created-for/pv", "ebs.csi.aws.com/", "CSIVolumeName")) for key in volume.tags
    )


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Args:
        name: For people.

        find: Lists it.

        reads: The IAM actions of that.

        delete: Deletes one; None where it never is.

        writes: The IAM actions of that.

        kept: Why it never is.

        names: Regular expressions of names that belong to a cluster, with `{cluster}` in them.

        price: Dollars a day.

        is_global: Whether it belongs to no region.

        holds_data: Whether one holds what cannot be made again.

        holders: What holds one that cannot be deleted, after a semicolon.

        is_awaited: Whether what comes after it waits until it is gone.
    """

    name: str
    find: Finder
    reads: tuple[str, ...]
    delete: Delete | None = None
    writes: tuple[str, ...] = ()
    kept: str = ""
    names: tuple[str, ...] = ()
    price: Callable[[Mapping[str, Any]], float | None] = prices.free
    is_global: bool = False
    holds_data: Callable[[Resource], bool] = _never
    holders: Callable[[Account, Resource], str] = _unknown
    is_awaited: bool = False


_GOES_WITH_CLUSTER: Final = "it goes with the cluster"
_READ_CLUSTER: Final = ("eks:DescribeCluster",)
_ELB: Final = "elasticloadbalancing"
# Those that a stack reserved for a pool are its own; what anybody else reserved may not be had again.
_RESERVATIONS: Final = by_tag_filter(
    "describe_capacity_reservations",
    "CapacityReservations",
    "CapacityReservationId",
    born="CreateDate",
    gone=("State", ("expired", "cancelled", "failed", "unsupported")),
)

# fmt: off
KINDS: Final = (
    Kind("cluster", finding.cluster, (*_READ_CLUSTER, "eks:ListClusters"), kept="what made it deletes it", price=prices.cluster),
    Kind("node group", of_cluster("list_nodegroups", "nodegroups"), (*_READ_CLUSTER, "eks:ListNodegroups"), kept=_GOES_WITH_CLUSTER),
    Kind("Fargate profile", of_cluster("list_fargate_profiles", "fargateProfileNames"), (*_READ_CLUSTER, "eks:ListFargateProfiles"),
         kept=_GOES_WITH_CLUSTER),
    Kind("access entry", of_cluster("list_access_entries", "accessEntries"), (*_READ_CLUSTER, "eks:ListAccessEntries"),
         kept=_GOES_WITH_CLUSTER),
    Kind("Pod Identity association", of_cluster("list_pod_identity_associations", "associations", "associationId", "serviceAccount"),
         (*_READ_CLUSTER, "eks:ListPodIdentityAssociations"), kept=_GOES_WITH_CLUSTER),
    Kind("CloudFormation stack", finding.stacks, ("cloudformation:DescribeStacks", "cloudformation:ListStackResources"),
         kept="it may hold more than the cluster: aws cloudformation delete-stack --stack-name {id}"),
    Kind("reservation of a pool", finding.having(MADE_BY_TAG, _RESERVATIONS), ("ec2:DescribeCapacityReservations",),
         calling("ec2", "cancel_capacity_reservation", "CapacityReservationId"), ("ec2:CancelCapacityReservation",), price=prices.reservation),
    Kind("capacity reservation", finding.having(MADE_BY_TAG, _RESERVATIONS, it_has=False),
         ("ec2:DescribeCapacityReservations",), price=prices.reservation,
         kept="its capacity may not be had again: aws ec2 cancel-capacity-reservation --capacity-reservation-id {id}"),
    Kind("spot request",
         by_tag_filter("describe_spot_instance_requests", "SpotInstanceRequests", "SpotInstanceRequestId", born="CreateTime",
                       gone=("State", ("closed", "cancelled", "failed", "completed"))),
         ("ec2:DescribeSpotInstanceRequests",),
         calling("ec2", "cancel_spot_instance_requests", "SpotInstanceRequestIds", many=True), ("ec2:CancelSpotInstanceRequests",)),
    Kind("Auto Scaling group", finding.groups_of_autoscaling, ("autoscaling:DescribeAutoScalingGroups",),
         calling("autoscaling", "delete_auto_scaling_group", "AutoScalingGroupName", ForceDelete=True), ("autoscaling:DeleteAutoScalingGroup",), is_awaited=True),
    Kind("instance", finding.instances, ("ec2:DescribeInstances",),
         calling("ec2", "terminate_instances", "InstanceIds", many=True), ("ec2:TerminateInstances",), price=prices.instance, is_awaited=True),
    Kind("load balancer", finding.load_balancers, (f"{_ELB}:DescribeLoadBalancers", f"{_ELB}:DescribeTags"),
         calling("elbv2", "delete_load_balancer", "LoadBalancerArn"), (f"{_ELB}:DeleteLoadBalancer",), price=prices.none, is_awaited=True),
    Kind("classic load balancer", finding.classic_load_balancers, (f"{_ELB}:DescribeLoadBalancers", f"{_ELB}:DescribeTags"),
         calling("elb", "delete_load_balancer", "LoadBalancerName"), (f"{_ELB}:DeleteLoadBalancer",), price=prices.none, is_awaited=True),
    Kind("target group", finding.target_groups, (f"{_ELB}:DescribeTargetGroups", f"{_ELB}:DescribeTags"),
         calling("elbv2", "delete_target_group", "TargetGroupArn"), (f"{_ELB}:DeleteTargetGroup",)),
    Kind("NAT gateway",
         by_tag_filter("describe_nat_gateways", "NatGateways", "NatGatewayId", born="CreateTime", gone=("State", ("deleted", "failed")),
                       argument="Filter"),
         ("ec2:DescribeNatGateways",), calling("ec2", "delete_nat_gateway", "NatGatewayId"), ("ec2:DeleteNatGateway",), price=prices.nat_gateway, is_awaited=True),
    Kind("elastic IP", by_tag_filter("describe_addresses", "Addresses", "AllocationId"), ("ec2:DescribeAddresses",),
         calling("ec2", "release_address", "AllocationId"), ("ec2:ReleaseAddress",), price=prices.none),
    Kind("network interface", by_tag_filter("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
         ("ec2:DescribeNetworkInterfaces",), calling("ec2", "delete_network_interface", "NetworkInterfaceId"), ("ec2:DeleteNetworkInterface",)),
    Kind("volume", by_tag_filter("describe_volumes", "Volumes", "VolumeId", born="CreateTime"), ("ec2:DescribeVolumes",),
         calling("ec2", "delete_volume", "VolumeId"), ("ec2:DeleteVolume",), price=prices.none, holds_data=_is_of_a_claim),
    Kind("snapshot", by_tag_filter("describe_snapshots", "Snapshots", "SnapshotId", born="StartTime", OwnerIds=["self"]), ("ec2:DescribeSnapshots",),
         calling("ec2", "delete_snapshot", "SnapshotId"), ("ec2:DeleteSnapshot",), price=prices.none, holds_data=_always),
    Kind("launch template", by_tag_filter("describe_launch_templates", "LaunchTemplates", "LaunchTemplateId", born="CreateTime"),
         ("ec2:DescribeLaunchTemplates",), calling("ec2", "delete_launch_template", "LaunchTemplateId"), ("ec2:DeleteLaunchTemplate",)),
    Kind("security group", finding.security_groups, ("ec2:DescribeSecurityGroups",), removing.security_group,
         ("ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress", "ec2:DeleteSecurityGroup"),
         names=(r"{cluster}-cluster-\d{{20,}}",), holders=removing.interfaces_of_group),
    # Upstream's template and cdk-eks-karpenter; terraform-aws-eks modules/karpenter.
    Kind("queue", finding.queues, ("tag:GetResources", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ListQueueTags"),
         calling("sqs", "delete_queue", "QueueUrl"), ("sqs:DeleteQueue",), names=("{cluster}", "Karpenter-{cluster}")),
    Kind("event rule", finding.event_rules, ("events:ListRules", "events:ListTagsForResource"), removing.event_rule,
         ("events:ListTargetsByRule", "events:RemoveTargets", "events:DeleteRule")),
    Kind("log group", finding.log_groups, ("tag:GetResources", "logs:DescribeLogGroups"),
         calling("logs", "delete_log_group", "logGroupName"), ("logs:DeleteLogGroup",), price=prices.none, holds_data=_always,
         names=("/aws/eks/{cluster}/.+", "/aws/containerinsights/{cluster}/.+")),
    Kind("KMS key", finding.keys, ("tag:GetResources", "kms:DescribeKey"), price=prices.none,
         kept="what it encrypted cannot be read without it: aws kms schedule-key-deletion --key-id {id}"),
    Kind("KMS alias", finding.key_aliases, ("kms:ListAliases",), names=("alias/eks/{cluster}",)),
    # Karpenter's own, which until 1.6 have no path; upstream's template; eksctl; terraform-aws-eks modules/karpenter.
    Kind("instance profile",
         by_iam("list_instance_profiles", "InstanceProfiles", "InstanceProfileName", "list_instance_profile_tags", "InstanceProfileName"),
         ("iam:ListInstanceProfiles", "iam:ListInstanceProfileTags"), removing.instance_profile,
         ("iam:GetInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"), is_global=True,
         names=(r"{cluster}_\d+", r"Karpenter-{cluster}-\d{{20,}}", "KarpenterNodeInstanceProfile-{cluster}", "eksctl-KarpenterNodeInstanceProfile-{cluster}")),
    Kind("role", by_iam("list_roles", "Roles", "RoleName", "list_role_tags", "RoleName"), ("iam:ListRoles", "iam:ListRoleTags"),
         removing.role,
         ("iam:ListInstanceProfilesForRole", "iam:RemoveRoleFromInstanceProfile", "iam:ListAttachedRolePolicies", "iam:DetachRolePolicy",
          "iam:ListRolePolicies", "iam:DeleteRolePolicy", "iam:DeleteRole"), is_global=True,
         names=("(eksctl-)?KarpenterNodeRole-{cluster}", r"Karpenter-{cluster}-\d{{20,}}", "KarpenterControllerRole-{cluster}", "{cluster}-karpenter",
                r"{cluster}-cluster-\d{{20,}}")),
    Kind("policy", by_iam("list_policies", "Policies", "Arn", "list_policy_tags", "PolicyArn", Scope="Local"),
         ("iam:ListPolicies", "iam:ListPolicyTags"), removing.policy,
         ("iam:ListPolicyVersions", "iam:DeletePolicyVersion", "iam:DeletePolicy"), is_global=True,
         names=("(eksctl-)?KarpenterController[A-Za-z]*Policy-{cluster}",)),
    Kind("OIDC provider", finding.oidc_providers,
         (*_READ_CLUSTER, "iam:ListOpenIDConnectProviders", "iam:GetOpenIDConnectProvider"),
         calling("iam", "delete_open_id_connect_provider", "OpenIDConnectProviderArn"), ("iam:DeleteOpenIDConnectProvider",), is_global=True, names=("{cluster}-eks-irsa",)),
)
# fmt: on


def policy(region: str = "", *, delete: bool = False) -> dict[str, Any]:
    """The IAM document of what a person needs.

    Args:
        region: Where alone deletions are allowed of what belongs to a region; anywhere when empty.

        delete: Whether to delete, too; else only to look.
    """
    read = {action for kind in KINDS for action in kind.reads}
    statements = [_statement("Look", read)]
    if delete:
        written = {one: kind.is_global for kind in KINDS for one in kind.writes if one not in read}
        here = {"Condition": {"StringEquals": {"aws:RequestedRegion": region}}} if region else {}
        statements += [
            {**_statement("Delete", {one for one, is_global in written.items() if not is_global}), **here},
            _statement("DeleteIam", {one for one, is_global in written.items() if is_global}),
        ]
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(name: str, actions: Iterable[str]) -> dict[str, Any]:
    """A tag would have to be named by a statement of its own, and ten keys of tags do not fit into a policy."""
    return {"Sid": f"VerifyClean{name}", "Effect": "Allow", "Action": sorted(actions), "Resource": "*"}
