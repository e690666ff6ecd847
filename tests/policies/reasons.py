"""Why our roles may do what no rehearsal was seen to do: the feature that needs it, and a case of it, a row for each action."""

from __future__ import annotations

from typing import Final, NamedTuple


class Reason(NamedTuple):
    """What needs it, and the test that exercises it; none where it is upstream's, AWS's or the user's."""

    feature: str
    case: str = ""


def _case(module: str, name: str) -> str:
    return f"tests/{module}.py::test_{name}"


_ATTACH, _SWEEP, _ENTRY = "cdk/test_attach_handler", "cdk/test_sweep_handler", "cdk/test_node_access_handler"
_AUTH, _TAKEOVER, _DRAIN = "cdk/test_aws_auth_handler", "cdk/test_takeover_handler", "cdk/test_drain_handler"
_FAULTS = _case(_ATTACH, "what_is_not_as_it_was_taken_to_be_is_said_and_nothing_is_changed")
_TAGS = _case(_ATTACH, "what_nodes_use_is_tagged_and_a_destroy_takes_away_just_that")
_PROVIDER = _case(_ATTACH, "a_provider_is_made_where_there_is_none_and_goes_with_the_stack")
_FOUND_PROVIDER = _case(_ATTACH, "the_accounts_provider_is_used_and_stays")
_PROFILES = _case(_SWEEP, "karpenters_instance_profiles_let_the_node_role_go_and_nobody_elses")
_ROLES_ENTRY = _case(_ENTRY, "a_role_without_an_entry_gets_one_with_our_mark_and_loses_it_with_the_stack")
_IPV6 = Reason("the VPC CNI on an IPv6 cluster, by AWS's own guide")
_LOGS = Reason(
    "Lambda writes the function's log",
    _case("cdk/test_rights", "logs_outlast_the_functions_that_write_them_and_go_with_the_stack"),
)
_KEY = Reason(
    "`volume_key_arn`",
    _case("rehearsal/test_aws_authorization", "volumes_under_a_key_need_the_keys_policy_and_the_controllers"),
)
_BY_AWS = "`volume_key_arn`, by EBS's requirements: where an image's own snapshot is encrypted"
_FUNCTIONS = ("Attachment", "Drain", "NodeRoleAccess", "NodeRoleAwsAuth", "Reasons", "Takeover")

REASONS: Final[dict[tuple[str, str], Reason]] = {
    **{
        (f"Karpenter{name}Role", f"logs:{action}"): _LOGS
        for name in _FUNCTIONS
        for action in ("CreateLogStream", "PutLogEvents")
    },
    # The existing cluster is looked at, and its network tagged.
    ("KarpenterAttachmentRole", "cloudformation:DescribeStacks"): Reason(
        "an existing cluster: a roll back is told from an update",
        _case("cdk/test_rights", "what_is_undone_may_be_undone_with_the_policy_of_then"),
    ),
    ("KarpenterAttachmentRole", "cloudformation:ListStackResources"): Reason(
        "an existing cluster: an attachment under another construct id that is rolled back leaves the first one's tags",
        _case("cdk/test_lifecycle", "what_another_attachment_of_the_stack_has_stays_when_one_is_rolled_back"),
    ),
    ("KarpenterAttachmentRole", "ec2:CreateTags"): Reason("an existing cluster: discovery by tags", _TAGS),
    ("KarpenterAttachmentRole", "ec2:DeleteTags"): Reason("an existing cluster: discovery by tags", _TAGS),
    ("KarpenterAttachmentRole", "ec2:DescribeTags"): Reason(
        "an existing cluster: what it has tagged goes by its mark", _TAGS
    ),
    **{
        ("KarpenterAttachmentRole", f"ec2:Describe{kind}"): Reason(
            "an existing cluster is as the template takes it to be", _FAULTS
        )
        for kind in ("Instances", "RouteTables", "SecurityGroups", "Subnets")
    },
    ("KarpenterAttachmentRole", "eks:DescribeAddon"): Reason(
        "Pod Identity on an existing cluster needs its agent", _FAULTS
    ),
    ("KarpenterAttachmentRole", "eks:DescribeCluster"): Reason(
        "an existing cluster is as the template takes it to be", _FAULTS
    ),
    ("KarpenterAttachmentRole", "iam:CreateOpenIDConnectProvider"): Reason("IRSA on an existing cluster", _PROVIDER),
    ("KarpenterAttachmentRole", "iam:DeleteOpenIDConnectProvider"): Reason("IRSA on an existing cluster", _PROVIDER),
    ("KarpenterAttachmentRole", "iam:GetOpenIDConnectProvider"): Reason("IRSA on an existing cluster", _FOUND_PROVIDER),
    ("KarpenterAttachmentRole", "iam:TagOpenIDConnectProvider"): Reason(
        "IRSA on an existing cluster: its own mark", _PROVIDER
    ),
    # Upstream's, for what the default stack does not have.
    ("KarpenterControllerRole", "arc-zonal-shift:GetManagedResource"): Reason(
        "upstream's: zonal shift, where it is on for the cluster"
    ),
    ("KarpenterControllerRole", "ec2:DescribeCapacityReservations"): Reason("upstream's: the gate `reservedCapacity`"),
    ("KarpenterControllerRole", "ec2:DescribePlacementGroups"): Reason(
        "upstream's: `placementGroupSelectorTerms` of a class"
    ),
    ("KarpenterControllerRole", "kms:CreateGrant"): _KEY,
    ("KarpenterControllerRole", "kms:DescribeKey"): _KEY,
    ("KarpenterControllerRole", "kms:GenerateDataKeyWithoutPlaintext"): _KEY,
    ("KarpenterControllerRole", "kms:Decrypt"): Reason(_BY_AWS),
    ("KarpenterControllerRole", "kms:ReEncrypt*"): Reason(_BY_AWS),
    ("KarpenterControllerRole", "kms:List*"): Reason("the user's: `controller_statements`"),
    ("KarpenterControllerRole", "sqs:DeleteMessage"): Reason(
        "upstream's: an interruption that was heard (story `interruption`)"
    ),
    # The drain, and what it removes where Karpenter no longer can.
    ("KarpenterDrainRole", "cloudformation:DescribeStacks"): Reason(
        "a destroy: one gate waits for all pools",
        _case(_DRAIN, "where_all_goes_the_gates_of_pools_leave_the_wait_to_the_one_of_all"),
    ),
    ("KarpenterDrainRole", "ec2:DeleteLaunchTemplate"): Reason(
        "a destroy without a working controller", _case(_SWEEP, "karpenters_launch_templates_go_and_nobody_elses")
    ),
    ("KarpenterDrainRole", "ec2:DeleteNetworkInterface"): Reason(
        "a destroy: interfaces that instances left",
        _case(_SWEEP, "interfaces_of_instances_that_are_gone_go_and_nobody_elses"),
    ),
    ("KarpenterDrainRole", "iam:DeleteInstanceProfile"): Reason("a destroy without a working controller", _PROFILES),
    ("KarpenterDrainRole", "iam:GetInstanceProfile"): Reason("a destroy without a working controller", _PROFILES),
    ("KarpenterDrainRole", "iam:RemoveRoleFromInstanceProfile"): Reason(
        "a destroy without a working controller", _PROFILES
    ),
    ("KarpenterDrainRole", "lambda:InvokeFunction"): Reason(
        "a drain longer than Lambda's 15 minutes, and the reasons of what keeps nodes",
        _case(_DRAIN, "before_lambda_cuts_it_off_another_call_goes_on_with_the_same_deadline"),
    ),
    # Nodes.
    **{
        ("KarpenterNodeRole", f"ec2:{action}"): _IPV6
        for action in (
            "AssignIpv6Addresses",
            "CreateTags",
            "DescribeInstanceTypes",
            "DescribeInstances",
            "DescribeNetworkInterfaces",
            "DescribeTags",
        )
    },
    **{
        ("KarpenterNodeRole", f"s3:{action}"): Reason("the user's: `node_statements`, or a grant of the app's own")
        for action in ("GetBucket*", "GetObject", "GetObject*", "List*")
    },
    # Their way into an existing cluster.
    ("KarpenterNodeRoleAccessRole", "eks:CreateAccessEntry"): Reason("a node role that was there", _ROLES_ENTRY),
    ("KarpenterNodeRoleAccessRole", "eks:DeleteAccessEntry"): Reason("a node role that was there", _ROLES_ENTRY),
    ("KarpenterNodeRoleAccessRole", "eks:DescribeAccessEntry"): Reason("a node role that was there", _ROLES_ENTRY),
    ("KarpenterNodeRoleAccessRole", "eks:TagResource"): Reason(
        "a node role that was there: its entry's mark", _ROLES_ENTRY
    ),
    ("KarpenterNodeRoleAwsAuthRole", "eks:DescribeCluster"): Reason(
        "an existing cluster of aws-auth", _case(_AUTH, "one_entry_comes_and_goes_and_all_else_stays_to_the_last_blank")
    ),
    ("KarpenterNodeRoleAwsAuthRole", "sts:AssumeRole"): Reason(
        "an existing cluster of aws-auth: kubectl's role",
        _case("cdk/test_rights", "an_entry_in_aws_auth_goes_as_the_role_of_now"),
    ),
    # Functions that ask the cluster.
    ("KarpenterReasonsRole", "eks:DescribeCluster"): Reason(
        "what keeps an instance is told by the cluster", _case(_DRAIN, "it_says_why_each_instance_is_alive")
    ),
    ("KarpenterReasonsRole", "sts:AssumeRole"): Reason(
        "a cluster that only kubectl's role enters",
        _case("cdk/test_takeover", "where_aws_auth_alone_decides_it_takes_kubectls_role"),
    ),
    ("KarpenterTakeoverRole", "eks:DescribeCluster"): Reason(
        "an existing cluster: a Karpenter that is there",
        _case(_TAKEOVER, "what_is_there_is_named_with_where_and_how_it_can_stay"),
    ),
    ("KarpenterTakeoverRole", "eks:DisassociateAccessPolicy"): Reason(
        "`adopt`: cluster-admin is given back",
        _case(_TAKEOVER, "cluster_admin_is_given_back_when_it_has_taken_over_and_not_before"),
    ),
    ("KarpenterTakeoverRole", "eks:ListPodIdentityAssociations"): Reason(
        "an existing cluster: another role for the controller",
        _case(_TAKEOVER, "an_association_that_gives_the_controller_another_role_is_said_with_the_command"),
    ),
    ("KarpenterTakeoverRole", "sts:AssumeRole"): Reason(
        "an existing cluster of aws-auth: kubectl's role",
        _case("cdk/test_takeover", "where_aws_auth_alone_decides_it_takes_kubectls_role"),
    ),
}
