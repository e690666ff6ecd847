"""What `--delete` takes from an account that others share, and what it leaves just as it was."""

import pytest

from karpenter_gpu.leftovers.kinds import KINDS
from tests.leftovers.command import asked_for, asking, denied, document, policy
from tests.leftovers.plants import OF_CLUSTER, PLANTS, REGION, Ground, Plant, emulated, plant, whole_account

OURS = {"kubernetes.io/cluster/gpu": "owned", "eks:eks-cluster-name": "gpu"}
# Whose name begins with this one's, what is lent to this one, what another team named alike, and what two clusters have.
OTHERS = {
    "gpu-2": {"kubernetes.io/cluster/gpu-2": "owned", "eks:eks-cluster-name": "gpu-2"},
    "lent": {"kubernetes.io/cluster/gpu": "shared", "alpha.eksctl.io/cluster-name": "gpu"},
    "vision": {"team": "gpu", "Name": "gpu", "karpenter.sh/nodepool": "gpu", "karpenter.sh/discovery": "gpu"},
    "both": {"kubernetes.io/cluster/gpu": "owned", "kubernetes.io/cluster/gpu-2": "owned"},
}
# These hold data or what cannot be had again, or the list has the command.
NEVER = {kind.name for kind in KINDS if kind.kept and kind.name not in OF_CLUSTER} | {"KMS alias"}
# What holds another thing, which EC2, IAM and the others refuse to delete before it.
HOLDS = [
    ("spot request", "instance"),
    ("Auto Scaling group", "instance"),
    ("instance", "network interface"),
    ("instance", "volume"),
    ("instance", "security group"),
    ("load balancer", "target group"),
    ("load balancer", "security group"),
    ("classic load balancer", "security group"),
    ("NAT gateway", "elastic IP"),
    ("network interface", "security group"),
    ("instance profile", "role"),
    ("role", "policy"),
]


@pytest.fixture(scope="module")
def aws():
    with emulated() as running, asking(running):
        yield running


@pytest.fixture(scope="module")
def deletion(aws):
    """The account before and after, what was said, and what was called."""
    ground = Ground(aws)
    for name, tags in OTHERS.items():
        plant(Plant(ground, name, tags))
    ours = plant(Plant(ground, "gpu", OURS), but=PLANTS.keys() - NEVER)
    before = whole_account(aws)
    plant(ours, but=NEVER)
    start = len(aws.calls)
    code, said = document("--delete", "--yes", "--with-data")
    calls = list(aws.calls)[start:]
    return before, whole_account(aws), code, said, calls


def test_what_is_the_clusters_is_gone_and_all_else_is_as_it_was(deletion):
    before, after, *_ = deletion
    assert after.keys() == before.keys()
    for listed, answer in before.items():
        assert after[listed] == answer, listed


def test_each_kind_that_may_be_deleted_is(deletion):
    *_, said, _ = deletion
    assert {one["kind"] for one in said["removed"]} == PLANTS.keys() - NEVER - set(OF_CLUSTER)


def test_what_stays_says_why(deletion):
    _, _, code, said, _ = deletion
    assert code == 1
    ours = {one["kind"]: one["kept"] for one in said["left"] if "gpu-2" not in one["kept"]}
    assert ours.keys() == NEVER
    assert all(ours.values())


def test_what_two_clusters_have_is_told_and_stays(deletion):
    *_, said, _ = deletion
    both = {one["kind"] for one in said["left"] if one["kept"] == "its tags name cluster gpu-2, too"}
    assert both >= PLANTS.keys() - NEVER - set(OF_CLUSTER)


@pytest.mark.parametrize(("holder", "held"), HOLDS, ids=lambda name: name.replace(" ", "-"))
def test_what_holds_another_thing_goes_before_it(deletion, holder, held):
    *_, calls = deletion
    order = [kind for call in calls for kind in KINDS if _is_last_of(call, kind)]
    assert order.index(next(kind for kind in KINDS if kind.name == holder)) < order.index(
        next(kind for kind in KINDS if kind.name == held)
    )


def _is_last_of(call, kind):
    return bool(kind.writes) and next(iter(asked_for([call])), "") == kind.writes[-1]


def test_the_policy_that_is_printed_for_a_deletion_is_what_it_needs_and_no_more(deletion):
    *_, calls = deletion
    printed = policy("--delete", "--region", REGION)
    looks, *deletes = printed["Statement"]
    assert denied(printed, calls) == set()
    written = set(asked_for(calls)) - set(looks["Action"])
    assert {one for statement in deletes for one in statement["Action"]} == written
    for statement in printed["Statement"]:
        rest = {**printed, "Statement": [one for one in printed["Statement"] if one is not statement]}
        assert denied(rest, calls), statement["Sid"]


def test_the_policy_for_a_deletion_deletes_in_the_named_region_alone(deletion):
    *_, calls = deletion
    elsewhere = denied(policy("--delete", "--region", "us-west-2"), calls)
    assert elsewhere >= {"ec2:TerminateInstances", "sqs:DeleteQueue", "logs:DeleteLogGroup"}
    assert not [one for one in elsewhere if one.startswith("iam:")]


def test_a_second_deletion_finds_nothing_to_do(aws, deletion):
    assert document("--delete", "--yes", "--with-data")[1]["removed"] == []
