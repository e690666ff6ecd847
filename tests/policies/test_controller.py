"""The controller's policy, held against upstream's own for every minor."""

import hashlib
import json

import pytest

from karpenter_gpu.compat import KARPENTER
from karpenter_gpu.policies.controller import MANAGED_POLICY_LIMIT, Names, controller_policies
from karpenter_gpu.versions import Minor

UPSTREAM = Names(
    cluster="${ClusterName}",
    partition="${Partition}",
    region="${Region}",
    account="${AccountId}",
    node_role_arn="${NodeRoleArn}",
    queue_arn="${QueueArn}",
)

# SHA-256 of the statements of upstream's cloudformation.yaml (getting-started-with-karpenter, the last version of that
# file for the first minor of each range), by Sid, with lists sorted and single values as lists.
DIGESTS = {
    range(3): "b65bc72512cb0aab653717b9729c3f9246f190a34fb341f260161cdb4892e4e7",
    range(3, 7): "c0b63572a6210492d9e7f6f223c3f5e5b0ee39095c8cd92b278196693ba5aa0a",
    range(7, 9): "2f74517f66e1abf2bfa8f94e80e01033ea2462cc7a4f914afb1c233ab4037254",
    range(9, 11): "d20b7af0cb43ef7b11def9ca882c7d5de7dd5e8e3447dd72cc09c20aed71d764",
    range(11, 12): "18ed42cd740d4b77e2aceaeb7d74afbc1fea5cb0a1a70f431739f6640792e843",
    range(12, 16): "6225bcc5c4e3574399c5953f9fa38393e5aaa0d5c8c716db0fdd1a24f3039a84",
}

# The longest name EKS takes, in the partition and region with the longest ARNs.
LONGEST = Names(
    cluster="c" * 100,
    partition="aws-us-gov",
    region="ap-southeast-2",
    account="1" * 12,
    node_role_arn=f"arn:aws-us-gov:iam::{'1' * 12}:role/{'r' * 64}",
    queue_arn=f"arn:aws-us-gov:sqs:ap-southeast-2:{'1' * 12}:{'q' * 80}",
)


def canonical(documents):
    found = {}
    for document in documents.values():
        for statement in document["Statement"]:
            canon = dict(statement) | {key: sorted(statement[key]) for key in ("Action", "Resource")}
            if "Condition" in statement:
                canon["Condition"] = {
                    operator: {key: sorted([value] if isinstance(value, str) else value) for key, value in keys.items()}
                    for operator, keys in statement["Condition"].items()
                }
            found[statement["Sid"]] = canon
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("minor", KARPENTER, ids=str)
def test_statements_are_upstreams_own(minor):
    (expected,) = (digest for minors, digest in DIGESTS.items() if minor.minor in minors)
    assert canonical(controller_policies(minor, UPSTREAM)) == expected


@pytest.mark.parametrize("minor", KARPENTER, ids=str)
def test_every_part_fits_a_managed_policy_for_any_legal_cluster_name(minor):
    for part, document in controller_policies(minor, LONGEST).items():
        assert len(json.dumps(document, separators=(",", ":"))) <= MANAGED_POLICY_LIMIT, part


@pytest.mark.parametrize("minor", KARPENTER, ids=str)
def test_a_role_can_have_all_parts(minor):
    assert len(controller_policies(minor, LONGEST)) <= 10


def actions(minor):
    return {
        action
        for document in controller_policies(minor, UPSTREAM).values()
        for statement in document["Statement"]
        for action in statement["Action"]
    }


@pytest.mark.parametrize(
    ("action", "first"),
    [
        ("ec2:DescribeCapacityReservations", Minor(1, 3)),
        ("iam:ListInstanceProfiles", Minor(1, 7)),
        ("ec2:DescribePlacementGroups", Minor(1, 11)),
        ("ec2:DescribeInstanceStatus", Minor(1, 12)),
        ("arc-zonal-shift:GetManagedResource", Minor(1, 12)),
    ],
)
def test_an_action_comes_with_the_version_that_needs_it(action, first):
    assert {minor for minor in KARPENTER if action in actions(minor)} == {m for m in KARPENTER if m >= first}


def test_rebooting_is_allowed_only_with_its_gate_and_only_for_the_clusters_own():
    plain = controller_policies(Minor(1, 15), UPSTREAM)
    assert "ec2:RebootInstances" not in json.dumps(plain)
    (reboot,) = (
        statement
        for statement in controller_policies(Minor(1, 15), UPSTREAM, reboots=True)["NodeLifecycle"]["Statement"]
        if statement["Action"] == ["ec2:RebootInstances"]
    )
    assert reboot["Condition"] == {
        "StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/${ClusterName}": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }


def test_the_walkthroughs_instance_profile_actions_are_all_there():
    assert {
        "iam:CreateInstanceProfile",
        "iam:TagInstanceProfile",
        "iam:AddRoleToInstanceProfile",
        "iam:RemoveRoleFromInstanceProfile",
        "iam:DeleteInstanceProfile",
        "iam:GetInstanceProfile",
    } <= actions(Minor(1, 0))


def test_nothing_may_be_launched_or_terminated_without_the_clusters_tag():
    statements = controller_policies(Minor(1, 14), UPSTREAM)["NodeLifecycle"]["Statement"]
    for statement in statements:
        changes_instances = any("instance/*" in resource for resource in statement["Resource"])
        if changes_instances:
            assert "kubernetes.io/cluster/${ClusterName}" in json.dumps(statement["Condition"])
