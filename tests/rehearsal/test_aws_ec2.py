import base64
import json
import time

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.hooks import Hooks
from eks_rehearsal.aws.server import EmulatedAws
from tests.until import until

ZONES = ("us-east-1a", "us-east-1b")
TRUST = {"Version": "2012-10-17", "Statement": []}
EKS = "/aws/service/eks/optimized-ami"
GPU_IMAGE = f"{EKS}/1.34/amazon-linux-2023/x86_64/nvidia/recommended/image_id"


class World:
    """An account with two subnets and a launch template such as Karpenter's."""

    def __init__(self, aws, heard):
        self.aws, self.heard, self.ec2 = aws, heard, aws.client("ec2")
        found = self.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": list(ZONES)}])["Subnets"]
        self.subnets = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in found}
        self.image = aws.client("ssm").get_parameter(Name=GPU_IMAGE)["Parameter"]["Value"]
        iam = aws.client("iam")
        iam.create_role(RoleName="node", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.create_instance_profile(InstanceProfileName="node", Tags=[{"Key": "cluster", "Value": "gpu"}])
        iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
        self.group = self.ec2.create_security_group(GroupName="nodes", Description="d", VpcId=found[0]["VpcId"])[
            "GroupId"
        ]
        self.ec2.create_launch_template(
            LaunchTemplateName="karpenter",
            LaunchTemplateData={
                "ImageId": self.image,
                "SecurityGroupIds": [self.group],
                "IamInstanceProfile": {"Name": "node"},
                "UserData": base64.b64encode(b"nodeadm").decode(),
                "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
                "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 100}}],
                "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "of", "Value": "template"}]}],
            },
        )

    def fleet(self, capacity_type="on-demand", offerings=(("g5.xlarge", ZONES[0]), ("g4dn.xlarge", ZONES[1])), **more):
        overrides = [{"InstanceType": kind, "SubnetId": self.subnets[zone]} for kind, zone in offerings]
        template = {"LaunchTemplateName": "karpenter", "Version": "$Latest"}
        default = {"DefaultTargetCapacityType": capacity_type} if capacity_type else {}
        return self.ec2.create_fleet(
            Type="instant",
            TargetCapacitySpecification={"TotalTargetCapacity": 1, **default},
            LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template, "Overrides": overrides}],
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": "karpenter.sh/nodepool", "Value": "gpu"}]},
                {"ResourceType": "volume", "Tags": [{"Key": "of", "Value": "fleet"}]},
            ],
            **more,
        )

    def instance(self, fleet):
        found = self.ec2.describe_instances(InstanceIds=fleet["Instances"][0]["InstanceIds"])
        return found["Reservations"][0]["Instances"][0]


@pytest.fixture(scope="module")
def world():
    heard = []
    hooks = Hooks(
        instance_launched=lambda i: heard.append(("up", i)), instance_terminated=lambda i: heard.append(("down", i))
    )
    with EmulatedAws(region="us-east-1", hooks=hooks) as aws:
        yield World(aws, heard)


@pytest.fixture(autouse=True)
def _plenty(world):
    yield
    world.aws.hooks.no_capacity.clear()


def tags(document):
    return {tag["Key"]: tag["Value"] for tag in document["Tags"]}


def test_a_registered_image_keeps_its_architecture(world):
    made = world.ec2.register_image(Name="mine", Architecture="arm64", VirtualizationType="hvm")["ImageId"]
    image = world.ec2.describe_images(ImageIds=[made])["Images"][0]
    assert (image["Architecture"], image["VirtualizationType"]) == ("arm64", "hvm")


def test_an_image_of_a_public_parameter_is_found_by_id_and_by_amazon(world):
    image = world.ec2.describe_images(ImageIds=[world.image], Owners=["amazon"])["Images"][0]
    assert image["Name"] == "amazon-eks-node-al2023-x86_64-nvidia-1.34-v20260714"
    assert (image["Architecture"], image["ImageOwnerAlias"]) == ("x86_64", "amazon")


def test_an_instance_of_a_fleet_carries_all_that_its_template_and_request_say(world):
    instance = world.instance(world.fleet())
    assert instance["SecurityGroups"] == [{"GroupId": world.group, "GroupName": "nodes"}]
    assert instance["NetworkInterfaces"][0]["Groups"] == [{"GroupId": world.group, "GroupName": "nodes"}]
    assert instance["IamInstanceProfile"]["Arn"] == "arn:aws:iam::123456789012:instance-profile/node"
    assert (instance["SubnetId"], instance["Placement"]["AvailabilityZone"]) == (world.subnets[ZONES[1]], ZONES[1])
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["ImageId"] == world.image
    assert tags(instance).items() >= {"of": "template", "karpenter.sh/nodepool": "gpu"}.items()
    assert "aws:ec2:fleet-id" in tags(instance)
    said = world.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    assert base64.b64decode(said["UserData"]["Value"]) == b"nodeadm"


def test_the_volumes_of_a_fleets_instance_are_tagged_and_go_with_it(world):
    instance = world.instance(world.fleet())
    mapping = instance["BlockDeviceMappings"][0]["Ebs"]
    volume = world.ec2.describe_volumes(VolumeIds=[mapping["VolumeId"]])["Volumes"][0]
    assert (volume["Size"], tags(volume)) == (100, {"of": "fleet"})
    assert mapping["DeleteOnTermination"] is True


def test_a_fleet_that_names_no_capacity_type_is_on_demand(world):
    assert world.fleet(None)["Instances"][0]["Lifecycle"] == "on-demand"


@pytest.mark.parametrize("capacity_type", ["on-demand", "spot"])
def test_a_fleet_takes_the_cheapest_offering(world, capacity_type):
    fleet = world.fleet(capacity_type)
    assert (fleet["Instances"][0]["InstanceType"], fleet["Instances"][0]["Lifecycle"]) == ("g4dn.xlarge", capacity_type)
    assert fleet["Errors"] == []


def test_a_spot_instance_is_known_by_its_lifecycle_and_its_request(world):
    spot, plain = world.instance(world.fleet("spot")), world.instance(world.fleet())
    assert spot["InstanceLifecycle"] == "spot"
    assert spot["SpotInstanceRequestId"].startswith("sir-")
    assert not {"InstanceLifecycle", "SpotInstanceRequestId"} & set(plain)


def test_an_instance_is_told_in_few_words_as_ec2_describes_it(world):
    described = world.instance(world.fleet("spot"))
    (told,) = [one for one in world.aws.instances() if one.id == described["InstanceId"]]
    assert (told.type, told.state, told.spot) == (described["InstanceType"], described["State"]["Name"], True)
    assert told.tags == {tag["Key"]: tag["Value"] for tag in described["Tags"]}


def test_an_offering_without_capacity_is_an_error_and_the_next_is_taken(world):
    world.aws.hooks.no_capacity.add(("g4dn.xlarge", "*", "spot"))
    fleet = world.fleet("spot")
    assert fleet["Instances"][0]["InstanceType"] == "g5.xlarge"
    (error,) = fleet["Errors"]
    assert error["ErrorCode"] == "InsufficientInstanceCapacity"
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"] == "g4dn.xlarge"
    assert error["LaunchTemplateAndOverrides"]["Overrides"]["AvailabilityZone"] == ZONES[1]
    assert world.fleet()["Instances"][0]["InstanceType"] == "g4dn.xlarge"


def test_a_zone_without_capacity_leaves_the_other(world):
    world.aws.hooks.no_capacity.add(("*", ZONES[0], "on-demand"))
    fleet = world.fleet(offerings=[("g4dn.xlarge", zone) for zone in ZONES])
    assert world.instance(fleet)["Placement"]["AvailabilityZone"] == ZONES[1]


def test_without_any_capacity_a_fleet_launches_nothing(world):
    world.aws.hooks.no_capacity.add(("*", "*", "on-demand"))
    fleet = world.fleet()
    assert fleet["Instances"] == []
    assert [error["ErrorCode"] for error in fleet["Errors"]] == ["InsufficientInstanceCapacity"] * 2
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        world.ec2.run_instances(
            MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": "karpenter"}, InstanceType="g5.xlarge"
        )


def test_an_image_of_the_wrong_architecture_is_refused(world):
    (error,) = world.fleet(offerings=[("g5g.xlarge", ZONES[0])])["Errors"]
    assert "architecture 'arm64' of the specified instance type does not match" in error["ErrorMessage"]


def test_instances_run_from_a_template_carry_it_too(world):
    made = world.ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        LaunchTemplate={"LaunchTemplateName": "karpenter"},
        InstanceType="g5.xlarge",
        SubnetId=world.subnets[ZONES[0]],
        InstanceMarketOptions={"MarketType": "spot"},
    )["Instances"][0]
    assert (made["InstanceLifecycle"], made["IamInstanceProfile"]["Arn"].rpartition("/")[2]) == ("spot", "node")
    assert [group["GroupId"] for group in made["SecurityGroups"]] == [world.group]


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda world: world.fleet("spot", DryRun=True), id="CreateFleet"),
        pytest.param(
            lambda world: world.ec2.run_instances(
                DryRun=True,
                MinCount=1,
                MaxCount=1,
                LaunchTemplate={"LaunchTemplateName": "karpenter"},
                InstanceType="g5.xlarge",
            ),
            id="RunInstances",
        ),
        pytest.param(
            lambda world: world.ec2.create_launch_template(
                DryRun=True, LaunchTemplateName="other", LaunchTemplateData={"ImageId": world.image}
            ),
            id="CreateLaunchTemplate",
        ),
        pytest.param(lambda world: world.ec2.describe_instance_types(DryRun=True), id="DescribeInstanceTypes"),
    ],
)
def test_a_dry_run_does_nothing_and_says_so(world, ask):
    before = len(world.heard)
    with pytest.raises(ClientError) as refused:
        ask(world)
    assert refused.value.response["Error"]["Code"] == "DryRunOperation"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert len(world.heard) == before


def test_launch_and_termination_are_heard_outside(world):
    instance = world.instance(world.fleet())["InstanceId"]
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.ec2.terminate_instances(InstanceIds=[instance])
    assert until(lambda: ("down", instance) in world.heard, 5)
    time.sleep(0.05)
    assert [what for what, which in world.heard if which == instance] == ["up", "down"]
    state = world.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]
    assert state["Name"] == "terminated"


def test_spot_prices_are_two_fifths_of_the_catalogues(world):
    prices = world.ec2.describe_spot_price_history(InstanceTypes=["g6.xlarge"], MaxResults=10)["SpotPriceHistory"]
    assert {price["SpotPrice"] for price in prices} == {f"{round(0.8048 * 0.4, 4):.6f}"}
    assert len({price["AvailabilityZone"] for price in prices}) > 1


def test_gpu_types_are_described_and_moto_is_asked_once(world, monkeypatch):
    world.ec2.describe_instance_types(InstanceTypes=["g6.xlarge"])
    monkeypatch.setattr(world.aws.world, "moto_response", None)
    monkeypatch.setattr(world.aws, "_moto", None)
    (kind,) = world.ec2.describe_instance_types(InstanceTypes=["g6.xlarge"])["InstanceTypes"]
    assert (kind["GpuInfo"]["Gpus"][0]["Name"], kind["GpuInfo"]["Gpus"][0]["Count"]) == ("L4", 1)


def test_reservations_and_placement_groups_are_empty(world):
    assert world.ec2.describe_capacity_reservations()["CapacityReservations"] == []
    assert world.ec2.describe_placement_groups()["PlacementGroups"] == []


def test_instances_are_found_by_all_of_several_tag_keys(world):
    (launched,) = world.fleet()["Instances"][0]["InstanceIds"]
    other = world.ec2.run_instances(
        ImageId=world.image,
        InstanceType="m6i.large",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "of", "Value": "a node group"}]}],
    )["Instances"][0]["InstanceId"]
    filters = [{"Name": "tag-key", "Values": [key]} for key in ("karpenter.sh/nodepool", "of")]
    found = [one for r in world.ec2.describe_instances(Filters=filters)["Reservations"] for one in r["Instances"]]
    ids = [one["InstanceId"] for one in found]
    assert launched in ids
    assert other not in ids


def test_a_volume_is_found_by_one_of_its_tag_keys(world):
    tags = [{"Key": "of", "Value": "a claim"}, {"Key": "Name", "Value": "data"}]
    volume = world.ec2.create_volume(
        AvailabilityZone=ZONES[0], Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )["VolumeId"]
    found = world.ec2.describe_volumes(Filters=[{"Name": "tag-key", "Values": ["of", "karpenter.sh/nodepool"]}])
    assert volume in [one["VolumeId"] for one in found["Volumes"]]


def test_an_instance_that_is_asked_for_twice_is_shown_once(world):
    (id,) = world.fleet()["Instances"][0]["InstanceIds"]
    found = world.ec2.describe_instances(InstanceIds=[id, id])["Reservations"]
    assert [one["InstanceId"] for reservation in found for one in reservation["Instances"]] == [id]


def test_an_instance_that_is_slow_to_end_is_shutting_down_until_then_however_often_it_is_told(world, monkeypatch):
    id = world.instance(world.fleet())["InstanceId"]
    monkeypatch.setitem(world.aws.hooks.shutdown_seconds, id, 0.5)
    told = world.ec2.terminate_instances(InstanceIds=[id])["TerminatingInstances"][0]
    assert told["CurrentState"] == {"Name": "shutting-down", "Code": 32}

    def state():
        return world.ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]["State"]["Name"]

    world.ec2.terminate_instances(InstanceIds=[id])
    assert state() == "shutting-down"
    assert until(lambda: state() == "terminated", 5)
    assert until(lambda: ("down", id) in world.heard, 5)
    assert world.heard.count(("down", id)) == 1
