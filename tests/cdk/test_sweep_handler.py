"""The handler that removes what instances leave behind, on an emulated account with other people's things in it."""

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.cdk.lifecycle import load

REGION = "eu-west-1"
OF_CLUSTER = {"cluster.k8s.amazonaws.com/name": "gpu"}
OWNED = {"kubernetes.io/cluster/gpu": "owned", "topology.kubernetes.io/region": REGION}


@pytest.fixture
def sweep(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        (module,) = load(monkeypatch, "sweep")
        clock = iter(range(0, 100_000, 100))
        monkeypatch.setattr(module.time, "time", lambda: next(clock))
        monkeypatch.setattr(module.time, "sleep", lambda _: None)
        yield lambda *kinds: module.verdict({"ClusterName": "gpu", "Kinds": list(kinds)})


def pairs(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def interface(tags):
    ec2 = boto3.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    specifications = [{"ResourceType": "network-interface", "Tags": pairs(tags)}] if tags else []
    made = ec2.create_network_interface(SubnetId=subnet, TagSpecifications=specifications)
    return made["NetworkInterface"]["NetworkInterfaceId"]


def instance():
    ec2 = boto3.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    return ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]


def interfaces():
    return {one["NetworkInterfaceId"] for one in boto3.client("ec2").describe_network_interfaces()["NetworkInterfaces"]}


def test_interfaces_of_instances_that_are_gone_go_and_nobody_elses(sweep):
    alive, stopped, dead = instance(), instance(), instance()
    boto3.client("ec2").stop_instances(InstanceIds=[stopped])
    boto3.client("ec2").terminate_instances(InstanceIds=[dead])
    before = interfaces()
    mark = "node.k8s.amazonaws.com/instance_id"
    gone = {interface({**OF_CLUSTER, mark: dead}), interface({**OF_CLUSTER, mark: "i-0123456789abcdef0"})}
    kept = {
        interface({}),
        interface({"cluster.k8s.amazonaws.com/name": "other"}),
        interface({**OF_CLUSTER, mark: alive}),
        interface({**OF_CLUSTER, mark: stopped}),
    }
    assert sweep("interfaces") == ""
    assert interfaces() == before | kept
    assert not gone & interfaces()


def template(name, tags):
    specifications = [{"ResourceType": "launch-template", "Tags": pairs(tags)}]
    boto3.client("ec2").create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "t3.small"}, TagSpecifications=specifications
    )


def test_karpenters_launch_templates_go_and_nobody_elses(sweep):
    template("karpenter.k8s.aws/1", {"eks:eks-cluster-name": "gpu"})
    template("karpenter.k8s.aws/2", {"karpenter.k8s.aws/cluster": "gpu"})
    template("karpenter.k8s.aws/3", {"eks:eks-cluster-name": "other"})
    template("auto-mode", {"eks:eks-cluster-name": "gpu"})
    assert sweep("templates") == ""
    left = boto3.client("ec2").describe_launch_templates()["LaunchTemplates"]
    assert {one["LaunchTemplateName"] for one in left} == {"karpenter.k8s.aws/3", "auto-mode"}


def profile(name, path, tags):
    iam = boto3.client("iam")
    iam.create_instance_profile(InstanceProfileName=name, Path=path, Tags=pairs(tags))
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName="nodes")


def test_karpenters_instance_profiles_let_the_node_role_go_and_nobody_elses(sweep):
    iam = boto3.client("iam")
    iam.create_role(RoleName="nodes", AssumeRolePolicyDocument="{}")
    profile("gpu_1", "/", OWNED)
    profile("any", f"/karpenter/{REGION}/gpu/0123/", OWNED)
    profile("gpu_2", "/", OWNED | {"topology.kubernetes.io/region": "us-east-1"})
    profile("gpu_3", "/", {})
    profile("own", "/", OWNED)
    assert sweep("profiles") == ""
    left = iam.list_instance_profiles()["InstanceProfiles"]
    assert {one["InstanceProfileName"] for one in left} == {"gpu_2", "gpu_3", "own"}


def test_what_cannot_be_removed_is_named_and_why(sweep, monkeypatch):
    made = interface(OF_CLUSTER)
    client = boto3.client("ec2")

    def refuse(**_):
        raise client.exceptions.ClientError({"Error": {"Code": "UnauthorizedOperation"}}, "DeleteNetworkInterface")

    monkeypatch.setattr(client, "delete_network_interface", refuse)
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    why = sweep("interfaces")
    assert f"network interface {made}: " in why
    assert "UnauthorizedOperation" in why


def test_what_goes_a_little_later_is_looked_at_again(monkeypatch):
    (module,) = load(monkeypatch, "sweep")
    slept, answers = [], iter([["interface eni-1: in use"], []])
    monkeypatch.setattr(module.time, "sleep", slept.append)
    monkeypatch.setitem(module.KINDS, "interfaces", lambda _: next(answers))
    assert module.verdict({"ClusterName": "gpu", "Kinds": ["interfaces"]}) == ""
    assert slept == [module.LOOK_EVERY_SECONDS]


@pytest.mark.parametrize(
    ("code", "is_left"),
    [("NoSuchEntity", False), ("InvalidNetworkInterfaceID.NotFound", False), ("AccessDenied", True)],
)
def test_what_is_gone_when_it_is_to_be_removed_is_not_left(monkeypatch, code, is_left):
    (module,) = load(monkeypatch, "sweep")

    def remove():
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Delete")

    assert bool(module.attempt("it", remove)) is is_left
