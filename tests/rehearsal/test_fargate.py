"""Fargate: which pods its webhook takes, against an EKS that has profiles; and what EKS says of profiles."""

import base64
import json
import threading
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.hooks import Hooks
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.cluster import fargate as module
from eks_rehearsal.cluster.fargate import SCHEDULER, Fargate
from eks_rehearsal.cluster.kube import ApiError
from tests.until import until

ROLE = "arn:aws:iam::123456789012:role/pods"
MAIN = {"namespace": "main"}
LABELLED = {"namespace": "by-*", "labels": {"app": "web-?", "tier": "*"}}


def trust(service):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": f"{service}.amazonaws.com"}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class World:
    """An account with a VPC of a public and a private subnet, and what the hooks were told."""

    def __init__(self, aws):
        self.aws, self.eks, self.heard, self.gate = aws, aws.client("eks"), [], threading.Event()
        self.gate.set()
        ec2 = self.ec2 = aws.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        self.private, self.public = (
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{n}.0/24", AvailabilityZone="us-east-1a")["Subnet"][
                "SubnetId"
            ]
            for n in (0, 1)
        )
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        ec2.associate_route_table(RouteTableId=table, SubnetId=self.public)
        for name, service in (("pods", "eks-fargate-pods"), ("other", "ec2"), ("plane", "eks")):
            aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))

    def cluster(self, name, mode="API"):
        self.eks.create_cluster(
            name=name,
            version="1.36",
            roleArn="arn:aws:iam::123456789012:role/plane",
            resourcesVpcConfig={"subnetIds": [self.private, self.public]},
            accessConfig={"authenticationMode": mode},
        )
        assert until(lambda: self.eks.describe_cluster(name=name)["cluster"]["status"] == "ACTIVE", 5)
        return name

    def profile(self, cluster, name="p", *, wait=True, **more):
        asked = {"podExecutionRoleArn": ROLE, "subnets": [self.private], "selectors": [MAIN], **more}
        self.eks.create_fargate_profile(clusterName=cluster, fargateProfileName=name, **asked)
        if wait:
            self.becomes(cluster, name, "ACTIVE")
        return self.shown(cluster, name)

    def shown(self, cluster, name="p"):
        return self.eks.describe_fargate_profile(clusterName=cluster, fargateProfileName=name)["fargateProfile"]

    def becomes(self, cluster, name, status):
        assert until(lambda: self.shown(cluster, name)["status"] == status, 5)

    def names(self, cluster):
        return self.eks.list_fargate_profiles(clusterName=cluster)["fargateProfileNames"]


@pytest.fixture(scope="module")
def world():
    hooks = Hooks()
    with EmulatedAws(region="us-east-1", hooks=hooks) as aws:
        made = World(aws)

        def begin(cluster, profile):
            made.heard.append(("begins", cluster, profile["fargateProfileName"]))
            made.gate.wait(5)
            if profile["fargateProfileName"] == "stuck":
                raise RuntimeError("no webhook")

        hooks.create_fargate_profile = begin
        hooks.delete_fargate_profile = lambda cluster, profile: made.heard.append(
            ("ends", cluster, profile["fargateProfileName"])
        )
        yield made


# What EKS says


def test_a_profile_lives_from_creating_to_deleted_and_holds_its_cluster(world):
    world.cluster("lives")
    world.gate.clear()
    assert world.profile("lives", wait=False)["status"] == "CREATING"
    world.gate.set()
    world.becomes("lives", "p", "ACTIVE")
    assert (world.shown("lives")["selectors"], world.names("lives")) == ([MAIN], ["p"])
    with pytest.raises(ClientError, match=r"ResourceInUseException.*Cluster has Fargate profiles attached"):
        world.eks.delete_cluster(name="lives")
    world.eks.delete_fargate_profile(clusterName="lives", fargateProfileName="p")
    assert until(lambda: world.names("lives") == [], 5)
    assert [what for what, cluster, _ in world.heard if cluster == "lives"] == ["begins", "ends"]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        world.shown("lives")


def test_profiles_come_and_go_one_at_a_time(world):
    world.cluster("one")
    world.gate.clear()
    world.profile("one", "first", wait=False)
    with pytest.raises(
        ClientError, match=r"ResourceInUseException.*currently has Fargate profile first in status CREA"
    ):
        world.profile("one", "second")
    with pytest.raises(ClientError, match="ResourceInUseException"):
        world.eks.delete_fargate_profile(clusterName="one", fargateProfileName="first")
    world.gate.set()
    world.becomes("one", "first", "ACTIVE")
    world.profile("one", "second")
    with pytest.raises(ClientError, match=r"ResourceInUseException.*already exists with this name"):
        world.profile("one", "second")


def test_a_profile_that_does_not_begin_says_why(world):
    world.cluster("fails")
    world.profile("fails", "stuck", wait=False)
    world.becomes("fails", "stuck", "CREATE_FAILED")
    assert world.shown("fails", "stuck")["health"]["issues"][0]["message"] == "no webhook"


def test_the_role_of_the_pods_is_let_in_by_an_entry_where_there_are_entries(world):
    world.profile(world.cluster("entries"))
    entry = world.eks.describe_access_entry(clusterName="entries", principalArn=ROLE)["accessEntry"]
    assert (entry["type"], entry["username"]) == ("FARGATE_LINUX", "system:node:{{SessionName}}")
    world.profile(world.cluster("map", "CONFIG_MAP"))
    assert ROLE not in world.aws.extensions.clusters["map"].entries


@pytest.mark.parametrize("role", ["other", "nobody"])
def test_a_role_that_fargate_may_not_take_is_refused(world, role):
    world.cluster(f"role-{role}")
    with pytest.raises(ClientError, match=r"InvalidParameterException.*Misconfigured PodExecutionRole Trust Policy"):
        world.profile(f"role-{role}", podExecutionRoleArn=ROLE.replace("pods", role))


def test_a_public_subnet_is_refused_and_of_a_clusters_own_only_private_ones_are_taken(world):
    world.cluster("subnets")
    with pytest.raises(
        ClientError, match=rf"InvalidParameterException.*{world.public} provided in Fargate Profile is not"
    ):
        world.profile("subnets", subnets=[world.private, world.public])
    assert world.profile("subnets", subnets=[])["subnets"] == [world.private]


# Which pods it takes


class Cluster:
    """An API server that keeps nodes, pods and bindings."""

    name, server, authority, authority_base64 = "taken", "https://127.0.0.1:1", None, "Q0E="

    def __init__(self):
        self.kube, self.nodes, self.there, self.bound, self.refuses = self, {}, {}, {}, 0

    def find(self, path):
        return self.there.get(path)

    def get(self, path):
        return {"gitVersion": "v1.36.4"}

    def items(self, path, **_):
        return list(self.there.values()) if path.endswith("pods") else list(self.nodes.values())

    def create(self, path, document):
        if path.endswith("/binding"):
            pod = self.there[path.removesuffix("/binding")]
            pod["spec"]["nodeName"] = self.bound[pod["metadata"]["name"]] = document["target"]["name"]
            return
        if self.refuses:
            self.refuses -= 1
            raise ApiError(SimpleNamespace(status_code=401, json=lambda: {"message": "Unauthorized"}, text=""))
        self.nodes[document["metadata"]["name"]] = document

    def delete(self, path):
        if path in self.there:
            self.ends(self.there.pop(path))
        else:
            self.nodes.pop(path.rpartition("/")[2], None)

    def pod(self, name, **spec):
        pod = {
            "metadata": {
                "name": name,
                "namespace": "main",
                "uid": f"00000000-0000-0000-0000-{len(self.there):012}",
                "labels": {module.PROFILE_LABEL: "p"},
            },
            "spec": {"schedulerName": SCHEDULER, **spec},
            "status": {"phase": "Pending"},
        }
        self.there[f"/api/v1/namespaces/main/pods/{name}"] = pod
        return pod


@pytest.fixture(scope="module")
def profiles(world):
    world.cluster("taken")
    world.profile("taken")
    world.profile("taken", "labelled", selectors=[LABELLED])
    world.profile("taken", "a", selectors=[{"namespace": "ma*", "labels": {"app": "first"}}])


@pytest.fixture
def cluster(world, profiles, monkeypatch):
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.02)
    made = Cluster()
    monkeypatch.setattr(module, "Kube", lambda *_, **__: made)
    made.fargate = Fargate(made, world.aws, {})
    made.ends = lambda pod: made.fargate._seen("DELETED", pod)
    return made


def reviewed(cluster, namespace, labels=None, owner="ReplicaSet"):
    """What the webhook does to a pod: its scheduler and its profile, or nothing."""
    metadata = {"ownerReferences": [{"kind": owner}], **({"labels": labels} if labels else {})}
    request = {"uid": "u", "namespace": namespace, "object": {"metadata": metadata, "spec": {}}}
    answer = cluster.fargate.reviewed(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    )
    response = answer["response"]
    assert (response["uid"], response["allowed"]) == ("u", True)
    patch = {one["path"]: one["value"] for one in json.loads(base64.b64decode(response.get("patch", "W10=")))}
    profile = patch.get("/metadata/labels", {}).pop(module.PROFILE_LABEL, "")
    assert patch.get("/metadata/labels", labels or {}) == (labels or {})
    assert patch.get("/spec/schedulerName", "") == (SCHEDULER if profile else "")
    return profile


@pytest.mark.parametrize(
    ("namespace", "labels", "profile"),
    [
        ("main", None, "p"),
        ("main", {"app": "x"}, "p"),
        ("main", {"app": "first"}, "a"),
        ("mainly", None, ""),
        ("by-night", {"app": "web-1", "tier": ""}, "labelled"),
        ("by-night", {"app": "web-1"}, ""),
        ("by-night", {"app": "web-10", "tier": "x"}, ""),
        ("default", None, ""),
    ],
)
def test_a_pod_goes_to_fargate_by_the_first_profile_whose_namespace_and_labels_are_its_own(
    cluster, namespace, labels, profile
):
    assert reviewed(cluster, namespace, labels) == profile


def test_a_profile_takes_no_pod_before_it_is_active(cluster, world):
    world.gate.clear()
    world.profile("taken", "later", wait=False, selectors=[{"namespace": "later"}])
    assert reviewed(cluster, "later") == ""
    world.gate.set()
    world.becomes("taken", "later", "ACTIVE")
    assert reviewed(cluster, "later") == "later"


def test_a_pod_of_a_daemon_set_stays_with_its_node(cluster):
    assert reviewed(cluster, "main", owner="DaemonSet") == ""


def test_a_pod_gets_a_node_of_its_own_that_no_other_comes_to(cluster):
    one, two = cluster.pod("one"), cluster.pod("two")
    for pod in (one, two):
        cluster.fargate._seen("ADDED", pod)
    assert until(lambda: len(cluster.bound) == 2, 5)
    assert set(cluster.bound.values()) == set(cluster.nodes)
    node = cluster.nodes[cluster.bound["one"]]
    assert node["metadata"]["name"] == "fargate-ip-10-9-0-4.us-east-1.compute.internal"
    assert node["spec"]["taints"] == [
        {"key": "eks.amazonaws.com/compute-type", "value": "fargate", "effect": "NoSchedule"}
    ]
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "us-east-1a"


def test_a_pod_of_another_scheduler_or_with_a_node_is_let_be(cluster):
    cluster.fargate._seen("ADDED", cluster.pod("one", schedulerName="default-scheduler"))
    cluster.fargate._seen("ADDED", cluster.pod("two", nodeName="there"))
    assert (cluster.bound, cluster.nodes, cluster.fargate._taken) == ({}, {}, set())


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "deleted"])
def test_the_node_goes_with_its_pod(cluster, phase):
    pod = cluster.pod("one")
    cluster.fargate._seen("ADDED", pod)
    assert until(lambda: cluster.bound, 5)
    ended = {**pod, "status": {"phase": phase}}
    cluster.fargate._seen("DELETED" if phase == "deleted" else "MODIFIED", ended)
    assert cluster.nodes == {}


def test_the_end_of_a_profile_is_the_end_of_its_pods_and_their_nodes(cluster):
    cluster.fargate._seen("ADDED", cluster.pod("one"))
    assert until(lambda: cluster.bound, 5)
    cluster.fargate.end("p")
    assert (cluster.there, cluster.nodes) == ({}, {})


def test_a_role_that_is_not_let_in_is_why_there_is_no_node_and_it_is_tried_again(cluster):
    cluster.refuses = 10
    cluster.fargate._seen("ADDED", cluster.pod("one"))
    assert until(lambda: cluster.fargate._refusals, 5)
    (why,) = cluster.fargate._refusals.values()
    assert why == (
        f"pod one has no Fargate node: the pod execution role {ROLE} has no access entry in cluster taken, nor an aws-auth "
        "mapping that counts"
    )
    assert until(lambda: cluster.bound and not cluster.fargate._refusals, 5)


def test_a_pod_that_is_gone_is_not_waited_for(cluster):
    cluster.refuses = 10**6
    pod = cluster.pod("one")
    cluster.fargate._seen("ADDED", pod)
    assert until(lambda: cluster.fargate._refusals, 5)
    cluster.there.clear()
    assert until(lambda: not cluster.fargate._refusals, 5)
