"""The cluster that was there before a stack: with the ids that the template names, and nothing of it tagged."""

import json
from types import SimpleNamespace

import pytest

from eks_rehearsal import premade
from eks_rehearsal.assembly import PRINCIPAL
from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from tests.until import until

FACTS = {
    "Name": "there",
    "KubernetesVersion": "1.36",
    "AuthenticationMode": "API",
    "VpcId": "vpc-0123456789abcdef0",
    "SubnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    "ClusterSecurityGroupId": "sg-0123456789abcdef0",
    "SecurityGroupIds": ["sg-0123456789abcdef1"],
    "NodeGroup": "workers",
}


@pytest.fixture
def aws():
    def up(name, version, shown):
        return ClusterEndpoint("https://127.0.0.1:6443", "Q0E=", "https://oidc.test/x")

    with EmulatedAws(region="eu-west-1", account="111122223333", hooks=Hooks(create_cluster=up)) as aws:
        for name, service in (("there-cluster", "eks"), ("there-nodes", "ec2")):
            trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}}]}
            aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        yield aws


def test_what_the_template_names_is_there_under_those_ids(aws):
    vpc, subnets = premade.network(aws.client, FACTS)
    assert (vpc, subnets) == (FACTS["VpcId"], FACTS["SubnetIds"])
    found = aws.client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
    assert {subnet["VpcId"] for subnet in found} == {vpc}
    assert len({subnet["AvailabilityZone"] for subnet in found}) == 2
    assert [subnet.get("Tags", []) for subnet in found] == [[], []]
    premade.cluster(aws.client, FACTS, subnets)
    shown = aws.client("eks").describe_cluster(name="there")["cluster"]
    assert shown["resourcesVpcConfig"]["clusterSecurityGroupId"] == "sg-0123456789abcdef0"
    assert shown["accessConfig"]["authenticationMode"] == "API"
    assert until(lambda: aws.client("eks").describe_cluster(name="there")["cluster"]["status"] == "ACTIVE", 5)
    premade.node_group(aws.client, FACTS, subnets)
    group = aws.client("eks").describe_nodegroup(clusterName="there", nodegroupName="workers")["nodegroup"]
    template = aws.client("ec2").describe_launch_template_versions(LaunchTemplateId=group["launchTemplate"]["id"])
    assert template["LaunchTemplateVersions"][0]["LaunchTemplateData"]["SecurityGroupIds"] == ["sg-0123456789abcdef1"]


def test_what_the_template_does_not_name_has_ids_of_its_own(aws):
    vpc, subnets = premade.network(aws.client, {"Name": "there"})
    assert len(subnets) == 2
    assert FACTS["VpcId"] != vpc


def test_an_id_is_given_once(aws):
    premade.network(aws.client, FACTS)
    assert aws.client("ec2").create_vpc(CidrBlock="10.43.0.0/16")["Vpc"]["VpcId"] != FACTS["VpcId"]


def test_a_policy_that_the_template_names_says_what_is_given_and_else_allows_everything(aws):
    named = [f":iam::111122223333:policy/team/{name}" for name in ("Known", "Other")]
    account = SimpleNamespace(aws=aws, notes=[])
    known = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}
    premade.principals(account, [PRINCIPAL.fullmatch(one) for one in named], {"Known": known})
    said = [
        aws.client("iam").get_policy_version(PolicyArn=f"arn:aws{one}", VersionId="v1")["PolicyVersion"]["Document"]
        for one in named
    ]
    assert [one["Statement"][0]["Action"] for one in said] == ["ec2:*", "*"]
    assert account.notes == [
        "the policy Other is your account's, and is taken to allow everything; --policy says what it allows"
    ]


def test_whom_the_template_names_is_there_by_the_very_arn(aws):
    named = [
        f"arn:aws:iam::{of}" for of in ("111122223333:role/team/ops", "111122223333:user/eve", "444455556666:role/x")
    ]
    iam = aws.client("iam")
    # A role of the same name may have come with the cluster.
    for _ in range(2):
        premade.principals(SimpleNamespace(aws=aws), [PRINCIPAL.fullmatch(arn) for arn in named[::2]])
    premade.principals(SimpleNamespace(aws=aws), [PRINCIPAL.fullmatch(named[1])])
    role = iam.get_role(RoleName="ops")["Role"]
    assert (role["Arn"], iam.get_user(UserName="eve")["User"]["Arn"]) == tuple(named[:2])
    assert aws.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="me")["Credentials"]
    assert "x" not in [one["RoleName"] for one in iam.list_roles()["Roles"]]
