"""A cluster by its name alone: what is asked, in how many rounds, and what is said when the answer will not do."""

import json

import pytest

from karpenter_gpu import EksGpuStack, ExistingCluster, GpuPool, InvalidSettings, KarpenterSettings

# isort: split
import aws_cdk as cdk

from tests.shapes import ACCOUNT, CONTEXT, platform, text_of

REGION = "eu-west-1"
POOL = GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"

CLUSTER = {
    "Version": "1.36",
    "AccessConfig": {"AuthenticationMode": "API_AND_CONFIG_MAP"},
    "KubernetesNetworkConfig": {"IpFamily": "ipv4"},
    "OpenIdConnectIssuerUrl": ISSUER,
    "ClusterSecurityGroupId": "sg-0123456789abcdef0",
    "ResourcesVpcConfig": {"EndpointPrivateAccess": True, "EndpointPublicAccess": False},
}


FIRST, SECOND, THIRD = (f"subnet-0123456789abcdef{place}" for place in (0, 1, 9))


def network(**types):
    """A VPC's subnets, as the command line tells them by their routes."""
    return {
        "vpcId": "vpc-1",
        "subnetGroups": [
            {"name": kind, "type": kind, "subnets": [{"subnetId": id} for id in ids]} for kind, ids in types.items()
        ],
    }


def group(*subnets, nodes=2, **more):
    return {"Subnets": list(subnets), "ScalingConfig": {"DesiredSize": nodes}, **more}


def account(cluster=CLUSTER, vpc=None, **groups):
    """What Cloud Control has, and the VPC."""
    vpc = vpc or network(Private=[FIRST, SECOND])
    subnets = {("AWS::EC2::Subnet", id): {"VpcId": "vpc-1"} for id in (FIRST, SECOND, THIRD)}
    there = {"vpc-1": vpc} | subnets
    there |= {("AWS::EKS::Cluster", "there"): cluster} if cluster else {}
    groups = groups or {"system": group("subnet-0123456789abcdef0", "subnet-0123456789abcdef1")}
    return there | {
        ("AWS::EKS::Nodegroup", f"there/{name}"): {"NodegroupName": name, **has} for name, has in groups.items() if has
    }


def answer(there, props):
    """As the CDK's command line answers a question: a list, or an error that it does not keep."""
    if "filter" in props:
        return there[props["filter"]["vpc-id"]]
    kind, id, paths = props["typeName"], props.get("exactIdentifier"), props["propertiesToReturn"]
    if id is None:
        assert props["resourceModel"] == {"ClusterName": "there"}
        # A list is of identifiers: its handler may call ListNodegroups alone.
        found = {key[1]: {"Id": key[1]} for key in there if key[0] == kind}
    elif (kind, id) in there:
        found = {id: there[kind, id]}
    else:
        return error(f"No resource of type {kind} with identifier: {id}")
    try:
        return [{path: at(has, path) for path in paths} | {"Identifier": name} for name, has in found.items()]
    except KeyError as missing:
        path = next(path for path in paths if missing.args[0] in path)
        return error(f"Cannot read field {path}. {missing.args[0]} is not found.")


def error(text):
    return {"$providerError": text, "$dontSaveContext": True}


def at(has, path):
    for part in path.split("."):
        has = has[part]
    return has


class Synthesis:
    """Rounds of synthesis, as the command line makes them, until nothing is asked."""

    def __init__(self, tmp_path, there, cluster=ExistingCluster(name="there"), kept=(), **more):  # noqa: B008
        self.context, self.rounds, self.asked = dict(kept), 0, []
        while True:
            self.rounds += 1
            out = tmp_path / str(self.rounds)
            app = cdk.App(context=CONTEXT | self.context | {"aws:cdk:disable-asset-staging": True}, outdir=str(out))
            given = {"pools": [POOL], "env": cdk.Environment(account=ACCOUNT, region=REGION)} | more
            self.stack = EksGpuStack(app, "Platform", cluster=cluster, **given)
            app.synth()
            missing = json.loads((out / "manifest.json").read_text()).get("missing", [])
            if not missing:
                break
            self.asked += [question["props"].get("typeName", question["provider"]) for question in missing]
            self.context |= {question["key"]: answer(there, question["props"]) for question in missing}
        self.template = json.loads((out / "Platform.template.json").read_text())

    @property
    def kept(self):
        """What the command line writes into cdk.context.json."""
        return {key: value for key, value in self.context.items() if "$dontSaveContext" not in value}

    @property
    def warnings(self):
        found = self.stack.node.metadata
        return [str(one.data) for one in found if one.type == "aws:cdk:warning" and "security groups" in str(one.data)]

    def of_type(self, kind):
        return [one["Properties"] for one in self.template["Resources"].values() if one["Type"] == kind]


@pytest.fixture(scope="module")
def by_name(tmp_path_factory):
    return Synthesis(tmp_path_factory.mktemp("by-name"), account())


def test_a_name_is_enough(by_name):
    (attachment,) = by_name.of_type("Custom::KarpenterGpuAttachment")
    assert attachment["SubnetIds"] == ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    assert attachment["SecurityGroupIds"] == ["sg-0123456789abcdef0"]
    assert attachment["OidcIssuer"] == ISSUER
    assert attachment["AuthenticationMode"] == "API_AND_CONFIG_MAP"
    assert by_name.template["Metadata"]["eks-rehearsal:existing-cluster"]["KubernetesVersion"] == "1.36"


def test_what_was_found_is_kept_and_asked_no_more(tmp_path, by_name):
    assert by_name.rounds == 5
    again = Synthesis(tmp_path, {}, kept=by_name.kept)
    assert (again.rounds, again.asked) == (1, [])
    assert again.template == by_name.template


PUBLIC = CLUSTER | {"ResourcesVpcConfig": {"EndpointPrivateAccess": False}}


def test_two_rounds_are_enough_for_a_node_group_that_is_named_and_a_public_endpoint(tmp_path):
    assert Synthesis(tmp_path, account(PUBLIC), ExistingCluster(name="there", node_group="system")).rounds == 2


def function_subnets(made):
    """Where each function is that is in a VPC."""
    return {tuple(one["VpcConfig"]["SubnetIds"]) for one in made.of_type("AWS::Lambda::Function") if "VpcConfig" in one}


@pytest.mark.parametrize(
    ("vpc", "chosen"),
    [
        (network(Private=[FIRST], Public=[SECOND]), (FIRST,)),
        (network(Isolated=[FIRST, SECOND]), (FIRST, SECOND)),
        (network(Public=[FIRST, SECOND], Private=[THIRD]), (THIRD,)),
    ],
    ids=["those with a way out", "endpoints may be there", "the VPC's own, where nodes are in public ones"],
)
def test_functions_go_where_a_route_leads_out_that_they_can_take(tmp_path, vpc, chosen):
    made = Synthesis(tmp_path, account(vpc=vpc))
    assert function_subnets(made) == {chosen}
    (attachment,) = made.of_type("Custom::KarpenterGpuAttachment")
    # The nodes stay where those of the node group are.
    assert (attachment["SubnetIds"], attachment["FunctionSubnetIds"]) == ([FIRST, SECOND], list(chosen))


def test_subnets_that_a_function_cannot_leave_are_named_with_what_to_do(tmp_path):
    with pytest.raises(InvalidSettings) as caught:
        Synthesis(tmp_path, account(vpc=network(Public=[FIRST, SECOND], Isolated=[THIRD])))
    (fault,) = map(str, caught.value.faults)
    assert fault.startswith("cluster.function_subnet_ids: the API server of 'there' is reached from inside vpc-1 alone")
    assert f"the way out of {FIRST}, {SECOND} is an internet gateway" in fault
    assert "name subnets with a NAT gateway or endpoints, or open the public endpoint" in fault


def test_subnets_that_were_said_for_functions_are_not_looked_up(tmp_path):
    cluster = ExistingCluster(name="there", function_subnet_ids=(THIRD,))
    made = Synthesis(tmp_path, account(), cluster)
    assert function_subnets(made) == {(THIRD,)}
    assert "vpc-provider" not in made.asked


def test_every_function_is_in_the_vpc_where_that_is_said(tmp_path):
    made = Synthesis(tmp_path, account(PUBLIC), ExistingCluster(name="there", functions_in_vpc=True))
    functions = made.of_type("AWS::Lambda::Function")
    assert len(functions) > 4
    assert [one for one in functions if "VpcConfig" not in one] == []
    assert function_subnets(made) == {(FIRST, SECOND)}


def test_nothing_is_asked_where_all_is_said(tmp_path):
    said = ExistingCluster(
        name="there",
        kubernetes_version="1.36",
        authentication_mode="API",
        ip_family="ipv4",
        oidc_issuer=ISSUER,
        cluster_security_group_id="sg-0123456789abcdef0",
        subnet_ids=("subnet-0123456789abcdef0",),
        kubectl_in_vpc=False,
    )
    assert Synthesis(tmp_path, {}, said).rounds == 1


def test_kubectl_is_in_the_vpc_where_the_api_server_is_reached_from_there_alone(by_name):
    functions = [one for one in by_name.of_type("AWS::Lambda::Function") if "VpcConfig" in one]
    assert (
        len(functions) == 4
    )  # kubectl, its provider, what looks for a Karpenter, and what asks why an instance is alive
    for one in functions:
        assert one["VpcConfig"]["SubnetIds"] == ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]


@pytest.mark.parametrize(
    ("private", "public", "cidrs", "inside"),
    [
        (True, False, [], True),
        (True, True, ["203.0.113.0/24"], True),
        (True, True, ["203.0.113.0/24", "0.0.0.0/0"], False),
        (True, True, None, False),
        # It reaches nothing from anywhere, which the deployment says.
        (False, True, ["203.0.113.0/24"], False),
        (False, None, None, False),
    ],
)
def test_kubectl_goes_into_the_vpc_only_where_it_must(tmp_path, private, public, cidrs, inside):
    network = {"EndpointPrivateAccess": private}
    network |= {} if public is None else {"EndpointPublicAccess": public}
    network |= {} if cidrs is None else {"PublicAccessCidrs": cidrs}
    named = ExistingCluster(name="there", node_group="system")
    made = Synthesis(tmp_path, account(CLUSTER | {"ResourcesVpcConfig": network}), named)
    assert any("VpcConfig" in one for one in made.of_type("AWS::Lambda::Function")) is inside


def test_a_controller_on_fargate_needs_no_node(tmp_path):
    there = account(system=group("subnet-0123456789abcdef0", nodes=0))
    assert Synthesis(tmp_path, there, karpenter=KarpenterSettings(on_fargate=True)).rounds == 5


def test_kubectl_gets_an_access_entry_of_its_own(by_name):
    entries = by_name.of_type("AWS::EKS::AccessEntry")
    policies = [policy["PolicyArn"] for entry in entries for policy in entry.get("AccessPolicies", [])]
    named = sorted(text_of(arn).rpartition("/")[2] for arn in policies)
    assert named == ["AmazonEKSAdminViewPolicy", "AmazonEKSClusterAdminPolicy"]


def test_on_a_cluster_of_aws_auth_alone_kubectl_takes_the_role_that_was_named(tmp_path):
    there = account(CLUSTER | {"AccessConfig": {"AuthenticationMode": "CONFIG_MAP"}})
    role = f"arn:aws:iam::{ACCOUNT}:role/ops"
    made = Synthesis(tmp_path, there, ExistingCluster(name="there", kubectl_role_arn=role))
    assert made.of_type("AWS::EKS::AccessEntry") == []
    assert {one["RoleArn"] for one in made.of_type("Custom::AWSCDK-EKS-HelmChart")} == {role}
    environments = [one.get("Environment", {}).get("Variables", {}) for one in made.of_type("AWS::Lambda::Function")]
    assert {"KUBECTL_ROLE_ARN": role} in environments


def test_the_node_group_that_was_named_says_where_nodes_go_and_where_the_controller_runs(tmp_path):
    there = account(system=group("subnet-0123456789abcdef0"), other=group("subnet-0123456789abcdef9"))
    made = Synthesis(tmp_path, there, ExistingCluster(name="there", node_group="system"))
    (attachment,) = made.of_type("Custom::KarpenterGpuAttachment")
    assert attachment["SubnetIds"] == ["subnet-0123456789abcdef0"]
    assert "eks.amazonaws.com/nodegroup" in json.dumps(made.of_type("Custom::AWSCDK-EKS-HelmChart"))


def test_nodes_go_to_the_subnets_of_every_node_group(tmp_path):
    there = account(
        one=group("subnet-0123456789abcdef0", nodes=1),
        two=group("subnet-0123456789abcdef0", "subnet-0123456789abcdef1", nodes=1),
    )
    (attachment,) = Synthesis(tmp_path, there).of_type("Custom::KarpenterGpuAttachment")
    assert attachment["SubnetIds"] == ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]


@pytest.mark.parametrize(
    ("there", "more", "fault"),
    [
        (
            account(cluster=None),
            {},
            (
                f"cluster.name: there is no EKS cluster 'there' in account {ACCOUNT} and region {REGION}; see 'aws eks "
                "list-clusters --region eu-west-1', or say the region it is in, as in region=eu-west-1"
            ),
        ),
        (
            account(),
            {"cluster": ExistingCluster(name="there", node_group="sytsem")},
            "cluster.node_group: 'sytsem' is not a node group of cluster 'there'; see 'aws eks list-nodegroups",
        ),
        (
            account(none=None),
            {},
            f"cluster.node_group: 'there' in account {ACCOUNT} and region {REGION} has no managed node group, and the",
        ),
        (
            account(system=group("subnet-0123456789abcdef0", nodes=1)),
            {},
            (
                "cluster.node_group: system of 'there' in account 111122223333 and region eu-west-1 has 1 node(s), and the "
                "controller runs on 2 different ones; scale it, name another one, or set karpenter.values.replicas to 1"
            ),
        ),
        (
            account(one=group("subnet-0123456789abcdef0"), two=group("subnet-0123456789abcdef0", nodes=0)),
            {"cluster": ExistingCluster(name="there", node_group="two")},
            "cluster.node_group: two of 'there' in account 111122223333 and region eu-west-1 has 0 node(s), and the",
        ),
        (
            account({name: value for name, value in CLUSTER.items() if name != "AccessConfig"}),
            {},
            (
                "cluster.authentication_mode: AWS does not tell AccessConfig.AuthenticationMode of 'there', so it cannot be "
                "looked up; say it"
            ),
        ),
        (
            account(),
            {"cluster": ExistingCluster(name="there", kubernetes_version="1.35")},
            (
                "cluster.kubernetes_version: '1.35' was said, and 'there' runs Kubernetes 1.36; say that, or leave it out "
                "and it is looked up; what was found before is in cdk.context.json, and 'cdk context --clear' asks anew"
            ),
        ),
        (
            account(CLUSTER | {"Version": "1.25"}),
            {},
            "cluster.kubernetes_version: 'there' runs Kubernetes 1.25, and this package knows 1.",
        ),
        (
            account(CLUSTER | {"AccessConfig": {"AuthenticationMode": "CONFIG_MAP"}}),
            {},
            "cluster.kubectl_role_arn: 'there' lets in by aws-auth alone, where what runs kubectl has no entry; name a role",
        ),
    ],
)
def test_a_cluster_that_will_not_do_is_said_in_one_sentence(tmp_path, there, more, fault):
    with pytest.raises(InvalidSettings) as caught:
        Synthesis(tmp_path, there, **more)
    assert str(caught.value.faults[0]).startswith(fault)


def test_an_answer_that_the_command_line_could_not_get_is_told_with_the_way_around(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "answer", lambda *_: error("Encountered an error\nAccessDenied"))
    with pytest.raises(InvalidSettings) as caught:
        Synthesis(tmp_path, {})
    (fault,) = map(str, caught.value.faults)
    assert "'there' could not be looked up: " in fault
    assert "Encountered an error AccessDenied; or say it yourself: cluster.kubernetes_version" in fault


def test_one_replica_runs_on_one_node(tmp_path):
    there = account(system=group("subnet-0123456789abcdef0", nodes=1))
    assert Synthesis(tmp_path, there, karpenter=KarpenterSettings(values={"replicas": 1})).rounds == 5


def test_the_walkthrough_begins_with_a_cluster_that_is_there(tmp_path):
    then = platform("walkthrough-existing", account=ACCOUNT, region=REGION, **{"cluster.name": "there"})
    there = account(CLUSTER | {"Version": "1.30"})
    made = Synthesis(
        tmp_path, there, then.cluster, karpenter=then.karpenter, pools=then.pools, device_plugin=then.device_plugin
    )
    assert made.template["Metadata"]["eks-rehearsal:existing-cluster"]["KubernetesVersion"] == "1.30"
    charts = {one["Release"]: one["Version"] for one in made.of_type("Custom::AWSCDK-EKS-HelmChart")}
    assert charts == {"karpenter-crd": "1.0.1", "karpenter": "1.0.1"}


LAUNCH_TEMPLATE = {"Id": "lt-0123456789abcdef0", "Name": "nodes", "Version": "3"}
COMMAND = (
    "aws ec2 describe-launch-template-versions --launch-template-id lt-0123456789abcdef0 --versions 3 --query "
    "'LaunchTemplateVersions[0].LaunchTemplateData.[NetworkInterfaces[0].Groups||SecurityGroupIds]' --output text "
    "--region eu-west-1"
)


def test_a_launch_template_is_said_with_the_command_that_shows_its_security_groups(tmp_path):
    there = account(
        plain=group("subnet-0123456789abcdef0"),
        odd=group("subnet-0123456789abcdef0", LaunchTemplate=LAUNCH_TEMPLATE),
    )
    made = Synthesis(tmp_path / "first", there)
    (warning,) = made.warnings
    assert warning.startswith("node group 'odd' of 'there' has a launch template")
    assert f'"{COMMAND}"' in warning
    assert made.rounds == 5
    again = Synthesis(tmp_path / "again", {}, kept=made.kept)
    assert (again.rounds, again.warnings) == (1, [warning])


def test_no_launch_template_is_looked_for_where_the_security_groups_are_said(tmp_path):
    there = account(PUBLIC, odd=group("subnet-0123456789abcdef0", LaunchTemplate=LAUNCH_TEMPLATE))
    made = Synthesis(tmp_path, there, ExistingCluster(name="there", security_group_ids=("sg-0123456789abcdef9",)))
    assert made.warnings == []
    assert made.asked == ["AWS::EKS::Cluster", "AWS::EKS::Nodegroup", "AWS::EKS::Nodegroup"]


def test_a_launch_template_that_could_not_be_asked_for_is_not_taken_for_none(tmp_path, monkeypatch):
    known = answer

    def throttled(there, props):
        return error("Rate exceeded") if props["propertiesToReturn"] == ["LaunchTemplate"] else known(there, props)

    monkeypatch.setitem(globals(), "answer", throttled)
    with pytest.raises(InvalidSettings, match="AWS::EKS::Nodegroup there/system: Rate exceeded"):
        Synthesis(tmp_path, account())


@pytest.mark.parametrize("env", [None, cdk.Environment(region=REGION)])
def test_a_look_up_needs_an_account_and_a_region(env):
    with pytest.raises(InvalidSettings) as caught:
        EksGpuStack(cdk.App(), "Platform", cluster=ExistingCluster(name="there"), pools=[POOL], env=env)
    (fault,) = map(str, caught.value.faults)
    assert fault.startswith("cluster.name: 'there' is to be looked up, and account")
    assert fault.endswith("cluster.cluster_security_group_id, cluster.subnet_ids, cluster.kubectl_in_vpc")
