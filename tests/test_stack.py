"""The platform as a whole: what is in it, and in which order it comes and goes."""

import json
from dataclasses import replace

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Template

import karpenter_gpu
from karpenter_gpu import (
    DevicePlugin,
    EksGpuStack,
    GpuPool,
    InvalidSettings,
    KarpenterSettings,
    NewCluster,
    SystemNodes,
)
from karpenter_gpu.cdk.network import ENDPOINTS
from tests.shapes import SHAPES, Shape, synthesized, text_of

GATE = "Custom::KarpenterGpuDrain"
POOL_GATE = "Custom::KarpenterGpuPoolDrain"
SWEEP = "Custom::KarpenterGpuSweep"
MANIFEST = "Custom::AWSCDK-EKS-KubernetesResource"
ON_CLUSTER = (
    MANIFEST,
    "Custom::AWSCDK-EKS-HelmChart",
    "AWS::EKS::PodIdentityAssociation",
    "Custom::KarpenterGpuNodeAccess",
    "Custom::KarpenterGpuAwsAuth",
)
TAKEOVER = "Custom::KarpenterGpuTakeover"
SYSTEM_SWEEP = "Custom::KarpenterGpuSystemSweep"


@pytest.fixture(params=SHAPES)
def shape(request):
    return synthesized(request.param)


def test_everything_a_gpu_node_or_karpenter_needs_outlives_the_drain(shape):
    (gate,) = shape.graph.of_type(GATE)
    outlives = shape.graph.waits_for(gate)
    pools = {name for name in shape.graph.resources if "NodePool" in name or "NodeOverlay" in name}
    assert set(shape.graph.resources) - outlives - {gate} == pools | set(shape.graph.of_type(POOL_GATE))


def test_what_it_puts_on_a_cluster_waits_until_it_is_known_to_be_alone_there(shape):
    """Another Karpenter has objects and releases of the same names, which a rollback of this one would delete."""
    graph = shape.graph
    (alone,) = [*(name for name in graph.of_type(MANIFEST) if "OnlyOne" in name), *graph.of_type(TAKEOVER)]
    on_cluster = {*(name for kind in ON_CLUSTER for name in graph.of_type(kind))}
    assert [name for name in on_cluster - {alone} if alone not in graph.waits_for(name)] == []


def test_a_destroy_keeps_nothing_but_crds_that_were_taken_over(shape):
    kept = [one["Properties"] for one in shape.graph.resources.values() if one.get("DeletionPolicy") == "Retain"]
    taken_over = shape is synthesized("taken-over")
    assert [one.get("Release") for one in kept] == (["karpenter-crd"] if taken_over else [])


def test_node_pools_are_made_last_and_deleted_first(shape):
    (gate,) = shape.graph.of_type(GATE)
    for name in (name for name in shape.graph.resources if "NodePool" in name):
        assert gate in shape.graph.waits_for(name)
        # But for pools that come a few at a time.
        assert all("NodePool" in other for other, waits in shape.graph.direct.items() if name in waits)


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
        ("AWS::EKS::Cluster", SYSTEM_SWEEP),
        (SYSTEM_SWEEP, "AWS::EKS::Nodegroup"),
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


@pytest.mark.parametrize("shape_name", ["default", "aws"])
def test_a_vpc_has_the_same_zones_whether_the_region_is_said_or_not(shape_name):
    subnets = synthesized(shape_name).of_type("AWS::EC2::Subnet").values()
    assert {json.dumps(subnet["Properties"]["AvailabilityZone"]) for subnet in subnets} == {
        json.dumps({"Fn::Select": [place, {"Fn::GetAZs": ""}]}) for place in range(3)
    }


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


def cluster_stack(stack=None, karpenter=None, pools=(), env=None, **cluster):
    app = cdk.App(context={"aws:cdk:disable-asset-staging": True})
    given = {} if karpenter is None else {"karpenter": karpenter}
    if env:
        given["env"] = cdk.Environment(account="111122223333", region=env)
    made = EksGpuStack(app, "S", cluster=NewCluster(name="x", **cluster), pools=list(pools), **given, **(stack or {}))
    return Shape(made, Template.from_stack(made).to_json())


def test_the_closed_endpoint_the_logs_and_the_protection_stay_in_the_template_when_they_are_off():
    cluster = cluster_stack(public_access_cidrs=(), control_plane_logs=()).only("AWS::EKS::Cluster")
    config = cluster["ResourcesVpcConfig"]
    assert (config["EndpointPublicAccess"], config["PublicAccessCidrs"]) == (False, ["0.0.0.0/0"])
    assert cluster["Logging"] == {"ClusterLogging": {"EnabledTypes": []}}
    assert cluster["DeletionProtection"] is False


def test_no_cluster_goes_into_paid_support_or_cannot_be_deleted_unless_asked(default):
    cluster = default.only("AWS::EKS::Cluster")
    assert (cluster["UpgradePolicy"], cluster["DeletionProtection"]) == ({"SupportType": "STANDARD"}, False)
    asked = cluster_stack(upgrade_policy="EXTENDED", deletion_protection=True).only("AWS::EKS::Cluster")
    assert (asked["UpgradePolicy"], asked["DeletionProtection"]) == ({"SupportType": "EXTENDED"}, True)


def test_control_plane_logs_are_kept_a_month_and_go_with_the_stack(default):
    (group,) = (name for name in default.of_type("AWS::Logs::LogGroup") if "ControlPlane" in name)
    resource = default.graph.resources[group]
    assert resource["Properties"] == {"LogGroupName": "/aws/eks/gpu/cluster", "RetentionInDays": 30}
    assert resource["DeletionPolicy"] == "Delete"
    (cluster,) = default.of_type("AWS::EKS::Cluster")
    assert group in default.graph.waits_for(cluster)


@pytest.mark.parametrize("given", [{"control_plane_logs": ()}, {"control_plane_log_days": None}])
def test_no_log_group_is_made_where_none_is_wanted(given):
    groups = cluster_stack(**given).of_type("AWS::Logs::LogGroup")
    assert not [name for name in groups if "ControlPlane" in name]


def system_group(shape):
    (name,) = shape.of_type("AWS::EKS::Nodegroup")
    return name


@pytest.mark.parametrize(
    "change",
    [
        {"system_nodes": SystemNodes(disk_gib=80)},
        {"system_nodes": SystemNodes(release_version="1.36.2-20261112")},
        {"system_nodes": SystemNodes(kubernetes_version="1.35")},
        {"system_nodes": SystemNodes(volume_key_arn="arn:aws:kms:eu-west-1:111122223333:key/0a1b")},
        {"stack": {"tags": {"cost-centre": "42"}}},
    ],
    ids=["disk", "image", "kubernetes", "key", "tags"],
)
def test_another_image_or_launch_template_is_another_node_group(change):
    assert system_group(cluster_stack(**change)) != system_group(cluster_stack())


def test_another_size_is_the_same_node_group():
    assert system_group(cluster_stack(system_nodes=SystemNodes(count=3))) == system_group(cluster_stack())


def test_system_nodes_have_the_image_that_is_asked_for():
    nodes = SystemNodes(kubernetes_version="1.35", release_version="1.35.4-20261112")
    shape = cluster_stack(system_nodes=nodes)
    group = shape.only("AWS::EKS::Nodegroup")
    assert (group["Version"], group["ReleaseVersion"]) == ("1.35", "1.35.4-20261112")
    assert shape.only("AWS::EKS::Cluster")["Version"] == "1.36"


def test_the_stacks_tags_reach_the_system_nodes_and_their_volumes():
    data = cluster_stack(stack={"tags": {"team": "ml"}}).only("AWS::EC2::LaunchTemplate")["LaunchTemplateData"]
    assert data["TagSpecifications"] == [
        {"ResourceType": kind, "Tags": [{"Key": "team", "Value": "ml"}]} for kind in ("instance", "volume")
    ]


def test_system_nodes_are_encrypted_with_the_key_that_is_given():
    arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b"
    data = cluster_stack(system_nodes=SystemNodes(volume_key_arn=arn)).only("AWS::EC2::LaunchTemplate")
    assert data["LaunchTemplateData"]["BlockDeviceMappings"][0]["Ebs"]["KmsKeyId"] == arn


def test_an_upgrade_in_the_steps_of_the_docs_changes_the_control_plane_without_its_nodes_and_then_makes_new_ones():
    def nodes(shape):
        kinds = ("AWS::EKS::Nodegroup", "AWS::EC2::LaunchTemplate")
        return {name: one for name, one in shape.graph.resources.items() if one["Type"] in kinds}

    before = cluster_stack(kubernetes_version="1.35")
    plane = cluster_stack(kubernetes_version="1.36", system_nodes=SystemNodes(kubernetes_version="1.35"))
    after = cluster_stack(kubernetes_version="1.36")
    assert [shape.only("AWS::EKS::Cluster")["Version"] for shape in (before, plane, after)] == ["1.35", "1.36", "1.36"]
    assert nodes(before).keys() == nodes(plane).keys()
    ((old, same),) = (
        (nodes(one)[name]["Properties"]["Version"] for one in (before, plane))
        for name in nodes(before)
        if name.startswith("EksSystemNodes")
    )
    assert (old, same) == ("1.35", "1.35")
    # Another resource, which is there before the old one goes; and it waits for the control plane.
    (group,) = after.of_type("AWS::EKS::Nodegroup")
    assert group not in nodes(before)
    assert set(after.of_type("AWS::EKS::Cluster")) <= after.graph.waits_for(group)


def test_values_reach_the_addon_they_are_for():
    addons = cluster_stack(addon_values={"vpc-cni": {"env": {"ENABLE_PREFIX_DELEGATION": "true"}}})
    values = {
        addon["Properties"]["AddonName"]: addon["Properties"].get("ConfigurationValues")
        for addon in addons.of_type("AWS::EKS::Addon").values()
    }
    assert json.loads(values.pop("vpc-cni")) == {"env": {"ENABLE_PREFIX_DELEGATION": "true"}}
    assert set(values.values()) == {None}


ISOLATED = KarpenterSettings(
    isolated=True,
    charts="oci://111122223333.dkr.ecr.eu-west-1.amazonaws.com/karpenter",
    values={"controller": {"image": {"repository": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/karpenter"}}},
)
POOL = GpuPool(name="a", gpu_names=("l4",), gpu_limit=1)


def test_an_isolated_cluster_has_endpoints_a_profile_of_the_stacks_and_prices_of_karpenters():
    shape = cluster_stack(
        karpenter=ISOLATED, pools=[POOL], stack={"device_plugin": DevicePlugin(enabled=False)}, public_access_cidrs=()
    )
    assert not shape.of_type("AWS::EC2::NatGateway")
    assert not shape.of_type("AWS::EC2::InternetGateway")
    services = " ".join(json.dumps(one["Properties"]) for one in shape.of_type("AWS::EC2::VPCEndpoint").values())
    assert all(f".{service}" in services for service in (*ENDPOINTS, "s3"))
    assert shape.chart("karpenter")["Values"]["settings"]["isolatedVPC"] is True
    (profile,) = shape.of_type("AWS::IAM::InstanceProfile")
    spec = shape.manifests()["EC2NodeClass", "a"]["spec"]
    assert (spec["instanceProfile"], spec.get("role")) == (f"<{profile}>", None)


def test_the_device_plugin_can_be_left_to_somebody_else(default):
    off = cluster_stack(stack={"device_plugin": DevicePlugin(enabled=False)})
    assert not [kind for kind, _ in off.manifests() if kind == "DaemonSet"]
    assert [kind for kind, _ in default.manifests() if kind == "DaemonSet"] == ["DaemonSet"]


def test_the_stacks_tags_reach_gpu_nodes_and_a_pools_own_come_first():
    pool = replace(POOL, tags={"team": "research"})
    shape = cluster_stack(pools=[pool], stack={"tags": {"team": "ml", "cost-centre": "42"}})
    assert shape.manifests()["EC2NodeClass", "a"]["spec"]["tags"] == {"team": "research", "cost-centre": "42"}


def test_a_stacks_tag_that_karpenter_keeps_for_itself_is_refused():
    with pytest.raises(InvalidSettings, match=r"tags=…: 'karpenter.sh/nodepool' is a tag Karpenter keeps for itself"):
        cluster_stack(stack={"tags": {"karpenter.sh/nodepool": "x"}})


def documents(shape, name):
    return [
        policy["Properties"]["PolicyDocument"]["Statement"]
        for policy_name, policy in shape.of_type("AWS::IAM::ManagedPolicy").items()
        if name in policy_name
    ]


def test_the_controller_may_use_the_key_of_the_volumes_through_ec2_and_no_other():
    arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b"
    shape = cluster_stack(karpenter=KarpenterSettings(volume_key_arn=arn), pools=[POOL])
    (statements,) = documents(shape, "NodeVolumes")
    use, grant = statements
    assert {"kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt*"} < set(use["Action"])
    assert grant["Action"] == ["kms:CreateGrant"]
    assert grant["Condition"]["Bool"] == {"kms:GrantIsForAWSResource": "true"}
    assert all(one["Resource"] == [arn] and "kms:ViaService" in one["Condition"]["StringLike"] for one in statements)
    (volume,) = shape.manifests()["EC2NodeClass", "a"]["spec"]["blockDeviceMappings"]
    assert volume["ebs"]["kmsKeyID"] == arn
    assert not documents(cluster_stack(), "NodeVolumes")


def test_roles_may_do_what_the_user_says_besides():
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::models/*"]}
    for setting in ("controller_statements", "node_statements"):
        shape = cluster_stack(karpenter=KarpenterSettings(**{setting: (statement,)}))
        assert documents(shape, "OwnStatements") == [[statement]]
    assert not documents(cluster_stack(), "OwnStatements")


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


def warnings_of(shape):
    scopes = shape.stack.node.find_all()
    return [one.data for scope in scopes for one in scope.node.metadata if one.type == "aws:cdk:warning"]


def test_a_warning_for_each_thing_that_aws_no_longer_offers(walkthrough):
    messages = warnings_of(walkthrough)
    assert "karpenter-gpu:kubernetes-gone" in messages[0]
    assert [message.partition(" [ack")[0] for message in messages] == [
        "EKS has created no clusters of Kubernetes 1.30 since 2026-07-23: this template cannot be deployed to AWS",
        "Karpenter 1.0 is no longer supported upstream; 1.9.3, 1.14.3, 1.15.1 are",
        "pool 'gpu-node': AWS stopped publishing AL2 images on 2025-11-26; use an al2023 alias",
    ]


def test_the_default_profile_warns_of_nothing(default):
    assert warnings_of(default) == []


def test_account_and_region_of_the_stage_are_the_stacks():
    app = cdk.App(context={"aws:cdk:disable-asset-staging": True})
    stage = cdk.Stage(app, "Live", env=cdk.Environment(account="111122223333", region="eu-west-1"))
    far = karpenter_gpu.GpuPool(name="far", gpu_names=("l4",), gpu_limit=1, zones=("us-east-1a",))
    with pytest.raises(karpenter_gpu.InvalidSettings, match="'us-east-1a' is not a zone of eu-west-1"):
        EksGpuStack(stage, "Far", cluster=NewCluster(name="x"), pools=[far])
    boundary = "arn:aws:iam::444455556666:policy/edge"
    with pytest.raises(
        karpenter_gpu.InvalidSettings, match="is of account 444455556666, and the stack of 111122223333"
    ):
        EksGpuStack(stage, "Others", cluster=NewCluster(name="x"), pools=[], permissions_boundary=boundary)
