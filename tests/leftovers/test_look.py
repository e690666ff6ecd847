"""What a look finds in an account where one left-over of every kind is, beside what others have."""

import json

import pytest

from karpenter_gpu.leftovers.kinds import KINDS
from tests.leftovers.command import asked_for, asking, denied, document, policy, run
from tests.leftovers.plants import PLANTS, Ground, Plant, emulated, plant, trusting

OURS = {"kubernetes.io/cluster/gpu": "owned"}


def held_stack(ground):
    """A stack that could not be deleted, and holds what bears the cluster's name: nothing else says whose it is."""
    role = {"RoleName": "KarpenterNodeRole-gpu", "AssumeRolePolicyDocument": json.loads(trusting("ec2.amazonaws.com"))}
    template = {"Resources": {"Role": {"Type": "AWS::IAM::Role", "Properties": role}}}
    ground.client("cloudformation").create_stack(
        StackName="Karpenter", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    with ground.aws.backend("cloudformation") as backend:
        next(one for one in backend.stacks.values() if one.name == "Karpenter").status = "DELETE_FAILED"


@pytest.fixture(scope="module")
def aws():
    with emulated() as running, asking(running):
        ground = Ground(running)
        plant(Plant(ground, "gpu", OURS, "gpu"))
        held_stack(ground)
        ground.client("sqs").create_queue(QueueName="Karpenter-gpu")
        yield running


@pytest.fixture(scope="module")
def found(aws):
    return document()


def test_every_kind_has_a_plant():
    assert {kind.name for kind in KINDS} == set(PLANTS)


@pytest.mark.parametrize("kind", PLANTS)
def test_a_left_over_of_each_kind_is_named(found, kind):
    code, said = found
    assert code == 1
    assert said["unseen"] == []
    assert [one["id"] for one in said["left"] if one["kind"] == kind], kind


def test_the_table_has_a_row_for_each(aws, found):
    code, said = run()
    assert code == 1
    for one in found[1]["left"]:
        assert one["id"] in said
    assert "The cluster exists, so what is listed is in use: this is what it would leave." in said


def test_a_stack_that_holds_what_bears_the_clusters_name_is_named(found):
    (one,) = [one for one in found[1]["left"] if one["id"] == "Karpenter"]
    assert one["because"] == "DELETE_FAILED, holds KarpenterNodeRole-gpu"


def test_what_aws_itself_says_the_price_of_is_priced_and_nothing_else_is(found):
    priced = {one["kind"]: one["usd_per_day"] for one in found[1]["left"] if one["usd_per_day"]}
    assert priced == {
        "cluster": pytest.approx(2.4),
        "reservation of a pool": pytest.approx(24 * 2 * 21.957642),
        "capacity reservation": pytest.approx(24 * 2 * 55.04),
        "instance": pytest.approx(24 * 0.8048),
        "NAT gateway": pytest.approx(1.08),
    }
    unknown = {one["kind"] for one in found[1]["left"] if one["usd_per_day"] is None}
    assert unknown >= {
        "volume",
        "snapshot",
        "elastic IP",
        "load balancer",
        "classic load balancer",
        "log group",
        "KMS key",
    }


def test_a_cluster_that_exists_is_not_deleted_from(aws):
    with aws.backend("ec2") as ec2:
        before = [one.state for one in ec2.all_instances()]
    code, said = run("--delete", "--yes", "--with-data")
    assert code == 2
    assert "cluster gpu exists in eu-west-1 and is ACTIVE, so nothing is deleted" in said
    with aws.backend("ec2") as ec2:
        assert [one.state for one in ec2.all_instances()] == before


def test_the_policy_that_is_printed_is_what_a_look_needs_and_no_more(aws):
    before = len(aws.calls)
    assert document()[0] == 1
    assert run(cluster="never")[0] == 0
    calls = list(aws.calls)[before:]
    printed = policy()
    assert denied(printed, calls) == set()
    assert {one for statement in printed["Statement"] for one in statement["Action"]} == set(asked_for(calls))
