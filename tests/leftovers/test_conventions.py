"""What each tool calls and tags what it makes for a cluster, in every partition, and what another cluster's is called."""

import json

import pytest

from karpenter_gpu.labels import MADE_BY_TAG
from tests.leftovers.command import asking, document
from tests.leftovers.plants import (
    DOCUMENT,
    Ground,
    Plant,
    emulated,
    instance,
    launch_template,
    provider,
    trusting,
    volume,
)

NUMBER = "20260714101010123456789012"
# By kind and tool: names, with the cluster's in them, of what has no tag that says whose it is.
NAMES = {
    "queue": ["{}", "Karpenter-{}"],  # upstream's template, eksctl and cdk-eks-karpenter; Terraform's module
    "role": [
        "KarpenterNodeRole-{}",  # upstream's template
        "eksctl-KarpenterNodeRole-{}",
        "{}-karpenter",
        f"Karpenter-{{}}-{NUMBER}",  # Terraform's modules
        f"{{}}-cluster-{NUMBER}",
    ],
    "instance profile": [
        "KarpenterNodeInstanceProfile-{}",
        "eksctl-KarpenterNodeInstanceProfile-{}",
        "{}_1234567890",  # Karpenter's own until 1.6
        f"Karpenter-{{}}-{NUMBER}",
    ],
    "policy": ["KarpenterControllerPolicy-{}", "KarpenterControllerInterruptionPolicy-{}", "eksctl-KarpenterControllerPolicy-{}"],
    "log group": ["/aws/eks/{}/cluster", "/aws/containerinsights/{}/performance"],
    "KMS alias": ["alias/eks/{}"],
    "security group": [f"{{}}-cluster-{NUMBER}"],
}  # fmt: skip
EXISTING = {"aws": "eu-west-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}


# Creates one of a kind that has a name and nothing else, and gives its id.
MAKE = {
    "queue": lambda ground, name: ground.client("sqs").create_queue(QueueName=name)["QueueUrl"],
    "role": lambda ground, name: (
        ground.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusting("ec2.amazonaws.com")) and name
    ),
    "instance profile": lambda ground, name: ground.iam.create_instance_profile(InstanceProfileName=name) and name,
    "policy": lambda ground, name: ground.iam.create_policy(PolicyName=name, PolicyDocument=DOCUMENT)["Policy"]["Arn"],
    "log group": lambda ground, name: ground.client("logs").create_log_group(logGroupName=name) and name,
    "KMS alias": lambda ground, name: (
        ground.client("kms").create_alias(
            AliasName=name, TargetKeyId=ground.client("kms").create_key()["KeyMetadata"]["KeyId"]
        )
        and name
    ),
    "security group": lambda ground, name: ground.ec2.create_security_group(
        GroupName=name, Description="d", VpcId=ground.vpc
    )["GroupId"],
}


@pytest.fixture(scope="module")
def ground():
    with emulated() as aws, asking(aws):
        yield Ground(aws)


def test_what_bears_the_clusters_name_alone_is_told_stays_and_another_clusters_is_not(ground):
    wanted = {(kind, MAKE[kind](ground, name.format("gpu"))) for kind, names in NAMES.items() for name in names}
    for other in ("gpu-2", "my-gpu"):
        for kind, names in NAMES.items():
            for name in names:
                MAKE[kind](ground, name.format(other))
    code, said = document("--delete", "--yes", "--with-data")
    assert code == 1
    assert {(one["kind"], one["id"]) for one in said["left"]} == wanted
    assert {one["kept"] for one in said["left"]} == {"only its name says so"}
    assert said["removed"] == []


# What each tool puts on what it makes, and what else it puts there.
TAGS = {
    "eksctl": {"alpha.eksctl.io/cluster-name": "tags", "eksctl.cluster.k8s.io/v1alpha1/cluster-name": "tags", "Name": "ng"},
    "Terraform": {"kubernetes.io/cluster/tags": "owned", "Name": "tags-node", "terraform-aws-modules": "eks"},
    "cdk-eks-karpenter": {"kubernetes.io/cluster/tags": "owned", "karpenter.sh/nodepool": "gpu", "Name": "gpu/default"},
    "Karpenter 1.0": {"karpenter.k8s.aws/cluster": "tags", "karpenter.sh/nodepool": "gpu"},
    "Karpenter": {"eks:eks-cluster-name": "tags", "karpenter.sh/nodepool": "gpu"},
    "EKS": {"aws:eks:cluster-name": "tags"},
    "EKS node groups": {"eks:cluster-name": "tags", "eks:nodegroup-name": "system"},
    "VPC CNI": {"cluster.k8s.amazonaws.com/name": "tags", "node.k8s.amazonaws.com/instance_id": "i-1"},
    "load balancer controller": {"elbv2.k8s.aws/cluster": "tags", "service.k8s.aws/stack": "a/b"},
}  # fmt: skip


def test_what_each_tool_tags_is_found_and_deleted_and_another_clusters_stays(ground):
    for tool, tags in TAGS.items():
        launch_template(Plant(ground, tool, tags))
        renamed = {
            key.replace("cluster/tags", "cluster/tags-2"): value.replace("tags", "tags-2")
            for key, value in tags.items()
        }
        launch_template(Plant(ground, f"not {tool}", renamed))
    code, said = document("--delete", "--yes", cluster="tags")
    assert (code, said["left"]) == (0, [])
    assert len(said["removed"]) == len(TAGS)
    templates = ground.ec2.describe_launch_templates()["LaunchTemplates"]
    assert {one["LaunchTemplateName"] for one in templates} >= {f"not {tool}" for tool in TAGS}


def test_a_rule_of_terraforms_module_is_told(ground):
    events = ground.client("events")
    for name, cluster in (("HealthEvent-1", "tf"), ("HealthEvent-2", "tf-2")):
        events.put_rule(Name=name, EventPattern="{}", Tags=[{"Key": "ClusterName", "Value": cluster}])
    _, said = document("--delete", "--yes", cluster="tf")
    (one,) = said["left"]
    assert (one["id"], one["because"]) == ("HealthEvent-1", "tag ClusterName=tf")
    assert one["kept"] == "no tag of its cluster says so"


def test_what_belongs_to_no_region_is_deleted_where_its_path_or_issuer_says_this_one(ground):
    """Karpenter's instance profiles from 1.7 on, and issuers of both networks."""
    issuers = ("oidc.eks.{}.amazonaws.com", "oidc-eks.{}.api.aws")
    for region in ("eu-west-1", "us-east-1"):
        ground.iam.create_instance_profile(
            InstanceProfileName=f"of-{region}",
            Path=f"/karpenter/{region}/global/class/",
            Tags=[{"Key": "eks:eks-cluster-name", "Value": "global"}],
        )
        for issuer in issuers:
            ground.iam.create_open_id_connect_provider(
                Url=f"https://{issuer.format(region)}/id/A",
                Tags=[{"Key": "alpha.eksctl.io/cluster-name", "Value": "global"}],
            )
    code, said = document("--delete", "--yes", cluster="global")
    assert (code, said["left"]) == (0, [])
    assert [one["kind"] for one in said["removed"]] == ["instance profile", "OIDC provider", "OIDC provider"]
    assert all("eu-west-1" in one["id"] for one in said["removed"])


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_in_other_partitions_all_is_found_and_deleted_and_nothing_is_priced(partition):
    region = EXISTING[partition]
    with emulated(region) as aws, asking(aws):
        one = Plant(Ground(aws), "gpu", {"kubernetes.io/cluster/gpu": "owned"})
        for make in (instance, volume, launch_template, provider):
            make(one)
        one.role()
        _, said = document(region=region)
        assert {each["usd_per_day"] for each in said["left"] if each["kind"] in ("instance", "volume")} == {None}
        code, said = document("--delete", "--yes", region=region)
        assert (code, said["left"], said["unseen"]) == (0, [], [])
        removed = {each["kind"]: each["id"] for each in said["removed"]}
        assert removed.keys() == {"instance", "volume", "launch template", "OIDC provider", "role"}
        assert removed["OIDC provider"].startswith(
            f"arn:{partition}:iam::123456789012:oidc-provider/oidc.eks.{region}."
        )
        signed = {call.region for call in aws.calls if call.service == "iam"}
        assert signed == {"cn-north-1" if partition == "aws-cn" else "us-gov-west-1"}


def test_what_a_living_stack_made_stays_and_goes_once_its_deletion_has_failed(ground):
    tags = [{"Key": "kubernetes.io/cluster/stacked", "Value": "owned"}]
    group = {"GroupDescription": "d", "VpcId": ground.vpc, "Tags": tags}
    template = {"Resources": {"Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": group}}}
    ground.client("cloudformation").create_stack(StackName="maker", TemplateBody=json.dumps(template))
    _, said = document("--delete", "--yes", cluster="stacked")
    assert [one["kept"] for one in said["left"]] == ["stack maker made it and is in CREATE_COMPLETE: delete that stack"]
    with ground.aws.backend("cloudformation") as backend:
        next(one for one in backend.stacks.values() if one.name == "maker").status = "DELETE_FAILED"
    code, said = document("--delete", "--yes", cluster="stacked")
    assert (code, [one["kind"] for one in said["removed"]]) == (0, ["security group"])


def test_what_a_living_stack_made_stays_where_cloudformation_left_no_tag_but_the_stack_did(ground):
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    ground.client("cloudformation").create_stack(StackName="marking", TemplateBody=json.dumps(template))
    launch_template(Plant(ground, "marked", {"kubernetes.io/cluster/marked": "owned", MADE_BY_TAG: "marking"}))
    _, said = document("--delete", "--yes", cluster="marked")
    assert [one["kept"] for one in said["left"]] == [
        "stack marking made it and is in CREATE_COMPLETE: delete that stack"
    ]
    ground.client("cloudformation").delete_stack(StackName="marking")
    code, said = document("--delete", "--yes", cluster="marked")
    assert (code, [one["kind"] for one in said["removed"]]) == (0, ["launch template"])
