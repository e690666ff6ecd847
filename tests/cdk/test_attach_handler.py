"""The handler that attaches a stack to a cluster that was there, against the emulated AWS of the rehearsal."""

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import boto3
import pytest

from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from tests.until import until

HANDLER = Path(__file__).parents[2] / "karpenter_gpu" / "cdk" / "functions" / "attach.py"
ACCOUNT = "111122223333"
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER.removeprefix('https://')}"
DISCOVERY = "karpenter.sh/discovery"
FREE = {"Key": "team", "Value": "research"}


class World:
    """A cluster on two subnets of an account, and another security group in its VPC."""

    names = (f"there-{place}" for place in itertools.count())

    def __init__(self, aws, handler, answers):
        self.aws, self.handler, self.answers = aws, handler, answers
        self.name = next(self.names)
        ec2, eks = self.ec2, aws.client("eks")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{place}.0/24")["Subnet"]["SubnetId"] for place in (1, 2)
        ]
        ec2.create_tags(Resources=self.subnets, Tags=[FREE])
        shown = eks.create_cluster(
            name=self.name,
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/c",
            resourcesVpcConfig={"subnetIds": self.subnets},
            accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"},
        )["cluster"]
        self.cluster_group = shown["resourcesVpcConfig"]["clusterSecurityGroupId"]
        self.group = self.new_group("nodes")
        assert until(lambda: eks.describe_cluster(name=self.name)["cluster"]["status"] == "ACTIVE", 5)

    @property
    def ec2(self):
        return self.aws.client("ec2")

    @property
    def iam(self):
        return self.aws.client("iam")

    def providers(self):
        return [one["Arn"] for one in self.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]]

    def new_group(self, name):
        asked = {"GroupName": name, "Description": name, "VpcId": self.vpc}
        return self.ec2.create_security_group(**asked)["GroupId"]

    def launch(self, group):
        """A node of the cluster."""
        image = self.aws.client("ssm").get_parameter(
            Name="/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id"
        )["Parameter"]["Value"]
        tags = [{"Key": "eks:cluster-name", "Value": self.name}]
        ran = self.ec2.run_instances(
            ImageId=image,
            InstanceType="m6i.large",
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnets[0],
            SecurityGroupIds=[group],
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return ran["Instances"][0]["InstanceId"]

    def close(self):
        """Keep the API server to some addresses."""
        asked = {"endpointPublicAccess": True, "publicAccessCidrs": ["203.0.113.0/24"]}
        self.aws.client("eks").update_cluster_config(name=self.name, resourcesVpcConfig=asked)

    def tags(self, id):
        found = self.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [id]}])["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def wanted(self, **more):
        return {
            "ClusterName": self.name,
            "Stack": "gpu",
            "Account": ACCOUNT,
            "AuthenticationMode": "API",
            "PodIdentity": "false",
            "Discovery": "tags",
            "SubnetIds": self.subnets,
            "SecurityGroupIds": [self.group],
            "OwnIds": [],
            "NodeSecurityGroupIds": [self.group],
        } | more

    def ask(self, request="Create", before=None, **more):
        """Why it failed; nothing when it did not."""
        event = {"RequestType": request, "ResourceProperties": self.wanted(**more)}
        if before:
            event["OldResourceProperties"] = self.wanted(**before)
        self.handler.handler(event, SimpleNamespace())
        return self.answers[-1]


@pytest.fixture(scope="module")
def aws():
    def up(name, version, shown):
        return ClusterEndpoint("https://127.0.0.1:6443", "Q0E=", ISSUER)

    with EmulatedAws(region="eu-west-1", account=ACCOUNT, hooks=Hooks(create_cluster=up)) as running:
        yield running


@pytest.fixture
def world(aws, monkeypatch):
    answers = []
    monkeypatch.syspath_prepend(HANDLER.parent)
    monkeypatch.delitem(sys.modules, "aws", raising=False)
    module = ModuleType("answer")
    module.answer = lambda *said, **_: answers.append(said[2])
    monkeypatch.setitem(sys.modules, "answer", module)
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIAREHEARSALROOT001",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    for key, value in {**keys, "AWS_ENDPOINT_URL": aws.endpoint}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    spec = importlib.util.spec_from_file_location("attach", HANDLER)
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)
    made = World(aws, handler, answers)
    yield made
    for provider in made.providers():
        made.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)


def test_what_nodes_use_is_tagged_and_a_destroy_takes_away_just_that(world):
    assert world.ask() == ""
    for id in (*world.subnets, world.group):
        assert world.tags(id)[DISCOVERY] == world.name
        assert world.tags(id)["karpenter-gpu/made-by"] == "gpu"
    assert world.ask("Delete") == ""
    assert [world.tags(id) for id in world.subnets] == [{"team": "research"}] * 2
    assert world.tags(world.group) == {}


def test_a_tag_that_was_there_is_used_and_stays(world):
    world.ec2.create_tags(Resources=[world.subnets[0]], Tags=[{"Key": DISCOVERY, "Value": world.name}])
    assert world.ask() == ""
    assert "karpenter-gpu/made-by" not in world.tags(world.subnets[0])
    assert world.ask("Delete") == ""
    assert world.tags(world.subnets[0]) == {"team": "research", DISCOVERY: world.name}


def test_a_tag_that_somebody_has_changed_since_is_theirs(world):
    world.ask()
    world.ec2.create_tags(Resources=[world.group], Tags=[{"Key": DISCOVERY, "Value": "other"}])
    assert world.ask("Delete") == ""
    assert world.tags(world.group) == {DISCOVERY: "other"}


def test_a_changed_list_tags_what_came_and_untags_what_went(world):
    world.ask()
    other = world.new_group("other")
    before = {"SecurityGroupIds": [world.group]}
    assert world.ask("Update", before, SecurityGroupIds=[other], NodeSecurityGroupIds=[other]) == ""
    assert DISCOVERY not in world.tags(world.group)
    assert world.tags(other)[DISCOVERY] == world.name
    world.ask("Delete", SecurityGroupIds=[other])


def test_asked_for_ids_nothing_is_tagged(world):
    assert world.ask(Discovery="ids") == ""
    assert world.tags(world.group) == {}
    assert world.ask("Delete", Discovery="ids") == ""
    assert world.tags(world.subnets[0]) == {"team": "research"}


def test_a_provider_is_made_where_there_is_none_and_goes_with_the_stack(world):
    more = {"OidcIssuer": ISSUER, "OidcProviderArn": PROVIDER}
    assert world.ask(**more) == ""
    assert world.ask("Update", more, **more) == ""
    assert world.providers() == [PROVIDER]
    assert world.ask("Delete", **more) == ""
    assert world.providers() == []


def test_the_accounts_provider_is_used_and_stays(world):
    world.iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["sts.amazonaws.com"])
    more = {"OidcIssuer": ISSUER, "OidcProviderArn": PROVIDER}
    assert world.ask(**more) == ""
    assert world.ask("Delete", **more) == ""
    assert world.providers() == [PROVIDER]


def test_a_provider_without_the_audience_of_service_accounts_is_said_with_the_command(world):
    world.iam.create_open_id_connect_provider(Url=ISSUER, ClientIDList=["others"])
    why = world.ask(OidcIssuer=ISSUER, OidcProviderArn=PROVIDER)
    assert "add-client-id-to-open-id-connect-provider" in why


def tagged(world, id, value):
    world.ec2.create_tags(Resources=[id], Tags=[{"Key": DISCOVERY, "Value": value}])


def of_cluster(world):
    other = world.new_group("other")
    for id in (world.group, other):
        world.ec2.create_tags(Resources=[id], Tags=[{"Key": f"kubernetes.io/cluster/{world.name}", "Value": "owned"}])
    return {"SecurityGroupIds": [world.group, other]}


# What is wrong; how; and what is said of it.
FAULTS = {
    "no cluster": (lambda _: {"ClusterName": "here"}, "there is no EKS cluster here in this account and region"),
    "another mode": (
        lambda _: {"AuthenticationMode": "CONFIG_MAP"},
        "cluster {name} has authentication mode API_AND_CONFIG_MAP, and the stack was synthesized for CONFIG_MAP",
    ),
    "another issuer": (
        lambda _: {"OidcIssuer": f"{ISSUER}0"},
        f"cluster {{name}} has the issuer {ISSUER}, and the stack",
    ),
    "no agent": (lambda _: {"PodIdentity": "true"}, "cluster {name} has no EKS Pod Identity agent"),
    "kubectl cannot reach it": (
        lambda world: world.close() or {"KubectlInVpc": "false"},
        "the API server of cluster {name} cannot be reached from any address, and what runs kubectl is outside its VPC",
    ),
    "no such subnet": (
        lambda _: {"SubnetIds": ["subnet-0123456789abcdef9"]},
        "subnet subnet-0123456789abcdef9 is not in this account and region; name one that is",
    ),
    "no such security group": (
        lambda _: {"SecurityGroupIds": ["sg-0123456789abcdef9"]},
        "security group sg-0123456789abcdef9 is not in this account and region; name one that is",
    ),
    "two of one cluster": (
        of_cluster,
        "both have the tag kubernetes.io/cluster/{name}, and load balancers need just one",
    ),
    "a tag for another cluster": (
        lambda world: tagged(world, world.subnets[0], "other"),
        "has the tag karpenter.sh/discovery=other, for another cluster",
    ),
    "a tag on one more": (
        lambda world: tagged(world, world.cluster_group, world.name),
        "has the tag karpenter.sh/discovery={name} as well, so that nodes would get it too",
    ),
    "nodes apart": (
        lambda world: world.launch(world.new_group("apart")) and None,
        "so that pods could not reach each other or CoreDNS; give GPU nodes what the others have (security_group_ids)",
    ),
    "a shared VPC": (
        lambda _: {"Account": "444455556666"},
        f"is shared by account {ACCOUNT}, whose resources cannot be tagged; select by id (discovery='ids')",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_as_it_was_taken_to_be_is_said_and_nothing_is_changed(world, fault):
    make, words = FAULTS[fault]
    why = world.ask(**(make(world) or {}))
    assert words.format(name=world.name) in why
    assert "\n" not in why
    assert "karpenter-gpu/made-by" not in world.tags(world.group)


def test_kubectl_outside_the_vpc_reaches_an_endpoint_that_is_open_to_anybody(world):
    assert world.ask(KubectlInVpc="false") == ""
    world.ask("Delete")


def test_kubectl_inside_the_vpc_needs_no_public_endpoint(world):
    world.close()
    assert world.ask(KubectlInVpc="true") == ""
    assert world.ask("Delete") == ""


def test_kubectl_where_a_function_has_no_way_out_is_said_and_behind_a_nat_gateway_it_is_not(world):
    gateway = world.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    world.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=world.vpc)
    table = world.ec2.create_route_table(VpcId=world.vpc)["RouteTable"]["RouteTableId"]
    world.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    public, private = world.subnets
    world.ec2.associate_route_table(RouteTableId=table, SubnetId=public)
    # A way to some addresses is not the way out.
    narrow = world.ec2.create_route_table(VpcId=world.vpc)["RouteTable"]["RouteTableId"]
    world.ec2.create_route(RouteTableId=narrow, DestinationCidrBlock="198.51.100.0/24", GatewayId=gateway)
    world.ec2.associate_route_table(RouteTableId=narrow, SubnetId=private)
    why = world.ask(KubectlInVpc="true", FunctionSubnetIds=world.subnets)
    assert (
        f"functions, what runs kubectl among them, are in subnet {public}, whose way out is an internet gateway" in why
    )
    assert private not in why
    assert world.ask(KubectlInVpc="true", FunctionSubnetIds=[private]) == ""
    world.ask("Delete")


def test_a_main_route_table_counts_for_subnets_without_one(world):
    gateway = world.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    world.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=world.vpc)
    (main,) = world.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [world.vpc]}])["RouteTables"]
    world.ec2.create_route(RouteTableId=main["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert "no public address" in world.ask(KubectlInVpc="true", FunctionSubnetIds=world.subnets)


def test_every_fault_is_said_at_once(world):
    why = world.ask(PodIdentity="true", SubnetIds=["subnet-0123456789abcdef9"])
    assert "Pod Identity agent" in why
    assert "subnet-0123456789abcdef9" in why


def test_nodes_that_share_a_group_are_no_strangers(world):
    world.launch(world.group)
    assert world.ask() == ""
    world.ask("Delete")


def test_what_is_gone_already_keeps_no_destroy(world):
    world.ask()
    world.ec2.delete_security_group(GroupId=world.group)
    assert world.ask("Delete") == ""
