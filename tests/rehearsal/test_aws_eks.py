import json
import threading

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.server import EmulatedAws
from tests.until import until

ROOT = "arn:aws:iam::123456789012:root"
NODE = "arn:aws:iam::123456789012:role/node"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


class World:
    """An account, its EKS, and what the hooks were told."""

    def __init__(self, aws, heard):
        self.aws, self.heard, self.eks, self.ec2 = aws, heard, aws.client("eks"), aws.client("ec2")
        self.subnets = [subnet["SubnetId"] for subnet in self.ec2.describe_subnets()["Subnets"][:2]]
        iam = aws.client("iam")
        for name in ("node", "other", "control-plane"):
            trust = {"Version": "2012-10-17", "Statement": []}
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))

    def cluster(self, name, *, wait=True, **more):
        access = {"authenticationMode": "API", **more.pop("accessConfig", {})}
        made = self.eks.create_cluster(
            name=name,
            version="1.34",
            roleArn="arn:aws:iam::123456789012:role/control-plane",
            resourcesVpcConfig={"subnetIds": self.subnets},
            accessConfig=access,
            **more,
        )["cluster"]
        if wait:
            assert self.becomes(lambda: self.shown(name)["status"], "ACTIVE")
        return made

    def shown(self, name):
        return self.eks.describe_cluster(name=name)["cluster"]

    def nodegroup(self, cluster, name="system", **more):
        return self.eks.create_nodegroup(
            clusterName=cluster, nodegroupName=name, subnets=self.subnets, nodeRole=NODE, **more
        )["nodegroup"]

    def group(self, cluster, name="system"):
        return self.eks.describe_nodegroup(clusterName=cluster, nodegroupName=name)["nodegroup"]

    def becomes(self, value, wanted):
        return until(lambda: value() == wanted, 5)


def control_plane(name, version, cluster):
    if name == "broken":
        raise RuntimeError("etcd did not start")
    return ClusterEndpoint("https://127.0.0.1:6443", "Q0E=", f"https://oidc.test/{name}")


@pytest.fixture(scope="module")
def world():
    heard = []

    def nodes(cluster, group):
        heard.append(("nodes", group["nodegroupName"]))
        if group["nodegroupName"] == "stuck":
            raise RuntimeError("no node became Ready")

    hooks = Hooks(
        create_cluster=control_plane,
        delete_cluster=lambda name: heard.append(("deleted", name)),
        create_nodegroup=nodes,
        update_nodegroup=lambda _, group: heard.append(("update", group["scalingConfig"]["desiredSize"])),
        delete_nodegroup=lambda _, group: heard.append(("gone", group["nodegroupName"])),
    )
    with EmulatedAws(region="us-east-1", hooks=hooks) as aws:
        made = World(aws, heard)
        made.cluster("gpu")
        yield made


def refused(code):
    return pytest.raises(ClientError, match=rf"\({code}\)")


def test_a_cluster_is_creating_until_its_control_plane_runs(world):
    release = threading.Event()
    started = world.aws.hooks.create_cluster

    def slowly(name, version, cluster):
        release.wait(5)
        return control_plane(name, version, cluster)

    world.aws.hooks.create_cluster = slowly
    try:
        assert world.cluster("slow", wait=False)["status"] == "CREATING"
        assert world.shown("slow")["status"] == "CREATING"
        release.set()
        assert world.becomes(lambda: world.shown("slow")["status"], "ACTIVE")
    finally:
        world.aws.hooks.create_cluster = started
    shown = world.shown("slow")
    assert (shown["endpoint"], shown["certificateAuthority"]) == ("https://127.0.0.1:6443", {"data": "Q0E="})
    assert shown["identity"]["oidc"]["issuer"] == "https://oidc.test/slow"


def test_a_control_plane_that_does_not_start_fails_the_cluster_with_the_reason(world):
    world.cluster("broken", wait=False)
    assert world.becomes(lambda: world.shown("broken")["status"], "FAILED")
    assert world.shown("broken")["health"]["issues"][0]["message"] == "etcd did not start"


def test_a_cluster_says_what_it_was_asked_for(world):
    key = "arn:aws:kms:us-east-1:123456789012:key/k"
    world.cluster(
        "asked",
        encryptionConfig=[{"resources": ["secrets"], "provider": {"keyArn": key}}],
        logging={"clusterLogging": [{"types": ["api", "audit"], "enabled": True}]},
        tags={"team": "ml"},
        deletionProtection=True,
    )
    shown = world.shown("asked")
    assert shown["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "172.20.0.0/16"
    assert shown["encryptionConfig"][0]["provider"]["keyArn"] == key
    assert {"types": ["api", "audit"], "enabled": True} in shown["logging"]["clusterLogging"]
    assert (shown["tags"], shown["version"], shown["accessConfig"]["authenticationMode"]) == (
        {"team": "ml"},
        "1.34",
        "API",
    )
    with refused("InvalidRequestException"):
        world.eks.delete_cluster(name="asked")


def test_the_clusters_security_group_exists_and_goes_with_it(world):
    group = world.cluster("short")["resourcesVpcConfig"]["clusterSecurityGroupId"]
    (found,) = world.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert {"Key": "aws:eks:cluster-name", "Value": "short"} in found["Tags"]
    world.eks.delete_cluster(name="short")
    assert until(lambda: "short" not in world.eks.list_clusters()["clusters"], 5)
    assert ("deleted", "short") in world.heard
    with refused("InvalidGroup.NotFound"):
        world.ec2.describe_security_groups(GroupIds=[group])


def test_a_cluster_whose_end_goes_wrong_says_so_and_is_not_left_deleting(world):
    group = world.cluster("held")["resourcesVpcConfig"]["clusterSecurityGroupId"]
    world.ec2.delete_security_group(GroupId=group)
    world.eks.delete_cluster(name="held")
    assert world.becomes(lambda: world.shown("held")["status"], "FAILED")
    assert group in world.shown("held")["health"]["issues"][0]["message"]


def test_the_creator_is_an_administrator_unless_told_otherwise(world):
    world.cluster("alone", accessConfig={"bootstrapClusterCreatorAdminPermissions": False})
    assert world.eks.list_access_entries(clusterName="alone")["accessEntries"] == []
    assert world.eks.list_access_entries(clusterName="gpu")["accessEntries"][0] == ROOT
    policies = world.eks.list_associated_access_policies(clusterName="gpu", principalArn=ROOT)[
        "associatedAccessPolicies"
    ]
    assert [policy["policyArn"] for policy in policies] == [ADMIN]


def test_who_made_a_cluster_is_remembered_and_shown_once_it_has_access_entries(world):
    by_map = {"authenticationMode": "CONFIG_MAP"}
    world.cluster("plain", accessConfig=by_map)
    world.cluster("nobodys", accessConfig={**by_map, "bootstrapClusterCreatorAdminPermissions": False})
    clusters = world.aws.extensions.clusters
    assert (clusters["plain"].creator, clusters["nobodys"].creator) == (ROOT, "")
    world.eks.update_cluster_config(name="plain", accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"})
    assert world.eks.list_access_entries(clusterName="plain")["accessEntries"] == [ROOT]


def test_a_second_entry_for_a_principal_and_one_for_nobody_are_refused(world):
    other = "arn:aws:iam::123456789012:role/other"
    made = world.eks.create_access_entry(clusterName="gpu", principalArn=other, kubernetesGroups=["viewers"])[
        "accessEntry"
    ]
    assert made["username"] == "arn:aws:sts::123456789012:assumed-role/other/{{SessionName}}"
    with pytest.raises(ClientError, match=r"ResourceInUseException.*already in use on this cluster"):
        world.eks.create_access_entry(clusterName="gpu", principalArn=other)
    with pytest.raises(
        ClientError, match=r"InvalidParameterException.*The specified principalArn is invalid: invalid principal"
    ):
        world.eks.create_access_entry(clusterName="gpu", principalArn="arn:aws:iam::123456789012:role/nobody")
    changed = world.eks.update_access_entry(clusterName="gpu", principalArn=other, kubernetesGroups=["editors"])
    assert changed["accessEntry"]["kubernetesGroups"] == ["editors"]
    world.eks.delete_access_entry(clusterName="gpu", principalArn=other)
    with refused("ResourceNotFoundException"):
        world.eks.describe_access_entry(clusterName="gpu", principalArn=other)


def test_a_policy_is_associated_and_dissociated(world):
    principal = "arn:aws:iam::123456789012:role/control-plane"
    world.eks.create_access_entry(clusterName="gpu", principalArn=principal)
    scope = {"type": "cluster", "namespaces": []}
    named = {"clusterName": "gpu", "principalArn": principal}
    world.eks.associate_access_policy(**named, policyArn=ADMIN, accessScope=scope)
    (policy,) = world.eks.list_associated_access_policies(**named)["associatedAccessPolicies"]
    assert (policy["policyArn"], policy["accessScope"]) == (ADMIN, scope)
    world.eks.disassociate_access_policy(**named, policyArn=ADMIN)
    assert world.eks.list_associated_access_policies(**named)["associatedAccessPolicies"] == []


@pytest.mark.parametrize(
    ("policy", "scope"),
    [
        (ADMIN, {"type": "namespace", "namespaces": ["ml"]}),
        (ADMIN.replace("ClusterAdmin", "SecretReader"), {"type": "cluster"}),
    ],
)
def test_a_policy_that_no_cluster_role_carries_out_is_refused_and_never_passed_over(world, policy, scope):
    asked = {"clusterName": "gpu", "principalArn": "arn:aws:iam::123456789012:role/control-plane"}
    with refused("NotImplemented"):
        world.eks.associate_access_policy(**asked, policyArn=policy, accessScope=scope)


def test_entries_need_an_authentication_mode_with_an_api(world):
    world.cluster("old", accessConfig={"authenticationMode": "CONFIG_MAP"})
    with refused("InvalidRequestException"):
        world.eks.list_access_entries(clusterName="old")


def test_a_node_group_lives_from_creating_to_deleted(world):
    world.cluster("groups")
    assert (
        world.nodegroup("groups", scalingConfig={"minSize": 1, "maxSize": 3, "desiredSize": 1})["status"] == "CREATING"
    )
    assert world.becomes(lambda: world.group("groups")["status"], "ACTIVE")
    assert ("nodes", "system") in world.heard
    entry = world.eks.describe_access_entry(clusterName="groups", principalArn=NODE)["accessEntry"]
    assert (entry["type"], entry["kubernetesGroups"]) == ("EC2_LINUX", ["system:nodes"])
    update = world.eks.update_nodegroup_config(
        clusterName="groups",
        nodegroupName="system",
        scalingConfig={"desiredSize": 2},
        labels={"addOrUpdateLabels": {"a": "b"}},
    )["update"]["id"]
    status = {"name": "groups", "updateId": update, "nodegroupName": "system"}
    assert world.becomes(lambda: world.eks.describe_update(**status)["update"]["status"], "Successful")
    assert ("update", 2) in world.heard
    assert world.group("groups")["labels"] == {"a": "b"}
    with pytest.raises(ClientError, match=r"ResourceInUseException.*Cluster has nodegroups attached"):
        world.eks.delete_cluster(name="groups")
    world.eks.delete_nodegroup(clusterName="groups", nodegroupName="system")
    assert world.becomes(lambda: world.eks.list_nodegroups(clusterName="groups")["nodegroups"], [])
    assert ("gone", "system") in world.heard


def test_a_node_group_of_images_that_its_kubernetes_never_had_is_refused(world):
    with pytest.raises(
        ClientError, match=r"InvalidParameterException.*Requested AMI for this version 1.34 is not supp"
    ):
        world.nodegroup("gpu", "old", amiType="AL2_x86_64")
    assert world.nodegroup("gpu", "old", amiType="AL2_x86_64", version="1.32")["amiType"] == "AL2_x86_64"


def test_a_node_group_without_ready_nodes_fails_with_the_reason(world):
    world.nodegroup("gpu", "stuck")
    assert world.becomes(lambda: world.group("gpu", "stuck")["status"], "CREATE_FAILED")
    assert world.group("gpu", "stuck")["health"]["issues"][0]["message"] == "no node became Ready"


def test_an_add_on_is_recorded(world):
    world.eks.create_addon(clusterName="gpu", addonName="vpc-cni", configurationValues='{"env":{}}')
    addon = world.eks.describe_addon(clusterName="gpu", addonName="vpc-cni")["addon"]
    assert (addon["status"], addon["addonVersion"], addon["configurationValues"]) == (
        "ACTIVE",
        "v1.0.0-eksbuild.1",
        '{"env":{}}',
    )
    with refused("ResourceInUseException"):
        world.eks.create_addon(clusterName="gpu", addonName="vpc-cni")
    world.eks.delete_addon(clusterName="gpu", addonName="vpc-cni")
    assert world.eks.list_addons(clusterName="gpu")["addons"] == []


def test_a_cluster_is_updated_one_minor_at_a_time(world):
    world.cluster("older")
    with refused("InvalidParameterException"):
        world.eks.update_cluster_version(name="older", version="1.36")
    update = world.eks.update_cluster_version(name="older", version="1.35")["update"]["id"]
    assert world.becomes(
        lambda: world.eks.describe_update(name="older", updateId=update)["update"]["status"], "Successful"
    )
    assert world.shown("older")["version"] == "1.35"


def test_tags_are_kept_by_arn(world):
    arn = world.shown("gpu")["arn"]
    world.eks.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    world.eks.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert world.eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
