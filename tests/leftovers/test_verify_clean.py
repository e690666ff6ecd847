import json

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws
from typer.testing import CliRunner

from karpenter_gpu import cli
from karpenter_gpu.commands import app
from karpenter_gpu.leftovers.kinds import KINDS

REGION = "eu-west-1"
CALL = BaseClient._make_api_call


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """The account, and what AWS answers instead of moto: by operation, an answer or a code."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("karpenter_gpu.leftovers.remove.time.sleep", lambda _: None)
    for limit in ("HELD_SECONDS", "AWAITED_SECONDS"):
        monkeypatch.setattr(f"karpenter_gpu.leftovers.remove.{limit}", 0)
    answers = {"DescribeCapacityReservations": {"CapacityReservations": []}}

    def call(self, operation, asked):
        answer = answers.get(operation)
        if isinstance(answer, str):
            raise ClientError({"Error": {"Code": answer, "Message": "no"}}, operation)
        if operation == "ListInstanceProfileTags":  # moto has the tags, and not this operation.
            return {"Tags": CALL(self, "GetInstanceProfile", asked)["InstanceProfile"].get("Tags", [])}
        return answer if answer is not None else CALL(self, operation, asked)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    with mock_aws():
        yield answers


def run(*args):
    done = CliRunner().invoke(
        app, ["verify-clean", "--cluster", "gpu", "--region", REGION, *args], catch_exceptions=False
    )
    return done.exit_code, done.output


def client(service):
    return boto3.client(service, region_name=REGION)


def listed(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def plant(tags, name):
    """One of many kinds, with these tags; some names are the account's, so each needs its own."""
    ec2, iam = client("ec2"), client("iam")

    def spec(kind):
        return [{"ResourceType": kind, "Tags": listed(tags)}]

    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    asked = {"ImageId": image, "InstanceType": "g6.xlarge", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    ec2.run_instances(**asked, TagSpecifications=spec("instance"))
    ec2.create_network_interface(SubnetId=subnet, TagSpecifications=spec("network-interface"))
    zone = f"{REGION}a"
    volume = ec2.create_volume(AvailabilityZone=zone, Size=100, VolumeType="gp3", TagSpecifications=spec("volume"))
    ec2.create_snapshot(VolumeId=volume["VolumeId"], TagSpecifications=spec("snapshot"))
    data = {"ImageId": image}
    ec2.create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData=data, TagSpecifications=spec("launch-template")
    )
    ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc, TagSpecifications=spec("security-group"))
    ec2.allocate_address(Domain="vpc", TagSpecifications=spec("elastic-ip"))
    client("sqs").create_queue(QueueName=f"{name}-queue", tags=tags)
    client("events").put_rule(Name=name, EventPattern="{}", Tags=listed(tags))
    client("logs").create_log_group(logGroupName=f"/{name}", tags=tags)
    client("kms").create_key(Tags=[{"TagKey": key, "TagValue": value} for key, value in tags.items()])
    here = [*listed(tags), {"Key": "topology.kubernetes.io/region", "Value": REGION}]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}", Tags=here)
    iam.create_instance_profile(InstanceProfileName=name, Tags=here)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.create_open_id_connect_provider(Url=f"https://oidc.eks.{REGION}.amazonaws.com/id/{name}", Tags=listed(tags))


PLANTED = {
    "instance", "network interface", "volume", "snapshot", "launch template", "security group", "elastic IP", "queue",
    "event rule", "log group", "KMS key", "role", "instance profile", "OIDC provider",
}  # fmt: skip
OURS = {"kubernetes.io/cluster/gpu": "owned"}
KEPT = {"snapshot", "log group", "KMS key"}


def document(*args):
    code, said = run("--json", *args)
    return code, json.loads(said[said.index("{\n") :])


def test_each_thing_that_is_left_is_named(aws):
    plant(OURS, "ours")
    code, said = document()
    assert code == 1
    assert {one["kind"] for one in said["left"]} == PLANTED
    (instance,) = [one for one in said["left"] if one["kind"] == "instance"]
    assert instance["usd_per_day"] == pytest.approx(24 * 0.8048)


def test_nothing_left_is_clean_and_a_cluster_that_eks_does_not_know_is_said(aws):
    code, said = run()
    assert code == 0, said
    assert "EKS knows no cluster gpu in eu-west-1; it has none" in said


def test_a_deletion_takes_what_is_the_clusters_by_tag_and_leaves_data(aws):
    plant(OURS, "ours")
    code, said = document("--delete", "--yes")
    assert ({one["kind"] for one in said["left"]}, code) == (KEPT, 1)
    assert {one["kind"] for one in said["removed"]} == PLANTED - KEPT
    assert document("--delete", "--yes")[1]["removed"] == []


@pytest.mark.parametrize(
    "tags",
    [{"kubernetes.io/cluster/gpu-2": "owned"}, {"kubernetes.io/cluster/gpu": "shared"}, {"team": "vision"}],
    ids=["a name that begins with this one", "shared", "another team's"],
)
def test_what_is_not_the_clusters_is_neither_listed_nor_touched(aws, tags):
    plant(tags, "others")
    code, said = document("--delete", "--yes", "--with-data")
    assert (code, said["left"], said["removed"]) == (0, [], [])
    assert client("ec2").describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
    assert client("iam").get_role(RoleName="others")


def test_what_bears_the_clusters_name_alone_is_told_and_stays(aws):
    client("iam").create_role(RoleName="KarpenterNodeRole-gpu", AssumeRolePolicyDocument="{}")
    client("iam").create_role(RoleName="KarpenterNodeRole-gpu-2", AssumeRolePolicyDocument="{}")
    code, said = document("--delete", "--yes")
    assert (code, [one["id"] for one in said["left"]]) == (1, ["KarpenterNodeRole-gpu"])
    assert said["removed"] == []


def test_a_service_that_a_person_may_not_look_at_is_said_and_is_not_clean(aws):
    aws["ListRoles"] = "AccessDenied"
    code, said = run()
    assert code == 2
    assert "not looked at: role: these credentials may not call ListRoles" in said


def test_a_cluster_that_exists_is_not_deleted_from(aws):
    client("eks").create_cluster(name="gpu", roleArn="arn:aws:iam::123456789012:role/c", resourcesVpcConfig={})
    aws["ListAccessEntries"] = {"accessEntries": []}
    aws["ListPodIdentityAssociations"] = {"associations": []}
    plant(OURS, "ours")
    code, said = run("--delete", "--yes")
    assert code == 2
    assert "cluster gpu exists in eu-west-1 and is ACTIVE, so nothing is deleted" in said
    assert client("ec2").describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


def test_whether_the_cluster_exists_must_be_seen_before_anything_is_deleted(aws):
    plant(OURS, "ours")
    aws["DescribeCluster"] = "AccessDeniedException"
    code, said = run("--delete", "--yes")
    assert code == 2
    assert "could not be seen" in said
    assert client("ec2").describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--cluster", "a/b"), "'a/b' is no name of an EKS cluster"),
        (("--region", "eu-wst-1"), "boto3 knows no region eu-wst-1; did you mean eu-west-1?"),
        (("--yes", "--with-data"), "--yes and --with-data mean something with --delete alone"),
        (("--delete",), "there is no terminal to ask on; add --yes"),
    ],
)
def test_bad_input_is_one_sentence(aws, args, sentence):
    code, said = run(*args)
    assert (code, sentence in said) == (2, True), said


def test_no_credentials_are_one_sentence(aws, monkeypatch):
    aws["GetCallerIdentity"] = None
    monkeypatch.setattr("boto3.Session.get_credentials", lambda _: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    code, said = run()
    assert code == 2
    assert "there are no AWS credentials; run aws sso login" in said


def test_the_policy_allows_what_each_kind_reads():
    done = CliRunner().invoke(app, ["verify-clean", "--policy"])
    actions = json.loads(done.output)["Statement"][0]["Action"]
    assert set(actions) == {action for kind in KINDS for action in kind.reads}


def test_every_kind_is_deleted_or_says_why_not():
    assert [kind.name for kind in KINDS if not (kind.delete or kind.kept or kind.names)] == []


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(cli, "NEEDED", ("json", "no_such_module"))
    with pytest.raises(SystemExit, match=r"pip install 'karpenter-gpu\[cli\]'"):
        cli.main()
