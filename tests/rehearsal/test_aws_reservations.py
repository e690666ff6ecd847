"""Capacity reservations of the emulated EC2, as Karpenter and CloudFormation use them."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.extensions.reservations import CAPACITY_BLOCK
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.cloudformation.types import TYPES
from tests.rehearsal.test_types import Stack

ZONE = "us-east-1a"
KIND = "g6.xlarge"
IMAGE = "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/nvidia/recommended/image_id"


class Account:
    def __init__(self, aws):
        self.aws, self.ec2 = aws, aws.client("ec2")
        found = self.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [ZONE]}])["Subnets"]
        self.subnet = found[0]["SubnetId"]
        self.image = aws.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]

    @property
    def reservations(self):
        return self.aws.extensions.reservations

    def reserve(self, count=1, match="targeted", tags=None, **more):
        given = [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
        return self.ec2.create_capacity_reservation(
            InstanceType=KIND,
            InstancePlatform="Linux/UNIX",
            AvailabilityZone=ZONE,
            InstanceCount=count,
            InstanceMatchCriteria=match,
            **({"TagSpecifications": [{"ResourceType": "capacity-reservation", "Tags": given}]} if given else {}),
            **more,
        )["CapacityReservation"]["CapacityReservationId"]

    def launch(self, said=None, market="on-demand", kind=KIND):
        """A fleet as Karpenter asks for one: what the template says of reservations, and the market."""
        data = {"ImageId": self.image, **({"CapacityReservationSpecification": said} if said else {})}
        name = self.ec2.create_launch_template(
            LaunchTemplateName=f"launch-{len(self.ec2.describe_launch_templates()['LaunchTemplates'])}",
            LaunchTemplateData=data,
        )["LaunchTemplate"]["LaunchTemplateName"]
        answer = self.ec2.create_fleet(
            Type="instant",
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": market},
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
                    "Overrides": [{"InstanceType": kind, "SubnetId": self.subnet}],
                }
            ],
        )
        return [error["ErrorCode"] for error in answer["Errors"]], self._instance(answer)

    def _instance(self, answer):
        if not answer["Instances"]:
            return None
        found = self.ec2.describe_instances(InstanceIds=answer["Instances"][0]["InstanceIds"])
        return found["Reservations"][0]["Instances"][0]

    def described(self, id):
        return self.ec2.describe_capacity_reservations(CapacityReservationIds=[id])["CapacityReservations"][0]

    def counts(self, id):
        one = self.described(id)
        return one["State"], one["TotalInstanceCount"], one["AvailableInstanceCount"]


class Stacked(Stack):
    endpoint = ""

    def context(self, name):
        return replace(super().context(name), endpoint=self.endpoint)


def into(id):
    target = {"CapacityReservationId": id}
    return {"CapacityReservationPreference": "capacity-reservations-only", "CapacityReservationTarget": target}


@pytest.fixture(scope="module")
def account():
    with EmulatedAws(region="us-east-1") as aws:
        yield Account(aws)


def code_of(call, **given):
    with pytest.raises(ClientError) as caught:
        call(**given)
    return caught.value.response["Error"]["Code"]


def test_an_instance_says_all_by_which_karpenter_knows_it_as_reserved(account):
    id = account.reserve()
    _, instance = account.launch(into(id))
    assert instance["CapacityReservationId"] == id
    assert instance["CapacityReservationSpecification"] == into(id)
    assert "InstanceLifecycle" not in instance


def test_a_slot_is_taken_by_a_launch_and_given_back_by_a_termination(account):
    id = account.reserve(2)
    _, instance = account.launch(into(id))
    assert account.counts(id) == ("active", 2, 1)
    account.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    assert account.counts(id) == ("active", 2, 2)


def test_a_launch_into_a_reservation_that_is_full_or_of_another_type_is_refused(account):
    id = account.reserve()
    assert account.launch(into(id), kind="g6.2xlarge") == (["ReservationCapacityExceeded"], None)
    account.launch(into(id))
    assert account.launch(into(id)) == (["ReservationCapacityExceeded"], None)


def test_a_launch_into_one_that_is_not_there_or_not_active_is_refused(account):
    assert account.launch(into("cr-0")) == (["InvalidCapacityReservationId.NotFound"], None)
    id = account.reserve()
    account.ec2.cancel_capacity_reservation(CapacityReservationId=id)
    assert account.launch(into(id)) == (["InvalidCapacityReservationState.Unavailable"], None)


def test_an_open_reservation_is_used_by_whoever_does_not_say_none(account):
    id = account.reserve(match="open")
    assert "CapacityReservationId" not in account.launch({"CapacityReservationPreference": "none"})[1]
    assert account.launch()[1]["CapacityReservationId"] == id
    assert "CapacityReservationId" not in account.launch()[1]


def test_instances_of_a_cancelled_reservation_go_on_as_on_demand(account):
    id = account.reserve()
    _, instance = account.launch(into(id))
    account.ec2.cancel_capacity_reservation(CapacityReservationId=id)
    found = account.ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "running"
    assert "CapacityReservationId" not in found
    assert account.counts(id) == ("cancelled", 1, 0)
    assert code_of(account.ec2.cancel_capacity_reservation, CapacityReservationId=id) == "IncorrectState"


def test_a_capacity_block_says_so_on_its_instances_and_cannot_be_cancelled(account):
    ends = datetime.now(tz=timezone.utc) + timedelta(minutes=41)
    made = account.reservations.add(KIND, ZONE, 1, kind=CAPACITY_BLOCK, ends=ends)
    _, instance = account.launch(into(made.id), market="capacity-block")
    assert instance["InstanceLifecycle"] == "capacity-block"
    assert account.described(made.id)["ReservationType"] == "capacity-block"
    assert code_of(account.ec2.cancel_capacity_reservation, CapacityReservationId=made.id) == "UnsupportedOperation"


def test_one_whose_time_is_over_has_expired(account):
    id = account.reserve(EndDate=datetime.now(tz=timezone.utc) + timedelta(hours=1), EndDateType="limited")
    account.reservations.find(id).said["EndDate"] = datetime.now(tz=timezone.utc) - timedelta(seconds=1)
    assert account.counts(id) == ("expired", 1, 0)


@pytest.mark.parametrize(
    ("name", "values", "is_found"),
    [
        ("state", ["active"], True),
        ("state", ["cancelled"], False),
        ("owner-id", ["123456789012"], True),
        ("owner-id", ["111122223333"], False),
        ("tag:team", ["ml"], True),
        ("tag:team", ["*"], True),
        ("tag:team", ["web"], False),
        ("tag-key", ["team"], True),
        ("instance-match-criteria", ["open"], False),
        ("instance-match-criteria", ["targeted"], True),
    ],
)
def test_reservations_are_found_by_what_karpenter_asks_for(account, name, values, is_found):
    id = account.reserve(tags={"team": "ml"})
    found = account.ec2.describe_capacity_reservations(Filters=[{"Name": name, "Values": values}])
    assert (id in [one["CapacityReservationId"] for one in found["CapacityReservations"]]) is is_found
    account.ec2.cancel_capacity_reservation(CapacityReservationId=id)


def test_what_is_asked_wrongly_is_refused(account):
    asked = [{"Name": "no-such", "Values": ["x"]}]
    account.reserve()
    assert code_of(account.ec2.describe_capacity_reservations, Filters=asked) == "InvalidParameterValue"
    ids = {"CapacityReservationIds": ["cr-0"]}
    assert code_of(account.ec2.describe_capacity_reservations, **ids) == "InvalidCapacityReservationId.NotFound"


def test_where_ec2_has_no_capacity_there_is_none_to_reserve(account):
    account.aws.hooks.no_capacity.add((KIND, "*", "on-demand"))
    try:
        assert code_of(account.reserve) == "InsufficientInstanceCapacity"
    finally:
        account.aws.hooks.no_capacity.clear()


def test_cloudformation_makes_one_changes_it_and_cancels_it(account):
    stack = Stacked(boto3.Session("access", "secret", region_name="us-east-1"))
    stack.endpoint = account.aws.endpoint
    tags = [{"ResourceType": "capacity-reservation", "Tags": [{"Key": "team", "Value": "ml"}]}]
    made = stack.make(
        "AWS::EC2::CapacityReservation",
        InstanceType=KIND,
        InstancePlatform="Linux/UNIX",
        AvailabilityZone=ZONE,
        InstanceCount=2,
        InstanceMatchCriteria="targeted",
        EndDate="2098-01-31T18:00:00Z",
        EndDateType="limited",
        TagSpecifications=tags,
    )
    assert made.attributes["TotalInstanceCount"] == "2"
    one = account.described(made.id)
    assert (one["InstanceMatchCriteria"], one["EndDateType"], one["EndDate"].year) == ("targeted", "limited", 2098)
    assert {"Key": "team", "Value": "ml"} in one["Tags"]
    stack.change("CapacityReservation", InstanceCount=3, EndDate=None, EndDateType="unlimited")
    one = account.described(made.id)
    assert (one["TotalInstanceCount"], one["EndDateType"], "EndDate" in one) == (3, "unlimited", False)
    stack.delete_all()
    assert account.counts(made.id)[0] == "cancelled"


@pytest.mark.parametrize("name", ["InstanceType", "AvailabilityZone"])
def test_another_type_or_zone_is_another_reservation(name):
    kind = TYPES["AWS::EC2::CapacityReservation"]
    assert kind.replaces({name: "a", "InstanceCount": 1}, {name: "b", "InstanceCount": 1})
    assert not kind.replaces({name: "a", "InstanceCount": 1}, {name: "a", "InstanceCount": 2})
