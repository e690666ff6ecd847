"""The platform as a whole: what is in it, and in which order it comes and goes."""

import json

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

from karpenter_gpu import EksGpuStack, NewCluster
from tests.shapes import SHAPES, synthesized, text_of

GATE = "Custom::KarpenterGpuDrain"
POOL_GATE = "Custom::KarpenterGpuPoolDrain"
SWEEP = "Custom::KarpenterGpuSweep"


@pytest.fixture(params=SHAPES)
def shape(request):
    return synthesized(request.param)


def test_everything_a_gpu_node_or_karpenter_needs_outlives_the_drain(shape):
    (gate,) = shape.graph.of_type(GATE)
    outlives = shape.graph.waits_for(gate)
    pools = {name for name in shape.graph.resources if "NodePool" in name or "NodeOverlay" in name}
    # The CDK's handler writes on when these are gone; nothing waits for them.
    logs = {name for name in shape.graph.resources if "KubectlProvider" in name and "LogGroup" in name}
    assert set(shape.graph.resources) - outlives - {gate} == pools | logs | set(shape.graph.of_type(POOL_GATE))


def test_a_destroy_keeps_nothing_but_crds_that_were_taken_over(shape):
    kept = [one["Properties"] for one in shape.graph.resources.values() if one.get("DeletionPolicy") == "Retain"]
    taken_over = shape is synthesized("taken-over")
    assert [one.get("Release") for one in kept] == (["karpenter-crd"] if taken_over else [])


def test_node_pools_are_made_last_and_deleted_first(shape):
    (gate,) = shape.graph.of_type(GATE)
    for name in (name for name in shape.graph.resources if "NodePool" in name):
        assert gate in shape.graph.waits_for(name)
        assert not any(name in waits for waits in shape.graph.direct.values())


def test_each_pool_has_a_drain_of_its_own_between_it_and_its_class(shape):
    graph, asked = shape.graph, set()
    for pool in (name for name in graph.resources if "NodePool" in name):
        (drain,) = graph.direct[pool] & set(graph.of_type(POOL_GATE))
        asked.add(graph.resources[drain]["Properties"]["NodePool"])
        node_class = pool.partition("NodePool")[0] + "NodeClass"
        assert any(name.startswith(node_class) for name in graph.direct[drain])
    assert asked == {name for kind, name in shape.manifests() if kind == "NodePool"}


def order_of(shape, *types_or_names):
    """The resources that the given words pick, one group a word."""
    return [
        [name for name, resource in shape.graph.resources.items() if word in name or resource["Type"] == word]
        for word in types_or_names
    ]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("AWS::EKS::Cluster", "AWS::EKS::Nodegroup"),
        ("EksAddonvpccni", "AWS::EKS::Nodegroup"),
        ("EksAddonkubeproxy", "AWS::EKS::Nodegroup"),
        ("AWS::EKS::Nodegroup", "EksAddoncoredns"),
        ("EksAddoncoredns", "ChartsCrds"),
        ("AWS::EKS::Nodegroup", "ChartsCrds"),
        ("ChartsCrds", "ChartsController"),
        ("NodeRoleAccess", "ChartsController"),
        ("KarpenterControllerRole", "ChartsController"),
        ("KarpenterInterruption", "ChartsController"),
        ("KarpenterDiscovery", "ChartsController"),
        ("ChartsController", "NodeClass"),
        ("DevicePlugin", GATE),
        ("NodeClass", GATE),
        ("NodeClass", POOL_GATE),
        (GATE, POOL_GATE),
        ("KarpenterNodeRole", SWEEP),
        ("KarpenterDiscovery", SWEEP),
        (SWEEP, "ChartsController"),
        (SWEEP, "ChartsCrds"),
        ("KarpenterReasonsAccess", GATE),
        ("KarpenterReasonsClusterRole", GATE),
        ("KarpenterDrainAsk", GATE),
        (GATE, "NodePool"),
        ("EksAdmin", GATE),
        ("AWS::EC2::NatGateway", GATE),
        ("AWS::EC2::Route", GATE),
    ],
)
def test_order(default, first, then):
    before, after = order_of(default, first, then)
    assert before
    assert after
    for name in after:
        assert set(before) <= default.graph.waits_for(name)


def test_cluster_is_encrypted_logged_and_reachable_from_inside(default):
    cluster = default.only("AWS::EKS::Cluster")
    (key,) = default.of_type("AWS::KMS::Key")
    assert cluster["EncryptionConfig"] == [
        {"Provider": {"KeyArn": {"Fn::GetAtt": [key, "Arn"]}}, "Resources": ["secrets"]}
    ]
    assert [log["Type"] for log in cluster["Logging"]["ClusterLogging"]["EnabledTypes"]] == [
        "api",
        "audit",
        "authenticator",
        "controllerManager",
        "scheduler",
    ]
    assert cluster["ResourcesVpcConfig"]["EndpointPrivateAccess"] is True
    assert cluster["ResourcesVpcConfig"]["PublicAccessCidrs"] == ["0.0.0.0/0"]
    assert cluster["AccessConfig"]["AuthenticationMode"] == "API"


def test_cluster_is_not_in_auto_mode(default):
    assert default.only("AWS::EKS::Cluster")["ComputeConfig"] == {"Enabled": False}


def test_the_public_endpoint_can_be_closed():
    config = synthesized("pod-identity").only("AWS::EKS::Cluster")["ResourcesVpcConfig"]
    assert (config["EndpointPublicAccess"], config["EndpointPrivateAccess"]) == (False, True)


def test_control_plane_and_system_nodes_are_in_private_subnets_alone(default):
    private = {
        name
        for name, subnet in default.of_type("AWS::EC2::Subnet").items()
        if subnet["Properties"]["MapPublicIpOnLaunch"] is False
    }
    cluster = default.only("AWS::EKS::Cluster")["ResourcesVpcConfig"]["SubnetIds"]
    nodes = default.only("AWS::EKS::Nodegroup")["Subnets"]
    assert {subnet["Ref"] for subnet in cluster} == {subnet["Ref"] for subnet in nodes} == private


def test_two_system_nodes_on_encrypted_disks_without_metadata_for_pods(default):
    group = default.only("AWS::EKS::Nodegroup")
    assert group["ScalingConfig"] == {"DesiredSize": 2, "MaxSize": 3, "MinSize": 2}
    data = default.only("AWS::EC2::LaunchTemplate")["LaunchTemplateData"]
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert data["MetadataOptions"] == {"HttpPutResponseHopLimit": 1, "HttpTokens": "required"}


@pytest.mark.parametrize(("shape_name", "zones"), [("default", 2), ("aws", 3)])
def test_three_zones_when_the_region_is_known_else_two(shape_name, zones):
    subnets = synthesized(shape_name).of_type("AWS::EC2::Subnet").values()
    assert len({json.dumps(subnet["Properties"]["AvailabilityZone"]) for subnet in subnets}) == zones


def test_only_the_addons_a_cluster_needs_are_installed(default):
    names = [addon["Properties"]["AddonName"] for addon in default.of_type("AWS::EKS::Addon").values()]
    assert names == ["vpc-cni", "kube-proxy", "coredns"]
    assert default.only("AWS::EKS::Cluster")["BootstrapSelfManagedAddons"] is False


def test_pod_identity_brings_its_agent_and_needs_no_oidc_trust():
    shape = synthesized("pod-identity")
    names = [addon["Properties"]["AddonName"] for addon in shape.of_type("AWS::EKS::Addon").values()]
    assert "eks-pod-identity-agent" in names
    association = shape.only("AWS::EKS::PodIdentityAssociation")
    assert (association["Namespace"], association["ServiceAccount"]) == ("karpenter", "karpenter")
    (role,) = (
        role["Properties"]
        for role in shape.of_type("AWS::IAM::Role").values()
        if role["Properties"].get("RoleName") == "KarpenterControllerRole-pods"
    )
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert sorted(trust["Action"]) == ["sts:AssumeRole", "sts:TagSession"]
    assert "annotations" not in shape.chart("karpenter")["Values"]["serviceAccount"]


def test_every_role_has_the_boundary_that_was_asked_for():
    roles = synthesized("every-kind-of-pool").of_type("AWS::IAM::Role")
    boundaries = {json.dumps(role["Properties"].get("PermissionsBoundary")) for role in roles.values()}
    assert len(boundaries) == 1
    assert ":policy/Boundary" in boundaries.pop()


def test_named_administrators_replace_the_role_that_is_made(default):
    shape = synthesized("existing-vpc")
    principals = [entry["Properties"]["PrincipalArn"] for entry in shape.of_type("AWS::EKS::AccessEntry").values()]
    assert {"arn:aws:iam::111122223333:role/ops", "arn:aws:iam::111122223333:user/eve"} < set(map(str, principals))
    assert not [name for name in shape.graph.resources if name.startswith("EksAdminRole")]
    assert [name for name in default.graph.resources if name.startswith("EksAdminRole")]


def test_an_administrators_entry_stays_when_the_others_change():
    def entries(*admins):
        cluster = NewCluster(name="x", admins=tuple(f"arn:aws:iam::111122223333:role/{name}" for name in admins))
        stack = EksGpuStack(cdk.App(context={"aws:cdk:disable-asset-staging": True}), "S", cluster=cluster, pools=[])
        found = Template.from_stack(stack).find_resources("AWS::EKS::AccessEntry").items()
        return {name: str(entry["Properties"]["PrincipalArn"]) for name, entry in found if name.startswith("EksAdmin")}

    assert len(entries("a", "b")) == 2
    assert entries("b").items() < entries("a", "b").items()
    assert entries("b", "a") == entries("a", "b")


def test_a_dictionary_is_as_good_as_the_setting_it_describes():
    app = cdk.App(context={"aws:cdk:disable-asset-staging": True})
    pool = {"name": "a", "gpu_names": ["l4"], "gpu_limit": 1}
    settings = {"version": "1.13.1"}
    stack = EksGpuStack(app, "S", cluster={"name": "x"}, pools=[pool], karpenter=settings, device_plugin={})
    Template.from_stack(stack).has_resource_properties("AWS::EKS::Cluster", {"Name": "x"})


def test_an_existing_vpc_is_used_untouched_and_selected_by_id():
    shape = synthesized("existing-vpc")
    assert not any(resource["Type"].startswith("AWS::EC2::Subnet") for resource in shape.graph.resources.values())
    node_class = shape.manifests()["EC2NodeClass", "inference"]["spec"]
    assert node_class["subnetSelectorTerms"] == [
        {"id": "subnet-0123456789abcdef0"},
        {"id": "subnet-0123456789abcdef1"},
    ]
    assert node_class["securityGroupSelectorTerms"] == [{"tags": {"karpenter.sh/discovery": "moved-in"}}]


def test_a_given_key_encrypts_the_secrets():
    shape = synthesized("existing-vpc")
    (config,) = shape.only("AWS::EKS::Cluster")["EncryptionConfig"]
    assert config["Provider"]["KeyArn"] == "arn:aws:kms:eu-west-1:111122223333:key/0a1b"
    assert not shape.of_type("AWS::KMS::Key")


def test_the_public_endpoint_can_be_narrowed():
    config = synthesized("ipv6").only("AWS::EKS::Cluster")["ResourcesVpcConfig"]
    assert config["PublicAccessCidrs"] == ["203.0.113.0/24"]


def test_nobody_is_administrator_without_an_entry(default):
    assert default.only("AWS::EKS::Cluster")["AccessConfig"]["BootstrapClusterCreatorAdminPermissions"] is False


def test_system_nodes_and_nat_gateways_are_as_many_and_as_large_as_asked():
    shape = synthesized("ipv6")
    group = shape.only("AWS::EKS::Nodegroup")
    assert (group["InstanceTypes"], group["AmiType"]) == (["c6i.xlarge", "c5.xlarge"], "AL2023_x86_64_STANDARD")
    assert group["ScalingConfig"] == {"DesiredSize": 3, "MaxSize": 4, "MinSize": 3}
    (mapping,) = shape.only("AWS::EC2::LaunchTemplate")["LaunchTemplateData"]["BlockDeviceMappings"]
    assert mapping["Ebs"]["VolumeSize"] == 80
    assert len(shape.of_type("AWS::EC2::NatGateway")) == 2


def test_system_nodes_are_upgraded_with_the_cluster(default, walkthrough):
    for shape, version in ((default, "1.36"), (walkthrough, "1.30")):
        assert shape.only("AWS::EKS::Cluster")["Version"] == version
        assert shape.only("AWS::EKS::Nodegroup")["Version"] == version


def test_addons_go_with_the_cluster(default):
    assert all(
        addon["Properties"]["PreserveOnDelete"] is False for addon in default.of_type("AWS::EKS::Addon").values()
    )


@pytest.mark.parametrize(("shape_name", "kubectl"), [("default", "1.36"), ("walkthrough", "1.30")])
def test_kubectl_is_of_the_clusters_minor(shape_name, kubectl):
    layers = synthesized(shape_name).of_type("AWS::Lambda::LayerVersion").values()
    assert any(f"kubectl {kubectl}" in layer["Properties"].get("Description", "") for layer in layers)


def test_ipv6_reaches_the_cluster_the_vpc_and_both_node_roles():
    shape = synthesized("ipv6")
    assert shape.only("AWS::EKS::Cluster")["KubernetesNetworkConfig"]["IpFamily"] == "ipv6"
    assert shape.of_type("AWS::EC2::VPCCidrBlock")
    policies = [
        policy["Properties"]
        for policy in shape.of_type("AWS::IAM::Policy").values()
        if "ec2:AssignIpv6Addresses" in json.dumps(policy)
    ]
    assert len(policies) == 2


def test_outputs_say_what_to_do_next(default):
    outputs = {name: text_of(output["Value"]) for name, output in default.template["Outputs"].items()}
    assert outputs["Kubeconfig"].startswith("aws eks update-kubeconfig --name gpu --region <AWS::Region> --role-arn <")
    assert "nvidia.com/gpu" in outputs["TryGpu"]
    assert outputs["FollowKarpenter"] == "kubectl logs -f -l app.kubernetes.io/instance=karpenter -n kube-system"
    assert outputs["FollowDestroy"].startswith("aws logs tail <KarpenterDrainLog")
    assert set(outputs) == {
        "Kubeconfig",
        "TryGpu",
        "FollowKarpenter",
        "FollowDestroy",
        "NodeRoleName",
        "ControllerRoleArn",
        "InterruptionQueueName",
        "MostDollarsPerHour",
    }
    assert outputs["MostDollarsPerHour"] == "inference 60.62, training 60.62"
    assert all(len(value) <= 1024 for value in outputs.values())


def test_a_warning_for_each_thing_that_aws_no_longer_offers(walkthrough):
    messages = [entry.data for entry in walkthrough.stack.node.metadata if entry.type == "aws:cdk:warning"]
    assert "karpenter-gpu:kubernetes-gone" in messages[0]
    assert [message.partition(" [ack")[0] for message in messages] == [
        "EKS has created no clusters of Kubernetes 1.30 since 2026-07-23: this template cannot be deployed to AWS",
        "Karpenter 1.0 is no longer supported upstream; 1.9.3, 1.14.3, 1.15.1 are",
        "pool 'gpu-node': AWS stopped publishing AL2 images on 2025-11-26; use an al2023 alias",
    ]


def test_the_default_profile_warns_of_nothing(default):
    assert [entry.data for entry in default.stack.node.metadata if entry.type == "aws:cdk:warning"] == []
