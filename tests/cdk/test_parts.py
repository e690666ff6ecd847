"""Each construct's part of the template."""

import json

import pytest

from tests.shapes import SHAPES, synthesized, text_of


def role_named(shape, name):
    ((found, role),) = (
        (logical, role["Properties"])
        for logical, role in shape.of_type("AWS::IAM::Role").items()
        if role["Properties"].get("RoleName") == name
    )
    return found, role


def test_the_node_role_is_named_and_trusted_as_in_the_walkthrough(walkthrough):
    _, role = role_named(walkthrough, "KarpenterNodeRole-walkthrough")
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert text_of(trust["Principal"]["Service"]) == "ec2.<AWS::URLSuffix>"
    assert sorted(text_of(arn).rpartition("/")[2] for arn in role["ManagedPolicyArns"]) == [
        "AmazonEC2ContainerRegistryPullOnly",
        "AmazonEKSWorkerNodePolicy",
        "AmazonEKS_CNI_Policy",
        "AmazonSSMManagedInstanceCore",
    ]


def test_nodes_are_let_in_by_an_access_entry_without_policies(default):
    node_role, _ = role_named(default, "KarpenterNodeRole-gpu")
    (entry,) = (
        entry["Properties"]
        for entry in default.of_type("AWS::EKS::AccessEntry").values()
        if entry["Properties"].get("Type") == "EC2_LINUX"
    )
    assert entry["PrincipalArn"] == {"Fn::GetAtt": [node_role, "Arn"]}
    assert "AccessPolicies" not in entry


def test_only_karpenters_service_account_may_take_the_controllers_role(walkthrough):
    _, role = role_named(walkthrough, "KarpenterControllerRole-walkthrough")
    text, names = role["AssumeRolePolicyDocument"]["Fn::Sub"]
    (provider,) = walkthrough.of_type("AWS::IAM::OIDCProvider")
    assert names == {
        "Provider": {"Ref": provider},
        "Issuer": {"Fn::Select": [1, {"Fn::Split": [":oidc-provider/", {"Ref": provider}]}]},
    }
    (statement,) = json.loads(text)["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Federated": "${Provider}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                "${Issuer}:aud": "sts.amazonaws.com",
                "${Issuer}:sub": "system:serviceaccount:kube-system:karpenter",
            }
        },
    }


def test_the_oidc_provider_is_native_and_for_sts(default):
    assert default.only("AWS::IAM::OIDCProvider")["ClientIdList"] == ["sts.amazonaws.com"]
    assert not any("CfnJson" in resource["Type"] for resource in default.graph.resources.values())


def test_policies_name_the_cluster_in_their_condition_keys(default):
    role, _ = role_named(default, "KarpenterControllerRole-gpu")
    policies = [
        policy["Properties"]
        for policy in default.of_type("AWS::IAM::ManagedPolicy").values()
        if policy["Properties"]["Roles"] == [{"Ref": role}]
    ]
    assert len(policies) == 6
    assert "aws:RequestTag/kubernetes.io/cluster/gpu" in json.dumps(policies)


def test_role_path_reaches_both_roles():
    shape = synthesized("every-kind-of-pool")
    for name in ("KarpenterNodeRole-zoo", "KarpenterControllerRole-zoo"):
        assert role_named(shape, name)[1]["Path"] == "/platform/"


TAGGED = {"Key": "karpenter.sh/discovery", "Value": "gpu"}


def test_private_subnets_and_the_node_security_group_are_tagged_and_nothing_else(default):
    tagged = {
        name
        for name, resource in default.graph.resources.items()
        if TAGGED in (tags if isinstance(tags := resource.get("Properties", {}).get("Tags", []), list) else [])
    }
    private = {
        name
        for name, subnet in default.of_type("AWS::EC2::Subnet").items()
        if subnet["Properties"]["MapPublicIpOnLaunch"] is False
    }
    (group,) = (name for name in default.of_type("AWS::EC2::SecurityGroup") if "Node" in name)
    assert tagged == private | {group}


def test_nodes_and_control_plane_reach_each_other_and_nobody_else_reaches_a_node(default):
    (group,) = (name for name in default.of_type("AWS::EC2::SecurityGroup") if "Node" in name)
    nodes = {"Fn::GetAtt": [group, "GroupId"]}
    (cluster_name,) = default.of_type("AWS::EKS::Cluster")
    cluster = {"Fn::GetAtt": [cluster_name, "ClusterSecurityGroupId"]}
    rules = [
        (rule["Properties"]["GroupId"], rule["Properties"]["SourceSecurityGroupId"])
        for rule in default.of_type("AWS::EC2::SecurityGroupIngress").values()
    ]
    assert rules == [(nodes, nodes), (nodes, cluster), (cluster, nodes)]
    assert all(
        rule["Properties"]["IpProtocol"] == "-1" for rule in default.of_type("AWS::EC2::SecurityGroupIngress").values()
    )
    assert "SecurityGroupIngress" not in default.graph.resources[group]["Properties"]
    egress = default.graph.resources[group]["Properties"]["SecurityGroupEgress"]
    assert [rule.get("CidrIp") or rule.get("CidrIpv6") for rule in egress] == ["0.0.0.0/0", "::/0"]


def queue_of(shape):
    ((name, queue),) = (
        (name, queue["Properties"])
        for name, queue in shape.of_type("AWS::SQS::Queue").items()
        if "RedrivePolicy" in queue["Properties"]
    )
    return name, queue


def test_the_queue_is_encrypted_and_forgets_after_five_minutes(default):
    _, queue = queue_of(default)
    assert (queue["SqsManagedSseEnabled"], queue["MessageRetentionPeriod"]) == (True, 300)
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 10


def test_every_queue_refuses_plain_http(default):
    for policy in default.of_type("AWS::SQS::QueuePolicy").values():
        deny = policy["Properties"]["PolicyDocument"]["Statement"][0]
        assert (deny["Effect"], deny["Action"], deny["Condition"]) == (
            "Deny",
            "sqs:*",
            {"Bool": {"aws:SecureTransport": "false"}},
        )


@pytest.mark.parametrize(("shape_name", "count"), [("default", 5), ("walkthrough", 4)])
def test_every_event_of_the_version_reaches_the_queue(shape_name, count):
    shape = synthesized(shape_name)
    name, _ = queue_of(shape)
    rules = [rule["Properties"] for rule in shape.of_type("AWS::Events::Rule").values()]
    assert len(rules) == count
    assert all(rule["Targets"][0]["Arn"] == {"Fn::GetAtt": [name, "Arn"]} for rule in rules)
    assert all(rule["State"] == "ENABLED" for rule in rules)
    statements = [
        statement
        for policy in shape.of_type("AWS::SQS::QueuePolicy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert len(statements) == count


def test_charts_come_from_the_public_registry_in_the_version_asked_for(walkthrough):
    for name in ("karpenter-crd", "karpenter"):
        chart = walkthrough.chart(name)
        assert (chart["Repository"], chart["Version"], chart["Namespace"], chart["Wait"], chart["Timeout"]) == (
            f"oci://public.ecr.aws/karpenter/{name}",
            "1.0.1",
            "kube-system",
            True,
            "600s",
        )


def test_a_namespace_of_its_own_is_made_with_the_first_chart(default):
    own = synthesized("pod-identity")
    for name in ("karpenter-crd", "karpenter"):
        assert (own.chart(name)["Namespace"], own.chart(name)["CreateNamespace"]) == ("karpenter", True)
        assert "CreateNamespace" not in default.chart(name)


def test_the_controller_is_told_its_queue_role_and_region(default):
    values = default.chart("karpenter")["Values"]
    queue, _ = queue_of(default)
    role, _ = role_named(default, "KarpenterControllerRole-gpu")
    assert values["settings"] == {"clusterName": "gpu", "interruptionQueue": f"<{queue}.QueueName>"}
    assert values["serviceAccount"]["annotations"] == {"eks.amazonaws.com/role-arn": f"<{role}.Arn>"}
    assert values["controller"]["env"] == [{"name": "AWS_REGION", "value": "<AWS::Region>"}]


def test_the_controller_is_bound_to_the_labels_of_the_system_nodes(default):
    labels = default.only("AWS::EKS::Nodegroup")["Labels"]
    affinity = json.dumps(default.chart("karpenter")["Values"]["affinity"])
    ((key, value),) = labels.items()
    assert json.dumps({"key": key, "operator": "In", "values": [value]}) in affinity


@pytest.mark.parametrize("shape_name", SHAPES)
def test_every_pool_is_a_class_and_a_node_pool_that_names_it(shape_name):
    shape = synthesized(shape_name)
    manifests = shape.manifests()
    pools = {name for kind, name in manifests if kind == "NodePool"}
    assert pools == {name for kind, name in manifests if kind == "EC2NodeClass"}
    for name in pools:
        ref = manifests["NodePool", name]["spec"]["template"]["spec"]["nodeClassRef"]
        assert ref == {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": name}
        spec = manifests["EC2NodeClass", name]["spec"]
        role = spec.get("role", "")
        if shape_name == "isolated":
            profile = shape.graph.resources[spec["instanceProfile"].strip("<>")]
            (ref,) = profile["Properties"]["Roles"]
            role = f"<{ref['Ref']}>"
        if shape_name == "taken-over":
            assert role == "their-nodes"
        else:
            assert shape.graph.resources[role.strip("<>")]["Properties"]["RoleName"].startswith("KarpenterNodeRole-")


def test_a_fractional_pool_brings_its_overlay_first():
    shape = synthesized("every-kind-of-pool")
    assert ("NodeOverlay", "fractional") in shape.manifests()
    (overlay,) = (name for name in shape.graph.resources if "NodeOverlay" in name)
    (pool,) = (name for name in shape.graph.resources if "fractionalNodePool" in name)
    assert overlay in shape.graph.waits_for(pool)


def test_the_walkthroughs_image_is_read_from_its_parameter_at_deployment(walkthrough):
    (parameter,) = (
        name
        for name, body in walkthrough.template["Parameters"].items()
        if body["Default"] == "/aws/service/eks/optimized-ami/1.30/amazon-linux-2-gpu/recommended/image_id"
    )
    assert walkthrough.template["Parameters"][parameter]["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    spec = walkthrough.manifests()["EC2NodeClass", "gpu-node"]["spec"]
    assert (spec["amiFamily"], spec["amiSelectorTerms"]) == ("AL2", [{"id": f"<{parameter}>"}])


def test_the_walkthroughs_pool_is_one_on_demand_g4dn_xlarge_that_goes_when_empty(walkthrough):
    spec = walkthrough.manifests()["NodePool", "gpu-node"]["spec"]
    rules = {rule["key"]: rule["values"] for rule in spec["template"]["spec"]["requirements"]}
    assert rules["node.kubernetes.io/instance-type"] == ["g4dn.xlarge"]
    assert rules["karpenter.sh/capacity-type"] == ["on-demand"]
    assert spec["disruption"] == {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "1m"}


def test_the_walkthroughs_device_plugin_is_0_16_1(walkthrough):
    daemon_set = walkthrough.manifests()["DaemonSet", "nvidia-device-plugin"]
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "nvcr.io/nvidia/k8s-device-plugin:v0.16.1"


def test_the_drain_waits_as_long_as_was_said(default):
    drain = default.only("Custom::KarpenterGpuDrain")
    assert (drain["ClusterName"], drain["TimeoutSeconds"], drain["ServiceTimeout"]) == ("gpu", "2700", "3600")


def test_one_call_of_the_drain_lasts_as_long_as_lambda_lets_it(default):
    (handler,) = (
        function["Properties"]
        for name, function in default.of_type("AWS::Lambda::Function").items()
        if name.startswith("KarpenterDrain")
    )
    assert handler["Timeout"] == 900


def rights_of_the_drain(shape):
    return [
        statement
        for name, policy in shape.of_type("AWS::IAM::Policy").items()
        if name.startswith("KarpenterDrain")
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]


def test_the_drain_reads_what_is_left_calls_itself_and_asks_and_changes_only_what_has_the_clusters_tags(default):
    of_any = {
        action: statement.get("Condition")
        for statement in rights_of_the_drain(default)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    tagged = {action for action, condition in of_any.items() if "aws:ResourceTag/" in json.dumps(condition)}
    assert tagged == {
        "ec2:DeleteLaunchTemplate",
        "ec2:DeleteNetworkInterface",
        "iam:DeleteInstanceProfile",
        "iam:RemoveRoleFromInstanceProfile",
    }
    assert set(of_any) - tagged == {
        "cloudformation:DescribeStacks",
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeNetworkInterfaces",
        "iam:GetInstanceProfile",
        "iam:ListInstanceProfiles",
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    assert "aws:RequestedRegion" in json.dumps(of_any["ec2:DescribeInstances"])


def test_the_drain_calls_itself_and_what_asks_the_cluster_and_no_other_function(default):
    calls = [one["Resource"] for one in rights_of_the_drain(default) if one["Action"] == "lambda:InvokeFunction"]
    called = {resource["Fn::GetAtt"][0] for resource in calls}
    functions = default.graph.of_type("AWS::Lambda::Function")
    assert called == {one for one in functions if one.startswith(("KarpenterDrain", "KarpenterReasons"))}


def test_what_asks_the_cluster_may_list_what_a_drain_waits_for_and_change_what_karpenter_holds_and_no_secrets(default):
    manifests = default.manifests()
    rules = manifests["ClusterRole", "karpenter-gpu-drain"]["rules"]
    assert {(kind, verb) for rule in rules for kind in rule["resources"] for verb in rule["verbs"]} == {
        *((kind, "list") for kind in ("nodepools", "nodes", "poddisruptionbudgets", "pods", "volumeattachments")),
        *((kind, verb) for kind in ("ec2nodeclasses", "nodeclaims") for verb in ("list", "patch")),
    }
    (entry,) = (one for name, one in default.of_type("AWS::EKS::AccessEntry").items() if "Reasons" in name)
    assert entry["Properties"]["KubernetesGroups"] == ["karpenter-gpu-drain"]
    assert "AccessPolicies" not in entry["Properties"]


def test_nodes_may_send_to_each_other_as_efa_asks(default):
    rule = default.only("AWS::EC2::SecurityGroupEgress")
    assert rule["GroupId"] == rule["DestinationSecurityGroupId"]
    assert rule["IpProtocol"] == "-1"
