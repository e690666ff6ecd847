"""Every form of cluster that Karpenter can be put on, and what each must be asked for."""

import json

import pytest

from karpenter_gpu import GpuPool, InvalidSettings, Karpenter, KarpenterSettings
from karpenter_gpu.cdk.existing_facts import EXISTING_CLUSTER

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as v1
from aws_cdk import aws_eks_v2 as v2
from aws_cdk.assertions import Match, Template
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer

from tests.graph import Graph
from tests.shapes import ACCOUNT, PLAIN

ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF"
SUBNETS = ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1")
GROUP = "sg-0123456789abcdef0"
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/ops"
POOL = GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)


def stack_in(app=None, id="Own"):
    app = app or cdk.App(context=PLAIN)
    return cdk.Stack(app, id, env=cdk.Environment(account=ACCOUNT, region="eu-west-1"))


def made_v1(stack, **more):
    return v1.Cluster(
        stack,
        "Cluster",
        cluster_name="training",
        version=v1.KubernetesVersion.V1_36,
        kubectl_layer=KubectlV36Layer(stack, "Layer"),
        **more,
    )


def imported_v1(stack, id="Cluster", **more):
    given = {
        "cluster_name": "training",
        "kubectl_role_arn": ADMIN,
        "kubectl_layer": KubectlV36Layer(stack, f"{id}Layer"),
        "cluster_security_group_id": GROUP,
    } | more
    return v1.Cluster.from_cluster_attributes(stack, id, **given)


def imported_v1_in_vpc(stack):
    inside = {"kubectl_private_subnet_ids": list(SUBNETS), "kubectl_security_group_id": GROUP}
    return imported_v1(stack, vpc=in_vpc(stack), **inside)


def in_vpc(stack):
    zones = ["eu-west-1a", "eu-west-1b"]
    given = {"availability_zones": zones, "private_subnet_ids": list(SUBNETS)}
    return ec2.Vpc.from_vpc_attributes(stack, "Vpc", vpc_id="vpc-0123456789abcdef0", **given)


def imported_v2(stack, **more):
    vpc = {"vpc": stack.node.find_child("Vpc")} if more else {}
    attributes = {"cluster_name": "training", "cluster_security_group_id": GROUP, **vpc}
    plain = v2.Cluster.from_cluster_attributes(stack, "Plain", **attributes)
    layer = KubectlV36Layer(stack, "Layer")
    provider = v2.KubectlProvider(stack, "Kubectl", cluster=plain, kubectl_layer=layer, **more)
    return v2.Cluster.from_cluster_attributes(stack, "Cluster", kubectl_provider=provider, **attributes)


def on(cluster, stack, **more):
    """Karpenter on an imported cluster, with all that must be said of one."""
    given = {
        "cluster_name": "training",
        "kubernetes_version": "1.36",
        "authentication_mode": "API_AND_CONFIG_MAP",
        "subnets": [ec2.Subnet.from_subnet_id(stack, id, id) for id in SUBNETS],
        "security_groups": [ec2.SecurityGroup.from_security_group_id(stack, "Nodes", GROUP)],
        "oidc_issuer": ISSUER,
    } | more
    karpenter = Karpenter(stack, "Karpenter", cluster=cluster, **given)
    karpenter.add_gpu_pool(POOL)
    return Template.from_stack(stack).to_json()


def faults(make):
    with pytest.raises(InvalidSettings) as caught:
        make()
    return [str(fault) for fault in caught.value.faults]


def of_type(template, kind):
    return [resource["Properties"] for resource in template["Resources"].values() if resource["Type"] == kind]


def node_class(template):
    for properties in of_type(template, "Custom::AWSCDK-EKS-KubernetesResource"):
        if "EC2NodeClass" in json.dumps(properties["Manifest"]):
            return json.dumps(properties["Manifest"])
    raise AssertionError("no EC2NodeClass")


def test_a_v1_cluster_of_this_app_lets_nodes_in_by_its_own_aws_auth():
    stack = stack_in()
    cluster = made_v1(stack)
    Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training", kubernetes_version="1.36")
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::EKS::AccessEntry", 0)
    template.resource_count_is("Custom::KarpenterGpuAttachment", 0)
    assert "role/KarpenterNodeRole-training" in json.dumps(template.to_json()["Resources"])
    graph = Graph(template.to_json())
    (auth,) = (name for name in graph.of_type("Custom::AWSCDK-EKS-KubernetesResource") if "AwsAuth" in name)
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert auth in graph.waits_for(gate)


def test_a_v1_cluster_that_takes_access_entries_gets_one():
    stack = stack_in()
    cluster = made_v1(stack, authentication_mode=v1.AuthenticationMode.API_AND_CONFIG_MAP)
    Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training", kubernetes_version="1.36")
    Template.from_stack(stack).has_resource_properties("AWS::EKS::AccessEntry", {"Type": "EC2_LINUX"})


def test_a_v1_cluster_must_have_its_name_and_say_its_kubernetes():
    stack = stack_in()
    cluster = made_v1(stack)
    (name,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="other", kubernetes_version="1.36"))
    assert name == "cluster_name: 'other' is not the cluster's name, which is 'training'; give that one"
    (version,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="training"))
    assert version == "kubernetes_version: None does not say the cluster's Kubernetes; give its minor, as in 1.36"


def test_the_nodes_of_a_v1_cluster_outlast_the_gpu_nodes():
    stack = stack_in()
    cluster = made_v1(stack, default_capacity=0)
    cluster.add_auto_scaling_group_capacity("System", instance_type=ec2.InstanceType("m6i.large"))
    Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="training", kubernetes_version="1.36")
    graph = Graph(Template.from_stack(stack).to_json())
    (group,) = graph.of_type("AWS::AutoScaling::AutoScalingGroup")
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert group in graph.waits_for(gate)


@pytest.mark.parametrize("imported", [imported_v1, imported_v2])
def test_an_imported_cluster_of_either_library_gets_its_karpenter(imported):
    stack = stack_in()
    template = on(imported(stack), stack)
    assert len(of_type(template, "Custom::AWSCDK-EKS-HelmChart")) == 2
    assert "EC2_LINUX" in {entry.get("Type") for entry in of_type(template, "AWS::EKS::AccessEntry")}
    (attachment,) = of_type(template, "Custom::KarpenterGpuAttachment")
    assert attachment["SubnetIds"] == list(SUBNETS)
    assert attachment["SecurityGroupIds"] == [GROUP]
    assert attachment["OidcProviderArn"]
    assert "karpenter.sh/discovery" in node_class(template)


def test_asked_for_ids_nothing_of_others_is_tagged():
    stack = stack_in()
    template = on(imported_v2(stack), stack, discovery="ids")
    assert all(id in node_class(template) for id in (*SUBNETS, GROUP))
    assert "karpenter.sh/discovery" not in node_class(template)
    assert "ec2:CreateTags" not in json.dumps(
        [one for one in of_type(template, "AWS::IAM::Policy") if "DescribeSubnets" in json.dumps(one)]
    )


def test_a_cluster_that_knows_aws_auth_alone_gets_one_entry_as_the_role_that_is_in_there():
    stack = stack_in()
    template = on(imported_v1(stack), stack, authentication_mode="CONFIG_MAP")
    assert of_type(template, "AWS::EKS::AccessEntry") == []
    roles = [one.get("Environment", {}).get("Variables", {}) for one in of_type(template, "AWS::Lambda::Function")]
    assert {"KUBECTL_ROLE_ARN": ADMIN} in roles
    graph = Graph(template)
    (name,) = graph.of_type("Custom::KarpenterGpuAwsAuth")
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert name in graph.waits_for(gate)


def test_what_was_put_on_others_outlasts_the_gpu_nodes():
    stack = stack_in()
    graph = Graph(on(imported_v2(stack), stack))
    (attachment,) = graph.of_type("Custom::KarpenterGpuAttachment")
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    assert attachment in graph.waits_for(gate)


# In the first mode what looks for a Karpenter has an access entry, and what asks for the drain has one and a role.
@pytest.mark.parametrize(("mode", "count"), [("API", 11), ("CONFIG_MAP", 7)])
def test_what_is_wrong_with_the_cluster_is_found_before_anything_could_fail_of_it(mode, count):
    stack = stack_in()
    graph = Graph(on(imported_v1(stack), stack, authentication_mode=mode))
    (attachment,) = graph.of_type("Custom::KarpenterGpuAttachment")
    kinds = ("AWS::EKS::AccessEntry", "Custom::KarpenterGpuAwsAuth", "Custom::AWSCDK-EKS-HelmChart")
    manifests = "Custom::AWSCDK-EKS-KubernetesResource"
    after = [name for kind in (*kinds, manifests) for name in graph.of_type(kind)]
    assert len(after) == count
    assert [name for name in after if attachment not in graph.waits_for(name)] == []


@pytest.mark.parametrize(("adopt", "leases"), [(False, 1), (True, 0)])
def test_the_lease_of_the_controllers_goes_after_them_where_the_cluster_stays(adopt, leases):
    stack = stack_in()
    settings = KarpenterSettings(adopt=adopt)
    graph = Graph(on(imported_v2(stack), stack, settings=settings))
    found = [name for name in graph.of_type("Custom::AWSCDK-EKS-KubernetesResource") if "LeaderLease" in name]
    assert len(found) == leases
    crds, controller = (
        next(name for name in graph.of_type("Custom::AWSCDK-EKS-HelmChart") if part in name)
        for part in ("Crds", "Controller")
    )
    assert all(name in graph.waits_for(controller) and crds in graph.waits_for(name) for name in found)


@pytest.mark.parametrize(
    ("imported", "inside"),
    [
        (imported_v1, "false"),
        (imported_v2, "false"),
        (imported_v1_in_vpc, "true"),
        (
            lambda stack: imported_v1(
                stack, "Again", kubectl_provider=v1.KubectlProvider(stack, "Kubectl", cluster=imported_v1_in_vpc(stack))
            ),
            "true",
        ),
        (lambda stack: imported_v2(stack, private_subnets=in_vpc(stack).private_subnets), "true"),
    ],
)
def test_what_asks_the_cluster_runs_where_kubectl_does_and_what_looks_at_the_endpoint_is_told(imported, inside):
    stack = stack_in()
    template = on(imported(stack), stack)
    (attachment,) = of_type(template, "Custom::KarpenterGpuAttachment")
    assert attachment["KubectlInVpc"] == inside
    (takeover,) = of_type(template, "Custom::KarpenterGpuTakeover")
    function = template["Resources"][takeover["ServiceToken"]["Fn::GetAtt"][0]]
    assert ("VpcConfig" in function["Properties"]) is (inside == "true")


def test_the_template_says_what_it_takes_for_granted_of_a_cluster_it_does_not_make():
    stack = stack_in()
    template = on(imported_v1(stack), stack)
    assert template["Metadata"][EXISTING_CLUSTER] == {
        "Version": 1,
        "Name": "training",
        "KubernetesVersion": "1.36",
        "AuthenticationMode": "API_AND_CONFIG_MAP",
        "IpFamily": "ipv4",
        "OidcIssuer": ISSUER,
        "OidcProvider": False,
        "SubnetIds": list(SUBNETS),
        "ClusterSecurityGroupId": GROUP,
        "SecurityGroupIds": [GROUP],
        "KubectlRoleArn": ADMIN,
        "PodIdentityAgent": False,
    }


@pytest.mark.parametrize(
    ("imported", "more", "fault"),
    [
        (
            imported_v2,
            {"authentication_mode": None},
            "authentication_mode: an imported cluster does not show how it lets",
        ),
        (
            imported_v2,
            {"authentication_mode": "MAP"},
            "authentication_mode: 'MAP' is not a mode of EKS; use API, API_AND",
        ),
        (
            imported_v2,
            {"authentication_mode": "CONFIG_MAP"},
            "authentication_mode: a cluster that lets in by aws-auth alone",
        ),
        (
            imported_v2,
            {"oidc_issuer": None},
            "oidc_provider: an imported cluster does not show its issuer; give its OIDC",
        ),
        (
            imported_v2,
            {"discovery": "names"},
            "discovery: 'names' is not a way to find what nodes use; use 'tags' or 'ids'",
        ),
        (imported_v2, {"security_groups": []}, "security_groups: is empty, and nodes must have one; name those"),
        (
            imported_v2,
            {"security_groups": None},
            "cluster: is imported without its network; give vpc and cluster_security",
        ),
        (
            lambda stack: imported_v1(stack, kubectl_role_arn=None),
            {},
            "cluster: is imported without a role for kubectl, so nothing could be installed on it; give kubectl_role_arn",
        ),
        (
            lambda stack: imported_v1(stack, kubectl_layer=None),
            {},
            "cluster: is imported without kubectl, so nothing could be installed on it; give kubectl_layer",
        ),
        (
            lambda stack: imported_v1(stack, cluster_security_group_id=None),
            {},
            "cluster: is imported without its network; give vpc and cluster_security_group_id",
        ),
    ],
)
def test_what_a_form_does_not_show_is_asked_for_by_the_name_of_its_argument(imported, more, fault):
    stack = stack_in()
    cluster = imported(stack)
    (found,) = faults(lambda: on(cluster, stack, **more))
    assert found.startswith(fault)
    assert stack.node.try_find_child("Karpenter") is None


def test_the_mode_of_a_cluster_of_this_app_is_read_and_not_asked():
    stack = stack_in()
    cluster = made_v1(stack)
    more = {"cluster_name": "training", "kubernetes_version": "1.36", "authentication_mode": "API"}
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, **more))
    assert fault == "authentication_mode: 'API' is not the cluster's, which is CONFIG_MAP; leave it out"


@pytest.mark.parametrize("version", ["1.32", "1.33"])
def test_nodes_of_an_image_that_there_is_not_are_found_at_synthesis(version):
    stack = cdk.Stack(cdk.App(context=PLAIN | {"@aws-cdk/aws-eks:defaultToAL2023": False}), "Own")
    cluster = made_v1(stack)
    more = {"cluster_name": "training", "kubernetes_version": version, "settings": KarpenterSettings(version="1.12.1")}
    if version == "1.32":
        Karpenter(stack, "K", cluster=cluster, **more)
        return
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, **more))
    assert fault.startswith(
        "cluster: its node group Own/Cluster/NodegroupDefaultCapacity/Resource asks for AL2, which has"
    )


def test_a_cluster_in_auto_mode_is_refused_with_the_way_out():
    stack = stack_in()
    cluster = v2.Cluster(
        stack,
        "Cluster",
        cluster_name="training",
        version=v2.KubernetesVersion.V1_36,
        kubectl_provider_options=v2.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(stack, "Layer")),
    )
    (fault,) = faults(lambda: Karpenter(stack, "K", cluster=cluster, cluster_name="training"))
    assert fault.startswith("cluster: is in Auto Mode, which brings a Karpenter and CRDs of its own")


def test_on_fargate_the_controller_asks_the_vpcs_dns_and_cannot_have_a_pod_identity():
    stack = stack_in()
    template = on(imported_v2(stack), stack, settings=KarpenterSettings(on_fargate=True))
    (chart,) = (one for one in of_type(template, "Custom::AWSCDK-EKS-HelmChart") if one["Release"] == "karpenter")
    assert '"dnsPolicy":"Default"' in json.dumps(chart).replace("\\", "")
    other = stack_in()
    settings = KarpenterSettings(on_fargate=True, identity="pod-identity")
    cluster = imported_v2(other)
    (fault,) = faults(lambda: on(cluster, other, settings=settings))
    assert fault.startswith("karpenter.identity: 'pod-identity' does not work on Fargate")


@pytest.mark.parametrize("make", [made_v1, None])
def test_the_cluster_may_be_in_one_stack_and_karpenter_in_another(make):
    app = cdk.App(context=PLAIN)
    below, above = stack_in(app, "Below"), stack_in(app, "Above")
    if make:
        cluster = make(below)
    else:
        cluster = v2.Cluster(
            below,
            "Cluster",
            cluster_name="training",
            version=v2.KubernetesVersion.V1_36,
            default_capacity_type=v2.DefaultCapacityType.NODEGROUP,
            kubectl_provider_options=v2.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(below, "Layer")),
        )
    karpenter = Karpenter(above, "Karpenter", cluster=cluster, cluster_name="training", kubernetes_version="1.36")
    karpenter.add_gpu_pool(POOL)
    app.synth()
    assert below in above.dependencies
    assert above not in below.dependencies
    Template.from_stack(above).resource_count_is("Custom::KarpenterGpuDrain", 1)
    Template.from_stack(below).has_resource_properties(
        "AWS::EC2::Subnet", {"Tags": Match.array_with([{"Key": "karpenter.sh/discovery", "Value": "training"}])}
    )


def test_the_same_pools_go_on_many_clusters_of_one_app():
    app = cdk.App(context=PLAIN)
    for place in range(3):
        stack = stack_in(app, f"Stack{place}")
        cluster = v2.Cluster(
            stack,
            "Cluster",
            cluster_name=f"training-{place}",
            version=v2.KubernetesVersion.V1_36,
            default_capacity_type=v2.DefaultCapacityType.NODEGROUP,
            kubectl_provider_options=v2.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(stack, "Layer")),
        )
        Karpenter(stack, "Karpenter", cluster=cluster, cluster_name=f"training-{place}").add_gpu_pool(POOL)
    assert len(app.synth().stacks) == 3
