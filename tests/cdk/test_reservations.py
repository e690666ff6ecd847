"""Reserved capacity in the template."""

import pytest
from aws_cdk import aws_ec2 as ec2

from karpenter_gpu import GpuPool, Karpenter, NewReservation
from tests.cdk.test_karpenter import faults, own_cluster, own_stack
from tests.shapes import ACCOUNT, synthesized


@pytest.fixture(scope="module")
def reserved():
    return synthesized("reserved")


def test_a_pool_selects_what_exists_and_what_the_stack_makes_for_it(reserved):
    (made,) = reserved.graph.of_type("AWS::EC2::CapacityReservation")
    ladder = reserved.manifests()["EC2NodeClass", "ladder"]["spec"]
    assert ladder["capacityReservationSelectorTerms"] == [
        {"tags": {"team": "ml"}, "ownerID": "111122223333", "instanceMatchCriteria": "targeted"},
        {"id": f"<{made}>"},
    ]
    block = reserved.manifests()["EC2NodeClass", "block"]["spec"]
    assert block["capacityReservationSelectorTerms"] == [{"id": "cr-0123456789abcdef0"}]


def test_what_the_stack_reserves_is_targeted_ends_and_has_tags_that_never_change(reserved):
    assert reserved.stack.tags.tag_values() == {"team": "ml"}, "which are not the reservation's"
    made = reserved.only("AWS::EC2::CapacityReservation")
    (tagged,) = made.pop("TagSpecifications")
    assert made == {
        "AvailabilityZone": "eu-west-1a",
        "EndDate": "2098-01-31T18:00:00Z",
        "EndDateType": "limited",
        "InstanceCount": 2,
        "InstanceMatchCriteria": "targeted",
        "InstancePlatform": "Linux/UNIX",
        "InstanceType": "g6.xlarge",
    }
    assert tagged["ResourceType"] == "capacity-reservation"
    assert {one["Key"]: one["Value"] for one in tagged["Tags"]} == {
        "Name": "kept-ladder",
        "karpenter-gpu/made-by": "EksGpuStack",
        "karpenter.sh/nodepool": "ladder",
        "kubernetes.io/cluster/kept": "owned",
    }


def test_a_pool_asks_for_its_gate_also_after_the_chart_was_made(reserved, default):
    assert reserved.chart("karpenter")["Values"]["settings"]["featureGates"] == {"reservedCapacity": True}
    assert "featureGates" not in default.chart("karpenter")["Values"]["settings"]


def test_whoever_adds_a_pool_is_told_what_it_reserves(reserved):
    said = [
        str(entry.data)
        for scope in reserved.stack.node.find_all()
        for entry in scope.node.metadata
        if entry.type == "aws:cdk:warning"
    ]
    (cost,) = (one for one in said if "costs" in one)
    assert cost.startswith("pool 'ladder': reserve of 2 g6.xlarge in eu-west-1a costs $1.61 an hour")


def on_subnets_in(zones, reserved_in, stack):
    """A pool with subnets and a reservation of its own, on subnets of which those with a zone are known."""
    subnets = [
        ec2.Subnet.from_subnet_attributes(
            stack, f"Subnet{place}", subnet_id=f"subnet-{place:017x}", availability_zone=zone
        )
        if zone
        else ec2.Subnet.from_subnet_id(stack, f"Subnet{place}", f"subnet-{place:017x}")
        for place, zone in enumerate(zones)
    ]
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack), subnets=subnets, cluster_name="training")
    karpenter.add_gpu_pool(
        GpuPool(
            name="p",
            instance_types=("g6.xlarge",),
            gpu_limit=1,
            capacity_types=("reserved",),
            subnet_ids=(f"subnet-{0:017x}",),
            reserve=(NewReservation(instance_type="g6.xlarge", zone=reserved_in, count=1),),
        )
    )
    entries = [entry for scope in stack.node.find_all() for entry in scope.node.metadata]
    return [str(entry.data) for entry in entries if "its subnets are not known" in str(entry.data)]


def test_a_reservation_where_no_subnet_of_its_pool_is_is_refused_and_one_that_may_be_there_is_warned_of():
    def stack():
        return own_stack(account=ACCOUNT, region="eu-west-1")

    both = ("eu-west-1a", "eu-west-1b")
    (fault,) = faults(lambda: on_subnets_in(both, "eu-west-1b", stack()))
    assert (
        fault
        == "pools.p.reserve: 'eu-west-1b' has no subnet of the nodes, whose zones are eu-west-1a; use one of these"
    )
    assert on_subnets_in(both, "eu-west-1a", stack()) == []
    (warning,) = on_subnets_in((None,), "eu-west-1a", stack())
    assert "pool 'p': reserve in eu-west-1a is paid for and never used where the pool has no subnet" in warning
