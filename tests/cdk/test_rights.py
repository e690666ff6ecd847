"""What the functions may do while CloudFormation updates or rolls back: the policy is then that of where it goes to."""

import json
from dataclasses import replace
from functools import cache

import pytest

from eks_rehearsal.iam.evaluator import Caller, Policies, Policy, Request, decide
from karpenter_gpu import POD_IDENTITY, EksGpuStack, KarpenterSettings, NewCluster

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk.assertions import Template

from tests.cdk.test_forms import faults, imported_v2, on, stack_in
from tests.graph import Graph
from tests.shapes import ACCOUNT, CONTEXT, EXISTING_CLUSTER, PLAIN_POOL, synthesized, text_of

REGION = "eu-west-1"
MARK, DISCOVERY = "karpenter-gpu/made-by", "karpenter.sh/discovery"
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/FEDCBA9876543210FEDCBA9876543210"
AUTH = {"authentication_mode": "CONFIG_MAP", "kubectl_role_arn": f"arn:aws:iam::{ACCOUNT}:role/ops"}
ENTRIES = f"arn:aws:eks:{REGION}:{ACCOUNT}:access-entry"

CHANGES = {
    "fewer subnets": {"subnet_ids": EXISTING_CLUSTER.subnet_ids[:1]},
    "other groups": {"security_group_ids": ("sg-0123456789abcdef9",)},
    "no tags": {"discovery": "ids"},
    "another provider": {"oidc_issuer": ISSUER},
    "another identity": {"identity": POD_IDENTITY},
}


@cache
def template(change=None, **more):
    changed = dict(CHANGES.get(change, {})) | more
    settings = {key: changed.pop(key) for key in ("identity", "node_role_arn") if key in changed}
    app = cdk.App(context=CONTEXT | {"aws:cdk:disable-asset-staging": True})
    stack = EksGpuStack(
        app,
        "Platform",
        cluster=replace(EXISTING_CLUSTER, **changed),
        pools=[PLAIN_POOL],
        karpenter=KarpenterSettings(**settings),
        env=cdk.Environment(account=ACCOUNT, region=REGION),
    )
    return Template.from_stack(stack).to_json()


def policies_of(synthesized, function):
    found = [
        one["Properties"]["PolicyDocument"]
        for name, one in synthesized["Resources"].items()
        if one["Type"] == "AWS::IAM::Policy" and name.startswith(function)
    ]
    return Policies(identity=[Policy(str(place), plain(one)) for place, one in enumerate(found)])


def plain(value):
    """A document with its references as text."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict) and not value.keys() & {"Ref", "Fn::GetAtt", "Fn::Join"}:
        return {key: plain(one) for key, one in value.items()}
    return text_of(value).replace("<AWS::Partition>", "aws").replace("<AWS::AccountId>", ACCOUNT)


def may(synthesized, function, action, resource, **context):
    keys = {key.replace("__", ":").lower(): value for key, value in context.items()}
    caller = Caller({"AWS": frozenset({"function"})}, account=ACCOUNT)
    request = Request(
        action, resource, caller, {key: (value if isinstance(value, list) else [value]) for key, value in keys.items()}
    )
    return decide(policies_of(synthesized, function), request).allowed


def tags(resource, *, mark="Platform", keys=(DISCOVERY, MARK)):
    return {f"aws:ResourceTag/{MARK}": mark, "aws:TagKeys": list(keys)} | resource


def may_untag(synthesized, id, **more):
    kind = "subnet" if id.startswith("subnet") else "security-group"
    return may(
        synthesized,
        "KarpenterAttachment",
        "ec2:DeleteTags",
        f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/{id}",
        **tags({}, **more),
    )


def provider(issuer):
    return f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer.removeprefix('https://')}"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("rolls_back", [False, True])
def test_what_is_undone_may_be_undone_with_the_policy_of_then(change, rolls_back):
    before, after = template(), template(change)
    release, policy = (after, before) if rolls_back else (before, after)
    (asked,) = (
        one["Properties"] for one in release["Resources"].values() if one["Type"] == "Custom::KarpenterGpuAttachment"
    )
    if asked["Discovery"] == "tags":
        assert all(may_untag(policy, id) for id in (*asked["SubnetIds"], *asked["SecurityGroupIds"]))
    if "OidcProviderArn" in asked:
        arn = plain(asked["OidcProviderArn"])
        assert may(policy, "KarpenterAttachment", "iam:GetOpenIDConnectProvider", arn)
        marked = {f"aws:ResourceTag/{MARK}": "Platform"}
        assert may(policy, "KarpenterAttachment", "iam:DeleteOpenIDConnectProvider", arn, **marked)


@pytest.mark.parametrize("change", [None, *CHANGES])
def test_nothing_of_others_may_be_taken_away(change):
    there, id = template(change), EXISTING_CLUSTER.subnet_ids[0]
    assert may_untag(there, id)
    assert not may_untag(there, id, mark="Another")
    assert not may_untag(there, id, keys=(DISCOVERY, "Name"))
    assert not may_untag(there, id, keys=())
    arn = provider(ISSUER)
    other = {f"aws:ResourceTag/{MARK}": "Another"}
    assert not may(there, "KarpenterAttachment", "iam:DeleteOpenIDConnectProvider", arn, **other)
    assert not may(there, "KarpenterAttachment", "iam:DeleteOpenIDConnectProvider", arn)


def may_tag(id, given):
    context = {f"aws:RequestTag/{key}": value for key, value in given.items()} | {"aws:TagKeys": list(given)}
    arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/{id}"
    return may(template(), "KarpenterAttachment", "ec2:CreateTags", arn, **context)


def test_the_two_tags_may_be_put_on_what_was_named_and_nothing_else():
    id, both = EXISTING_CLUSTER.subnet_ids[0], {DISCOVERY: "there", MARK: "Platform"}
    assert may_tag(id, both)
    assert not may_tag("subnet-0123456789abcdef9", both)
    assert not may_tag(id, both | {"Name": "mine"})
    assert not may_tag(id, both | {MARK: "Another"})
    assert not may_tag(id, both | {DISCOVERY: "other"})
    assert not may_tag(id, {DISCOVERY: "there"})
    assert not may_tag(id, {})


def test_an_access_entry_of_another_role_or_cluster_goes_by_its_mark():
    there = template(node_role_arn=f"arn:aws:iam::{ACCOUNT}:role/nodes")
    of_before = f"{ENTRIES}/before/role/{ACCOUNT}/others/0a1b"
    delete = (there, "KarpenterNodeRoleAccess", "eks:DeleteAccessEntry", of_before)
    assert may(*delete, **{f"aws:ResourceTag/{MARK}": "Platform"})
    assert not may(*delete, **{f"aws:ResourceTag/{MARK}": "Another"})
    assert not may(*delete)
    assert may(there, "KarpenterNodeRoleAccess", "eks:DescribeAccessEntry", of_before)


def test_an_entry_in_aws_auth_goes_as_the_role_of_now():
    there = template(**AUTH)
    (function,) = (
        one["Properties"]
        for name, one in there["Resources"].items()
        if one["Type"] == "AWS::Lambda::Function" and name.startswith("KarpenterNodeRoleAwsAuth")
    )
    role = function["Environment"]["Variables"]["KUBECTL_ROLE_ARN"]
    assert role == AUTH["kubectl_role_arn"]
    assert may(there, "KarpenterNodeRoleAwsAuth", "sts:AssumeRole", role)
    assert not may(there, "KarpenterNodeRoleAwsAuth", "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/other")
    before = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/before"
    assert may(there, "KarpenterNodeRoleAwsAuth", "eks:DescribeCluster", before)


def test_cluster_admin_can_be_given_back_and_never_taken_again():
    there = synthesized("taken-over").template
    (role,) = (name for name in there["Resources"] if name.startswith("KarpenterTakeoverRole"))
    own = f"{ENTRIES}/there/role/{ACCOUNT}/<{role}>/0a1b"
    assert may(there, "KarpenterTakeover", "eks:DisassociateAccessPolicy", own)
    assert not may(
        there, "KarpenterTakeover", "eks:DisassociateAccessPolicy", f"{ENTRIES}/there/role/{ACCOUNT}/ops/0a1b"
    )
    assert not may(there, "KarpenterTakeover", "eks:AssociateAccessPolicy", own)
    assert not may(template(), "KarpenterTakeover", "eks:DisassociateAccessPolicy", own)


def functions(synthesized):
    return {name: one for name, one in synthesized["Resources"].items() if one["Type"] == "AWS::Lambda::Function"}


@pytest.mark.parametrize("shape", ["default", "existing-cluster", "existing-cluster-of-aws-auth", "taken-over"])
def test_logs_outlast_the_functions_that_write_them_and_go_with_the_stack(shape):
    for one in synthesized(shape).with_nested():
        graph = Graph(one)
        for name, function in functions(one).items():
            if "RestrictDefault" in name:
                continue
            log = function["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
            assert log in graph.waits_for(name)
            made = one["Resources"][log]
            assert "LogGroupName" not in made["Properties"]
            assert (made["DeletionPolicy"], made["Properties"]["RetentionInDays"]) == ("Delete", 30)


def test_every_function_runs_where_it_was_asked_to():
    stack = stack_in()
    inside = ec2.Subnet.from_subnet_attributes(stack, "Inside", subnet_id="subnet-inside", route_table_id="rtb-1")
    made = on(imported_v2(stack), stack, function_subnets=[inside])
    ours = {name: one for name, one in functions(made).items() if name.startswith("Karpenter")}
    assert len(ours) >= 4
    networks = {name: one["Properties"].get("VpcConfig") for name, one in ours.items()}
    assert all(one and one["SubnetIds"] for one in networks.values()), networks
    outside = [name for name, one in networks.items() if one["SubnetIds"] == ["subnet-inside"]]
    assert any("Attachment" in name for name in outside)
    assert any("Drain" in name for name in outside)


def test_functions_are_kept_out_of_subnets_that_are_known_to_be_public():
    stack = stack_in()
    vpc = ec2.Vpc(stack, "Vpc")
    cluster = imported_v2(stack, private_subnets=vpc.private_subnets)
    found = faults(lambda: on(cluster, stack, function_subnets=[vpc.public_subnets[0], vpc.private_subnets[0]]))
    (fault,) = found
    assert fault.startswith("function_subnets: Own/Vpc/PublicSubnet1 is public: its way out is an internet gateway")


def test_every_function_of_a_new_cluster_is_in_its_private_subnets_where_that_is_said():
    cluster = NewCluster(name="inside", functions_in_vpc=True)
    app = cdk.App(context=CONTEXT | {"aws:cdk:disable-asset-staging": True})
    stack = EksGpuStack(app, "Platform", cluster=cluster, pools=[PLAIN_POOL])
    graph = Graph(Template.from_stack(stack).to_json())
    made = graph.of_type("AWS::Lambda::Function")
    assert len(made) > 3
    private = {name for name in graph.of_type("AWS::EC2::Subnet") if "Private" in name}
    for name in made:
        network = graph.resources[name]["Properties"]["VpcConfig"]
        assert {one["Ref"] for one in network["SubnetIds"]} == private
        # Its way out is there before it, and after it.
        assert set(graph.of_type("AWS::EC2::Route")) <= graph.waits_for(name)


def pools(count):
    app = cdk.App(context=CONTEXT | {"aws:cdk:disable-asset-staging": True})
    named = [replace(PLAIN_POOL, name=f"pool-{place}") for place in range(count)]
    where = cdk.Environment(account=ACCOUNT, region=REGION)
    stack = EksGpuStack(app, "Platform", cluster=EXISTING_CLUSTER, pools=named, env=where)
    return Graph(Template.from_stack(stack).to_json())


# How many functions work while a resource is made or deleted: the provider's and its handler; a gate and what it asks.
BUSY = {"Custom::AWSCDK-EKS": 2, "Custom::KarpenterGpuDrain": 2, "Custom::KarpenterGpuPoolDrain": 2, "Custom::": 1}


def test_no_more_functions_work_at_once_than_a_new_account_may_run_however_many_pools_there_are():
    graph = pools(11)
    weights = {
        name: next((busy for kind, busy in BUSY.items() if one["Type"].startswith(kind)), 0)
        for name, one in graph.resources.items()
    }
    assert len(graph.of_type("Custom::KarpenterGpuPoolDrain")) == 11
    assert 6 <= graph.at_once({name: busy for name, busy in weights.items() if busy}) <= 10


def test_what_earlier_installs_left_is_overwritten_and_pools_are_looked_for_first():
    shape = synthesized("existing-cluster")
    manifests = {
        (document["kind"], document["metadata"]["name"]): (one, document)
        for one in shape.of_type("Custom::AWSCDK-EKS-KubernetesResource").values()
        for document in json.loads(text_of(one["Properties"]["Manifest"]))
    }
    for (kind, _), (resource, document) in manifests.items():
        assert resource["Properties"]["Overwrite"] is True, kind
        assert document["metadata"]["annotations"] == {MARK: "EksGpuStack"}
    assert shape.only("Custom::KarpenterGpuTakeover")["Objects"] == [
        "/apis/apps/v1/namespaces/kube-system/daemonsets/nvidia-device-plugin",
        "/apis/karpenter.k8s.aws/v1/ec2nodeclasses/inference",
        "/apis/karpenter.sh/v1/nodepools/inference",
    ]


def test_a_node_pool_on_a_cluster_of_the_app_that_is_there_fails_its_creation():
    for name, one in synthesized("default").of_type("Custom::AWSCDK-EKS-KubernetesResource").items():
        if "NodePool" in name:
            assert one["Properties"]["Overwrite"] is False


def test_an_association_of_pod_identity_waits_until_it_was_looked_for_another():
    stack = stack_in()
    graph = Graph(on(imported_v2(stack), stack, settings=KarpenterSettings(identity=POD_IDENTITY)))
    (look,) = graph.of_type("Custom::KarpenterGpuTakeover")
    (association,) = graph.of_type("AWS::EKS::PodIdentityAssociation")
    assert look in graph.waits_for(association)
