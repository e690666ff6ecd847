"""What is on a cluster already: looked for before anything is installed, and kept where the app says so."""

import json

import pytest

from karpenter_gpu import Karpenter, KarpenterSettings

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_eks as v1
from aws_cdk import aws_eks_v2 as v2
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer

from tests.cdk.test_forms import ADMIN, PLAIN, POOL, faults, imported_v1, imported_v2, made_v1, of_type, on, stack_in
from tests.graph import Graph
from tests.shapes import ACCOUNT, synthesized, text_of

TAKEOVER = "Custom::KarpenterGpuTakeover"
NODE_ACCESS = "Custom::KarpenterGpuNodeAccess"
HELM = "Custom::AWSCDK-EKS-HelmChart"
THEIRS = f"arn:aws:iam::{ACCOUNT}:role/team/their-nodes"
ADOPTING = KarpenterSettings(adopt=True)


def made_v2(stack, **more):
    return v2.Cluster(
        stack,
        "Cluster",
        cluster_name="training",
        version=v2.KubernetesVersion.V1_36,
        default_capacity_type=v2.DefaultCapacityType.NODEGROUP,
        kubectl_provider_options=v2.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(stack, "KubectlLayer")),
        **more,
    )


def on_made(make, **more):
    stack = stack_in()
    karpenter = Karpenter(
        stack, "Karpenter", cluster=make(stack), cluster_name="training", kubernetes_version="1.36", **more
    )
    karpenter.add_gpu_pool(POOL)
    return Template.from_stack(stack).to_json()


def the(template, kind):
    (found,) = of_type(template, kind)
    return found


def crd_chart(template):
    (found,) = (
        one
        for one in template["Resources"].values()
        if one["Type"] == HELM and one["Properties"]["Release"] == "karpenter-crd"
    )
    return found


@pytest.mark.parametrize("shape", ["existing-cluster", "existing-cluster-of-aws-auth", "taken-over"])
def test_on_a_cluster_that_was_there_it_looks_before_the_crds(shape):
    graph = synthesized(shape).graph
    (look,) = graph.of_type(TAKEOVER)
    charts = graph.of_type(HELM)
    assert len(charts) == 2
    assert all(look in graph.waits_for(chart) for chart in charts)


@pytest.mark.parametrize("make", [made_v1, made_v2])
def test_on_a_cluster_of_this_app_it_looks_only_to_take_over(make):
    assert of_type(on_made(make), TAKEOVER) == []
    assert the(on_made(make, settings=ADOPTING), TAKEOVER)["Adopt"] == "true"


@pytest.mark.parametrize(
    ("adopt", "policies"),
    [
        (False, ["AmazonEKSAdminViewPolicy"]),
        (True, ["AmazonEKSAdminViewPolicy", "AmazonEKSClusterAdminPolicy"]),
    ],
)
@pytest.mark.parametrize("imported", [imported_v1, imported_v2])
def test_it_enters_by_an_entry_that_allows_no_more_than_it_does(imported, adopt, policies):
    stack = stack_in()
    template = on(imported(stack), stack, settings=KarpenterSettings(adopt=adopt))
    (entry,) = (one for one in of_type(template, "AWS::EKS::AccessEntry") if "Takeover" in json.dumps(one))
    assert all(granted["AccessScope"] == {"Type": "cluster"} for granted in entry["AccessPolicies"])
    arns = [
        text_of(granted["PolicyArn"]).partition(":eks::aws:cluster-access-policy/")[2]
        for granted in entry["AccessPolicies"]
    ]
    assert arns == policies
    graph = Graph(template)
    (name,) = (one for one in graph.of_type("AWS::EKS::AccessEntry") if "Takeover" in one)
    (look,) = graph.of_type(TAKEOVER)
    assert name in graph.waits_for(look)
    assert "KubectlRoleArn" not in the(template, TAKEOVER)


def test_where_aws_auth_alone_decides_it_takes_kubectls_role():
    stack = stack_in()
    template = on(imported_v1(stack), stack, authentication_mode="CONFIG_MAP")
    assert the(template, TAKEOVER)["KubectlRoleArn"] == ADMIN
    assert of_type(template, "AWS::EKS::AccessEntry") == []


def test_the_role_that_made_a_cluster_of_this_app_lets_it_take_it():
    template = on_made(made_v1, settings=ADOPTING)
    graph = Graph(template)
    (look,) = graph.of_type(TAKEOVER)
    role = the(template, TAKEOVER)["KubectlRoleArn"]["Fn::GetAtt"][0]
    trust = json.dumps(template["Resources"][role]["Properties"]["AssumeRolePolicyDocument"])
    assert "KarpenterTakeoverRole" in trust
    assert role in graph.waits_for(look)


def network_of(template, handler):
    (found,) = (
        one["Properties"].get("VpcConfig")
        for name, one in template["Resources"].items()
        if one["Type"] == "AWS::Lambda::Function" and handler in name
    )
    return found


@pytest.mark.parametrize("shape", ["existing-cluster", "existing-cluster-of-aws-auth"])
def test_it_runs_in_the_vpc_where_kubectl_does(shape):
    network = network_of(synthesized(shape).template, "TakeoverHandler")
    assert network["SubnetIds"] == ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    assert network["SecurityGroupIds"] == ["sg-0123456789abcdef0"]


def test_it_runs_where_the_kubectl_of_a_cluster_of_this_app_does():
    private = on_made(made_v2, settings=ADOPTING)
    assert network_of(private, "TakeoverHandler") == network_of(private, "ClusterKubectlProviderHandler") is not None
    public = on_made(lambda stack: made_v2(stack, endpoint_access=v2.EndpointAccess.PUBLIC), settings=ADOPTING)
    assert network_of(public, "TakeoverHandler") is None


def test_crds_that_were_taken_over_stay_when_the_stack_or_a_failed_deployment_goes():
    stays = crd_chart(synthesized("taken-over").template)
    assert (stays["DeletionPolicy"], stays["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert crd_chart(synthesized("existing-cluster").template)["DeletionPolicy"] == "Delete"


def test_a_node_role_that_is_there_is_passed_on_and_named_and_nothing_is_attached_to_it():
    shape = synthesized("taken-over")
    text = json.dumps(shape.template)
    assert "KarpenterNodeRole-there" not in text
    assert shape.manifests()["EC2NodeClass", "inference"]["spec"]["role"] == "their-nodes"
    statements = [
        statement
        for one in shape.of_type("AWS::IAM::ManagedPolicy").values()
        for statement in one["Properties"]["PolicyDocument"]["Statement"]
    ]
    (passed,) = (one["Resource"] for one in statements if "iam:PassRole" in one["Action"])
    assert passed == [THEIRS]
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        assert all(
            "their-nodes" not in json.dumps(one["Properties"].get("Roles")) for one in shape.of_type(kind).values()
        )


def test_its_way_in_is_looked_for_and_outlasts_the_nodes():
    shape = synthesized("taken-over")
    assert shape.only(NODE_ACCESS)["RoleArn"] == THEIRS
    entries = shape.of_type("AWS::EKS::AccessEntry").values()
    assert "EC2_LINUX" not in {one["Properties"].get("Type") for one in entries}
    (access,) = shape.graph.of_type(NODE_ACCESS)
    (gate,) = shape.graph.of_type("Custom::KarpenterGpuDrain")
    assert access in shape.graph.waits_for(gate)


def test_a_role_of_the_stack_itself_may_be_the_nodes_too():
    stack = stack_in()
    mine = iam.Role(stack, "Mine", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    karpenter = Karpenter(stack, "Karpenter", cluster=made_v2(stack), cluster_name="training", node_role=mine)
    karpenter.add_gpu_pool(POOL)
    template = Template.from_stack(stack).to_json()
    assert karpenter.node_role is mine
    assert the(template, NODE_ACCESS)["RoleArn"] == {
        "Fn::GetAtt": [stack.get_logical_id(mine.node.default_child), "Arn"]
    }


@pytest.mark.parametrize("make", [made_v1, imported_v1])
def test_aws_auth_names_it_without_its_path(make):
    stack = stack_in()
    role = iam.Role.from_role_arn(stack, "Theirs", THEIRS)
    if make is made_v1:
        Karpenter(
            stack, "K", cluster=made_v1(stack), cluster_name="training", kubernetes_version="1.36", node_role=role
        )
        (auth,) = (
            one
            for name, one in Template.from_stack(stack).to_json()["Resources"].items()
            if "AwsAuth" in name and one["Type"].startswith("Custom::")
        )
        assert ":role/their-nodes" in json.dumps(auth)
        assert "team" not in json.dumps(auth)
    else:
        template = on(imported_v1(stack), stack, authentication_mode="CONFIG_MAP", node_role=role)
        assert ":role/their-nodes" in json.dumps(the(template, "Custom::KarpenterGpuAwsAuth")["RoleArn"])


def test_two_node_roles_are_one_too_many():
    stack = stack_in()
    role = iam.Role.from_role_arn(stack, "Theirs", THEIRS)
    cluster = made_v2(stack)
    more = {"cluster": cluster, "cluster_name": "training", "node_role": role}
    (named,) = faults(lambda: Karpenter(stack, "K", **more, settings=KarpenterSettings(node_role_name="nodes")))
    assert named == "karpenter.node_role_name: 'nodes' says a node role, and node_role is one too; give one of the two"
    (said,) = faults(lambda: Karpenter(stack, "K", **more, settings=KarpenterSettings(node_role_arn=THEIRS)))
    assert said.startswith("karpenter.node_role_arn: ")


def test_what_is_no_role_is_refused():
    stack = stack_in()
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=made_v2(stack), cluster_name="training", node_role=THEIRS))
    assert (
        fault
        == f"node_role: {THEIRS!r} is not what goes here; give a role, as iam.Role.from_role_arn makes one of an ARN"
    )


def test_aws_auth_of_a_stack_that_goes_first_cannot_name_what_comes_later():
    app = cdk.App(context=PLAIN)
    below, above = stack_in(app, "Below"), stack_in(app, "Above")
    more = {"cluster": made_v1(below), "cluster_name": "training", "kubernetes_version": "1.36"}
    mine = iam.Role(above, "Mine", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    (role,) = faults(lambda: Karpenter(above, "K", **more, node_role=mine))
    assert role == (
        "node_role: is made in stack Above, and aws-auth, which names it, in Below, which goes first; make it there, or import "
        "it by its name"
    )
    (adopt,) = faults(lambda: Karpenter(above, "K", **more, settings=ADOPTING))
    assert adopt.startswith(
        "karpenter.adopt: needs a way into a cluster that Below makes and that lets in by aws-auth alone"
    )
    by_name = iam.Role.from_role_name(above, "Named", "their-nodes")
    Karpenter(above, "K", **more, node_role=by_name)
    app.synth()


def test_a_v1_cluster_in_another_stack_that_takes_entries_can_be_taken_over():
    app = cdk.App(context=PLAIN)
    below, above = stack_in(app, "Below"), stack_in(app, "Above")
    cluster = made_v1(below, authentication_mode=v1.AuthenticationMode.API_AND_CONFIG_MAP)
    more = {"cluster": cluster, "cluster_name": "training", "kubernetes_version": "1.36"}
    Karpenter(above, "K", **more, settings=ADOPTING)
    app.synth()
    Template.from_stack(above).resource_count_is(TAKEOVER, 1)
