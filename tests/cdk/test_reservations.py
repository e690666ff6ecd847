"""Reserved capacity in the template."""

import pytest

from tests.shapes import synthesized


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
