"""Cloud Control says what there is as CloudFormation's resource schemas have it, and no more than their handlers may."""

import json

import pytest
from botocore.exceptions import ClientError
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from eks_rehearsal import premade
from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from tests.until import until

REGION = "eu-west-1"
ISSUER = f"https://oidc.eks.{REGION}.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
CLUSTER, GROUP = "AWS::EKS::Cluster", "AWS::EKS::Nodegroup"
FACTS = {
    "Name": "there",
    "KubernetesVersion": "1.36",
    "AuthenticationMode": "API_AND_CONFIG_MAP",
    "SecurityGroupIds": ["sg-0123456789abcdef1"],
}


@pytest.fixture(scope="module")
def aws():
    def up(name, version, shown):
        return ClusterEndpoint("https://127.0.0.1:6443", "Q0E=", ISSUER)

    with EmulatedAws(region=REGION, hooks=Hooks(create_cluster=up)) as aws:
        for name in ("there-cluster", "there-nodes"):
            document = json.dumps({"Version": "2012-10-17", "Statement": []})
            aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
        _, subnets = premade.network(aws.client, FACTS)
        premade.cluster(aws.client, FACTS, subnets)
        eks = aws.client("eks")
        assert until(lambda: eks.describe_cluster(name="there")["cluster"]["status"] == "ACTIVE", 5)
        premade.node_group(aws.client, FACTS, subnets)
        yield aws


@pytest.fixture(scope="module")
def control(aws):
    return aws.client("cloudcontrol")


def read(control, kind, identifier):
    found = control.get_resource(TypeName=kind, Identifier=identifier)
    assert (found["TypeName"], found["ResourceDescription"]["Identifier"]) == (kind, identifier)
    return json.loads(found["ResourceDescription"]["Properties"])


def listed(control, kind, model=None):
    asked = {"ResourceModel": json.dumps(model)} if model else {}
    found = control.list_resources(TypeName=kind, **asked)["ResourceDescriptions"]
    return {one["Identifier"]: json.loads(one["Properties"]) for one in found}


def test_a_subnet_tells_its_vpc(aws, control):
    there = aws.client("eks").describe_cluster(name="there")["cluster"]["resourcesVpcConfig"]
    assert read(control, "AWS::EC2::Subnet", there["subnetIds"][0])["VpcId"] == there["vpcId"]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        read(control, "AWS::EC2::Subnet", "subnet-0123456789abcdef9")


def test_a_cluster_is_told_in_the_schemas_words(aws, control):
    shown = aws.client("eks").describe_cluster(name="there")["cluster"]
    found = read(control, CLUSTER, "there")
    assert (found["Name"], found["Version"], found["OpenIdConnectIssuerUrl"]) == ("there", "1.36", ISSUER)
    assert found["AccessConfig"] == {"AuthenticationMode": "API_AND_CONFIG_MAP"}
    assert found["KubernetesNetworkConfig"]["IpFamily"] == "ipv4"
    assert found["ResourcesVpcConfig"]["EndpointPrivateAccess"] is True
    assert found["ClusterSecurityGroupId"] == shown["resourcesVpcConfig"]["clusterSecurityGroupId"]


def test_a_node_group_is_told_in_the_schemas_words(aws, control):
    shown = aws.client("eks").describe_nodegroup(clusterName="there", nodegroupName="system")["nodegroup"]
    found = read(control, GROUP, "there/system")
    assert (found["Id"], found["NodegroupName"], found["Subnets"]) == ("there/system", "system", shown["subnets"])
    assert found["ScalingConfig"] == {"MinSize": 2, "DesiredSize": 2, "MaxSize": 3}
    template = shown["launchTemplate"]
    assert found["LaunchTemplate"] == {"Id": template["id"], "Name": template["name"], "Version": "1"}


@pytest.mark.parametrize(("kind", "identifier"), [(CLUSTER, "there"), (GROUP, "there/system")])
def test_nothing_is_read_that_the_schema_does_not_have_or_has_as_write_only(control, kind, identifier):
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    for path in paths(read(control, kind, identifier)):
        assert f"/properties/{'/'.join(path)}" not in schema["writeOnlyProperties"]
        holder = schema
        for name in path:
            holder = schema["definitions"][holder["$ref"].rpartition("/")[2]] if "$ref" in holder else holder
            assert name in holder["properties"], path
            holder = holder["properties"][name]


def paths(properties, above=()):
    """The path of every property that holds no others."""
    for name, value in properties.items():
        # Labels and tags have keys of a person's own.
        if isinstance(value, dict) and name not in {"Labels", "Tags"}:
            yield from paths(value, (*above, name))
        else:
            yield (*above, name)


def test_a_list_says_the_identifiers_alone(control):
    assert listed(control, CLUSTER) == {"there": {"Name": "there"}}
    assert listed(control, GROUP, {"ClusterName": "there"}) == {"there/system": {"Id": "there/system"}}


def test_node_groups_are_listed_of_one_cluster(control):
    with pytest.raises(ClientError, match=r"InvalidRequestException.*required key \[ClusterName\] not found"):
        listed(control, GROUP)


@pytest.mark.parametrize(
    ("kind", "identifier"), [(CLUSTER, "elsewhere"), (GROUP, "elsewhere/system"), (GROUP, "there/sytsem")]
)
def test_what_is_not_there_is_not_found(control, kind, identifier):
    with pytest.raises(control.exceptions.ResourceNotFoundException, match="HandlerErrorCode: NotFound"):
        read(control, kind, identifier)
    if kind == GROUP and identifier.startswith("elsewhere"):
        with pytest.raises(control.exceptions.ResourceNotFoundException, match="No cluster found for name"):
            listed(control, GROUP, {"ClusterName": "elsewhere"})


def test_another_region_has_none_of_it(aws):
    import boto3

    keys = {"aws_access_key_id": "AKIAREHEARSALROOT001", "aws_secret_access_key": "rehearsal"}
    control = boto3.client("cloudcontrol", "us-east-1", endpoint_url=aws.endpoint, **keys)
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        read(control, CLUSTER, "there")
    assert listed(control, CLUSTER) == {}


def test_another_type_is_refused_and_never_said_to_be_missing(control):
    with pytest.raises(ClientError, match=r"NotImplemented.*this Cloud Control has no AWS::S3::Bucket"):
        read(control, "AWS::S3::Bucket", "b")
