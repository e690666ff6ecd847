"""`Karpenter` and `add_gpu_pool` in a stack and on a cluster of one's own."""

import gc
import json
from dataclasses import replace

import pytest

from karpenter_gpu import FeatureGates, GpuPool, InvalidSettings, Karpenter, KarpenterSettings, Sharing

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_eks as v1
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct

from tests.forms import synthesized as synthesized_example
from tests.graph import Graph
from tests.shapes import ACCOUNT, CONTEXT, PLAIN

POOL = GpuPool(name="h100", gpu_names=("h100",), gpu_limit=16)


def own_stack(**env):
    app = cdk.App(context=PLAIN)
    return cdk.Stack(app, "Own", env=cdk.Environment(**env))


def own_cluster(stack, name="training", **more):
    return eks.Cluster(
        stack,
        "Cluster",
        cluster_name=name,
        kubectl_provider_options=eks.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(stack, "Layer")),
        default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
        **{"version": eks.KubernetesVersion.V1_36} | more,
    )


def imported_cluster(stack, **network):
    network = network or {
        "vpc": cdk.aws_ec2.Vpc(stack, "Vpc"),
        "cluster_security_group_id": "sg-0123456789abcdef0",
    }
    return eks.Cluster.from_cluster_attributes(
        stack,
        "Imported",
        cluster_name="there",
        kubectl_provider=eks.KubectlProvider.from_kubectl_provider_attributes(stack, "P", service_token="arn"),
        **network,
    )


# What every imported cluster must be said.
THERE = {"cluster_name": "there", "kubernetes_version": "1.36", "authentication_mode": "API"}


def faults(make):
    with pytest.raises(InvalidSettings) as caught:
        make()
    return [str(fault) for fault in caught.value.faults]


@pytest.fixture(scope="module")
def template():
    stack = own_stack()
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training")
    karpenter.add_gpu_pool(POOL)
    s3.Bucket(stack, "Models").grant_read(karpenter.node_role)
    return Template.from_stack(stack).to_json()


def test_three_lines_are_enough_on_a_cluster_of_ones_own(template):
    kinds = {resource["Type"] for resource in template["Resources"].values()}
    assert {"Custom::AWSCDK-EKS-HelmChart", "Custom::KarpenterGpuDrain", "AWS::SQS::Queue"} <= kinds


def test_the_node_role_can_be_granted_more(template):
    assert '"s3:GetObject*"' in json.dumps(template)


def test_the_clusters_own_nodes_outlast_the_gpu_nodes(template):
    graph = Graph(template)
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert set(graph.of_type("AWS::EKS::Nodegroup")) <= graph.waits_for(gate)
    assert graph.of_type("AWS::EKS::Nodegroup")


def test_nothing_of_the_pool_is_deleted_before_its_nodes_are_gone(template):
    graph = Graph(template)
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    ours = {name for name in graph.resources if name.startswith("Karpenter")}
    after = {name for name in ours if gate in graph.waits_for(name)}
    assert ours - after - {gate} - graph.waits_for(gate) == set()
    assert all("NodePool" in name or name in graph.of_type("Custom::KarpenterGpuPoolDrain") for name in after)


def test_the_controller_may_run_on_any_node_that_karpenter_did_not_make(template):
    assert '\\"key\\":\\"karpenter.sh/nodepool\\",\\"operator\\":\\"DoesNotExist\\"}]}]' in json.dumps(template)


def test_a_token_for_a_name_is_refused_with_the_reason():
    stack = own_stack()
    cluster = own_cluster(stack)
    (fault,) = faults(lambda: Karpenter(stack, "Karpenter", cluster=cluster, cluster_name=cluster.cluster_name))
    assert fault.startswith("cluster_name: the cluster name is a token, and it stands inside IAM condition keys")
    assert stack.node.try_find_child("Karpenter") is None


def test_a_cluster_without_kubectl_is_refused_with_the_way_out():
    stack = own_stack()
    cluster = eks.Cluster(
        stack,
        "Bare",
        cluster_name="bare",
        version=eks.KubernetesVersion.V1_36,
        default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
    )
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="bare"))
    assert fault.startswith("cluster: has no kubectl provider, so nothing could be installed on it; give it")


def test_a_name_that_is_not_the_clusters_is_refused():
    stack = own_stack()
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=own_cluster(stack), cluster_name="other"))
    assert fault == "cluster_name: 'other' is not the cluster's name, which is 'training'; give that one"


def test_a_cluster_that_cloudformation_would_name_is_refused():
    stack = own_stack()
    cluster = eks.Cluster(
        stack,
        "Nameless",
        version=eks.KubernetesVersion.V1_36,
        kubectl_provider_options=eks.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(stack, "Layer")),
        default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
    )
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="x"))
    assert fault == "cluster: has no name of its own, and 'x' could not be it; give the cluster its cluster_name"


def test_a_kubernetes_that_is_not_the_clusters_is_refused():
    stack = own_stack()
    cluster = own_cluster(stack)
    (fault,) = faults(
        lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="training", kubernetes_version="1.35")
    )
    assert fault == "kubernetes_version: '1.35' is not the cluster's Kubernetes, which is 1.36; leave it out"


def test_an_imported_cluster_must_bring_its_network():
    stack = own_stack()
    cluster = imported_cluster(stack, cluster_security_group_id="sg-0123456789abcdef0")
    fault, *_ = faults(lambda: Karpenter(stack, "K", cluster=cluster, **THERE))
    assert fault.startswith("cluster: is imported without its network; give vpc and cluster_security_group_id")
    assert stack.node.try_find_child("K") is None


def test_an_imported_cluster_with_all_that_is_asked_for_gets_its_karpenter():
    stack = own_stack()
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"
    karpenter = Karpenter(
        stack,
        "K",
        cluster=imported_cluster(stack),
        **THERE,
        oidc_provider=iam.OidcProviderNative.from_oidc_provider_arn(stack, "Provider", arn),
    )
    karpenter.add_gpu_pool(POOL)
    Template.from_stack(stack).resource_count_is("Custom::AWSCDK-EKS-HelmChart", 2)


def test_a_version_that_only_deployment_knows_must_be_said():
    stack = own_stack()
    parameter = cdk.CfnParameter(stack, "Version", default="1.36")
    cluster = own_cluster(stack, version=eks.KubernetesVersion.of(parameter.value_as_string))
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="training"))
    assert fault.startswith("kubernetes_version: None does not say the cluster's Kubernetes")
    assert Karpenter(stack, "K", cluster=cluster, cluster_name="training", kubernetes_version="1.36")


def test_an_imported_cluster_must_bring_its_oidc_provider():
    stack = own_stack()
    cluster = imported_cluster(stack)
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, **THERE))
    assert fault.startswith(
        "oidc_provider: an imported cluster does not show its issuer; give its OIDC provider, or use"
    )


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"cluster": "training"},
            "cluster: 'training' is not a cluster; give one of aws_eks or aws_eks_v2, made or imported",
        ),
        (
            {"cluster": cdk.aws_ec2.Vpc},
            f"cluster: {cdk.aws_ec2.Vpc!r} is not a cluster; give one of aws_eks or aws_eks_v2, made or imported",
        ),
        (
            {"subnets": []},
            "subnets: [] is not a list of subnets with a member; give private ones with a way out",
        ),
        (
            {"subnets": "subnet-1"},
            "subnets: 'subnet-1' is not a list of subnets with a member; give private ones with a way out",
        ),
        ({"settings": {}}, "settings: {} is not what goes here; give a KarpenterSettings"),
        ({"device_plugin": "0.19.3"}, "device_plugin: '0.19.3' is not what goes here; give a DevicePlugin"),
    ],
)
def test_arguments_of_the_wrong_kind_get_a_sentence(given, fault):
    stack = own_stack()
    arguments = {"cluster": own_cluster(stack), "cluster_name": "training"} | given
    assert faults(lambda: Karpenter(stack, "K", **arguments)) == [fault]


def test_a_pool_of_the_wrong_kind_gets_a_sentence():
    stack = own_stack()
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training")
    assert faults(lambda: karpenter.add_gpu_pool("h100")) == ["pool: 'h100' is not what goes here; give a GpuPool"]


def test_an_imported_cluster_must_say_its_kubernetes():
    stack = own_stack()
    cluster = imported_cluster(stack)
    settings = KarpenterSettings(identity="pod-identity")
    (fault,) = faults(
        lambda: Karpenter(stack, "K", cluster=cluster, **THERE | {"kubernetes_version": None}, settings=settings)
    )
    assert fault == "kubernetes_version: None does not say the cluster's Kubernetes; give its minor, as in 1.36"


def test_faults_of_version_gate_and_name_come_together_before_any_construct():
    stack = own_stack()
    settings = KarpenterSettings(version="1.12.2", feature_gates=FeatureGates(capacity_buffer=True))
    found = faults(
        lambda: Karpenter(stack, "K", cluster=own_cluster(stack, "c" * 50), cluster_name="c" * 50, settings=settings)
    )
    assert {fault.partition(":")[0] for fault in found} == {
        "karpenter.feature_gates.capacity_buffer",
        "karpenter.version",
        "karpenter.node_role_name",
        "karpenter.controller_role_name",
    }
    assert stack.node.try_find_child("K") is None


def test_a_pool_that_does_not_fit_is_refused_and_leaves_nothing_behind():
    stack = own_stack()
    settings = KarpenterSettings(feature_gates=FeatureGates(node_overlay=False))
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training", settings=settings)
    before = len(karpenter.node.find_all())
    fractional = GpuPool(name="small", instance_families=("g6f",), gpu_limit=2)
    (fault,) = faults(lambda: karpenter.add_gpu_pool(fractional))
    assert fault.startswith("pools.small: EC2 counts no GPU on g6f")
    assert len(karpenter.node.find_all()) == before


def test_a_pool_that_shares_gpus_brings_its_plugin_once_and_opens_the_gate_for_it():
    stack = own_stack()
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training")
    sharing = Sharing(strategy="time-slicing", replicas=4)
    for name in ("a", "b"):
        karpenter.add_gpu_pool(GpuPool(name=name, gpu_names=("l4",), gpu_limit=2, sharing=sharing))
    template = Template.from_stack(stack).to_json()
    texts = [json.dumps(one["Properties"]) for one in template["Resources"].values()]
    assert sum('\\"kind\\":\\"DaemonSet\\"' in text and "time-slicing-4" in text for text in texts) == 1
    assert sum('\\"nodeOverlay\\":true' in text for text in texts) == 1
    graph = Graph(template)
    (config,) = (name for name in graph.resources if "ConfigMap" in name)
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert config in graph.waits_for(gate)


def test_a_second_pool_of_one_name_is_refused():
    stack = own_stack()
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training")
    karpenter.add_gpu_pool(POOL)
    (fault,) = faults(lambda: karpenter.add_gpu_pool(POOL))
    assert fault.startswith("pools.h100: 2 pools are named 'h100'")


def test_zones_are_checked_against_the_stacks_region():
    stack = own_stack(account=ACCOUNT, region="eu-west-1")
    vpc = cdk.aws_ec2.Vpc(stack, "Vpc", availability_zones=["eu-west-1a", "eu-west-1b"])
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack, vpc=vpc), cluster_name="training")
    pool = GpuPool(name="far", gpu_names=("l4",), gpu_limit=1, zones=("us-east-1a",))
    (fault,) = faults(lambda: karpenter.add_gpu_pool(pool))
    assert "'us-east-1a' is not a zone of eu-west-1" in fault


def test_a_zone_in_which_the_nodes_have_no_subnet_is_refused():
    stack = own_stack(account=ACCOUNT, region="eu-west-1")
    vpc = cdk.aws_ec2.Vpc(stack, "Vpc", availability_zones=["eu-west-1a", "eu-west-1b"])
    karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack, vpc=vpc), cluster_name="training")
    pool = GpuPool(name="far", gpu_names=("l4",), gpu_limit=1, zones=("eu-west-1c",))
    (fault,) = faults(lambda: karpenter.add_gpu_pool(pool))
    assert fault == (
        "pools.far.zones: 'eu-west-1c' has no subnet of the nodes, whose zones are eu-west-1a, eu-west-1b; use one of these"
    )
    karpenter.add_gpu_pool(replace(pool, zones=("eu-west-1b",)))


def test_a_given_oidc_provider_is_used_and_no_second_is_made():
    stack = own_stack()
    arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"
    provider = iam.OidcProviderNative.from_oidc_provider_arn(stack, "Provider", arn)
    Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training", oidc_provider=provider)
    template = Template.from_stack(stack).to_json()
    assert not [r for r in template["Resources"].values() if r["Type"] == "AWS::IAM::OIDCProvider"]
    assert arn in json.dumps(template)


def test_flags_of_the_users_app_change_nothing_of_ours():
    flags = {key: value for key, value in CONTEXT.items() if key.startswith("@")}

    def ours(context):
        stack = cdk.Stack(cdk.App(context=context | PLAIN), "Own")
        karpenter = Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training")
        karpenter.add_gpu_pool(POOL)
        resources = Template.from_stack(stack).to_json()["Resources"]
        return {name: body for name, body in resources.items() if name.startswith("Karpenter")}

    assert len(flags) > 50
    plain, flagged = ours({}), ours(flags)
    assert set(plain) == set(flagged)
    different = {name for name in plain if plain[name] != flagged[name]}
    # The CDK's own event target writes the queue's policy, and a flag joins its statements; they allow the same.
    assert {name for name in different if "QueuePolicy" not in name} == set()


def test_the_stack_that_makes_the_cluster_cannot_be_deleted_before_the_one_with_karpenter():
    below, above = synthesized_example("two_stacks")
    exports = [one["Export"]["Name"] for one in below["Outputs"].values() if "Export" in one]
    assert "Below-karpenter-shared" in exports
    assert {"Fn::ImportValue": "Below-karpenter-shared"} in [one["Value"] for one in above["Outputs"].values()]


def test_a_stack_of_its_own_exports_nothing(default):
    assert "Fn::ImportValue" not in str(default.template)
    assert not any("Export" in output for output in default.template["Outputs"].values())


def test_instances_may_be_terminated_only_where_that_was_chosen_and_only_the_clusters_pools():
    def rights(action):
        stack = own_stack()
        settings = KarpenterSettings(on_drain_timeout=action)
        Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training", settings=settings)
        policies = Template.from_stack(stack).find_resources("AWS::IAM::Policy")
        drains = [policy["Properties"] for name, policy in policies.items() if name.startswith("KarpenterDrain")]
        statements = [one for policy in drains for one in policy["PolicyDocument"]["Statement"]]
        return [one["Condition"] for one in statements if one["Action"] == "ec2:TerminateInstances"]

    assert rights("fail") == []
    (condition,) = rights("terminate")
    assert condition == {
        "StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/training": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }


def nodes_of(scope, cluster_name):
    return eks.CfnNodegroup(
        scope,
        "Nodes",
        cluster_name=cluster_name,
        node_role="arn:aws:iam::111122223333:role/nodes",
        subnets=["subnet-0123456789abcdef0"],
    )


def warnings_of(scope):
    return [str(entry.data) for entry in scope.node.metadata if entry.type == "aws:cdk:warning"]


@pytest.mark.parametrize("name", ["training", None], ids=["its name", "a reference"])
def test_nodes_that_are_added_after_karpenter_and_elsewhere_outlast_the_gpu_nodes(name):
    stack = own_stack()
    cluster = own_cluster(stack)
    Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training")
    late = nodes_of(stack, name or cluster.cluster_name)
    graph = Graph(Template.from_stack(stack).to_json())
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert stack.get_logical_id(late) in graph.waits_for(gate)


def test_nodes_of_another_cluster_are_not_waited_for():
    stack = own_stack()
    Karpenter(stack, "Karpenter", cluster=own_cluster(stack), cluster_name="training")
    late = nodes_of(stack, "other")
    graph = Graph(Template.from_stack(stack).to_json())
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert stack.get_logical_id(late) not in graph.waits_for(gate)


def test_nodes_that_a_destroy_must_delete_first_are_warned_of_and_the_way_out_is_said():
    stack = own_stack()
    cluster = own_cluster(stack)
    karpenter = Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training")
    nodes_of(cdk.Stack(stack.node.root, "Above"), cluster.cluster_name)
    after = nodes_of(Construct(stack, "Later"), cluster.cluster_name)
    after.node.add_dependency(karpenter)
    stack.node.root.synth()
    first, second = sorted(warnings_of(karpenter))
    assert "Above/Nodes is in stack Above, which depends on this one" in first
    assert "Own/Later/Nodes depends on Karpenter, so a destroy deletes it before the GPU nodes are gone" in second


def test_nodes_of_a_stack_that_goes_first_anyway_are_waited_for():
    below = own_stack()
    cluster = own_cluster(below)
    nodes, above = cdk.Stack(below.node.root, "Middle"), cdk.Stack(below.node.root, "Above")
    karpenter = Karpenter(above, "Karpenter", cluster=cluster, cluster_name="training")
    nodes_of(nodes, cluster.cluster_name)
    below.node.root.synth()
    assert nodes in above.dependencies
    assert warnings_of(karpenter) == []


@pytest.mark.parametrize("said", [False, True])
def test_a_cluster_without_nodes_is_warned_of_unless_what_makes_them_is_said(said):
    stack = own_stack()
    cluster = own_cluster(stack, default_capacity=0)
    karpenter = Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training")
    if said:
        karpenter.start_after(Construct(stack, "Makes"))
    stack.node.root.synth()
    assert ["no node group or Fargate profile" in one for one in warnings_of(karpenter)] == ([] if said else [True])


def test_a_second_karpenter_on_one_cluster_is_refused_whoever_holds_the_first():
    stack = own_stack()
    cluster = own_cluster(stack)
    Karpenter(stack, "First", cluster=cluster, cluster_name="training")
    gc.collect()
    (fault,) = faults(lambda: Karpenter(stack, "Second", cluster=cluster, cluster_name="training"))
    assert fault.startswith(
        "cluster_name: 'training' has a Karpenter already, at Own/First, and a cluster works with one;"
    )
    assert stack.node.try_find_child("Second") is None


def in_regions(accounts, **settings):
    """A cluster of one name in each of two regions."""
    app = cdk.App(context=PLAIN)
    for region, account in zip(("eu-west-1", "us-east-1"), accounts, strict=True):
        stack = cdk.Stack(app, region, env=cdk.Environment(account=account, region=region))
        vpc = cdk.aws_ec2.Vpc(stack, "Vpc", availability_zones=[f"{region}a", f"{region}b"])
        cluster = own_cluster(stack, vpc=vpc)
        given = KarpenterSettings(**{key: f"{value}-{region}" for key, value in settings.items()})
        Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training", settings=given)


def test_clusters_of_one_name_in_two_regions_of_an_account_need_roles_of_other_names():
    controller, nodes = faults(lambda: in_regions([ACCOUNT, ACCOUNT]))
    assert controller.startswith(
        "karpenter.controller_role_name: 'KarpenterControllerRole-training' is a role of eu-west-1/Karpenter already, and IAM "
        "is the same in all regions of an account; say another controller_role_name"
    )
    assert nodes.startswith("karpenter.node_role_name: 'KarpenterNodeRole-training' is a role of eu-west-1/Karpenter")
    in_regions([ACCOUNT, ACCOUNT], controller_role_name="controller", node_role_name="nodes")
    in_regions([ACCOUNT, "444455556666"])


DNS = {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}


@pytest.mark.parametrize("library", [v1, eks], ids=["aws_eks", "aws_eks_v2"])
@pytest.mark.parametrize(
    ("selectors", "missing"),
    [
        ([{"namespace": "kube-system"}], []),
        ([{"namespace": "kube-*"}], []),
        ([DNS], ["Karpenter's controller"]),
        ([{"namespace": "jobs"}], ["CoreDNS", "Karpenter's controller"]),
        ([{"namespace": "kube-system", "labels": {"app.kubernetes.io/name": "karpenter"}}], ["CoreDNS"]),
    ],
)
def test_fargate_profiles_that_leave_coredns_or_the_controller_nowhere_to_run_are_warned_of(
    library, selectors, missing
):
    stack = own_stack()
    if library is v1:
        cluster = v1.Cluster(
            stack,
            "Cluster",
            cluster_name="training",
            version=v1.KubernetesVersion.V1_36,
            kubectl_layer=KubectlV36Layer(stack, "Layer"),
            default_capacity=0,
        )
    else:
        cluster = own_cluster(stack, default_capacity=0)
    given = [library.Selector(**one) for one in selectors]
    library.FargateProfile(stack, "Profile", cluster=cluster, selectors=given)
    version = "1.36" if library is v1 else None
    made = Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training", kubernetes_version=version)
    stack.node.root.synth()
    said = [one for one in warnings_of(made) if "none selects" in one]
    assert len(said) == len(missing)
    for what in missing:
        assert any(f"none selects {what} (namespace kube-system" in one for one in said)


def test_an_arn_of_another_account_is_refused_by_the_construct_too():
    stack = own_stack(account=ACCOUNT, region="eu-west-1")
    vpc = cdk.aws_ec2.Vpc(stack, "Vpc", availability_zones=["eu-west-1a", "eu-west-1b"])
    cluster = own_cluster(stack, vpc=vpc)
    settings = KarpenterSettings(node_role_arn="arn:aws:iam::444455556666:role/nodes")
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="training", settings=settings))
    assert fault.startswith(
        "karpenter.node_role_arn: 'arn:aws:iam::444455556666:role/nodes' is of account 444455556666"
    )


def test_subnets_that_another_cluster_has_marked_keep_its_mark_and_are_selected_by_id():
    stack = own_stack()
    vpc = cdk.aws_ec2.Vpc(stack, "Vpc")
    for name in ("one", "two"):
        scope = Construct(stack, name)
        layer = KubectlV36Layer(scope, "Layer")
        cluster = eks.Cluster(
            scope,
            "Cluster",
            cluster_name=name,
            vpc=vpc,
            version=eks.KubernetesVersion.V1_36,
            kubectl_provider_options=eks.KubectlProviderOptions(kubectl_layer=layer),
            default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
        )
        Karpenter(scope, "Karpenter", cluster=cluster, cluster_name=name).add_gpu_pool(POOL)
    resources = Template.from_stack(stack).to_json()["Resources"]
    subnets = [one["Properties"]["Tags"] for one in resources.values() if one["Type"] == "AWS::EC2::Subnet"]
    marks = [tag["Value"] for tags in subnets for tag in tags if tag["Key"] == "karpenter.sh/discovery"]
    assert set(marks) == {"one"}
    classes = {name[:3]: json.dumps(one) for name, one in resources.items() if "NodeClass" in name}
    assert '\\"subnetSelectorTerms\\":[{\\"tags\\"' in classes["one"]
    assert '\\"subnetSelectorTerms\\":[{\\"id\\"' in classes["two"]
