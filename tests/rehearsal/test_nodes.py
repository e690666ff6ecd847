import base64
import json
import threading
import time
from types import SimpleNamespace

import pytest
import yaml

from eks_rehearsal.cluster import nodes as module
from eks_rehearsal.cluster.kube import ApiError
from eks_rehearsal.cluster.nodes import Nodes

BOOTSTRAP = "#!/bin/bash\n/etc/eks/bootstrap.sh 'elsewhere' --apiserver-endpoint 'https://x' --kubelet-extra-args '--node-labels=\"a=b\"'"


class Aws:
    """An EC2 of one instance with some user data, and no instance profile."""

    region = "us-east-1"

    def __init__(self, user_data):
        self.user_data = user_data

    def client(self, service):
        assert service == "ec2"
        return self

    def describe_instances(self, InstanceIds):  # noqa: N803
        return {"Reservations": [{"Instances": [{"InstanceId": InstanceIds[0], "PrivateDnsName": "ip-1"}]}]}

    def describe_instance_attribute(self, InstanceId, Attribute):  # noqa: N803
        return {"UserData": {"Value": base64.b64encode(self.user_data.encode()).decode()}}


@pytest.fixture
def launched(monkeypatch):
    """Boots an instance with user data; its refusal, and what ends it."""
    monkeypatch.setattr(module, "JOIN_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(module, "NODE_GONE_SECONDS", 0.0)
    started = []

    def boot(user_data, **clusters):
        nodes = Nodes(lambda: Aws(user_data), clusters)
        thread = threading.Thread(target=nodes.launched, args=("i-1",))
        thread.start()
        started.append((nodes, thread))
        end = time.monotonic() + 5
        while "i-1" not in nodes.refusals and time.monotonic() < end:
            time.sleep(0.01)
        return nodes

    yield boot
    for nodes, thread in started:
        nodes.terminated("i-1")
        thread.join(5)
        assert not thread.is_alive()


def test_an_instance_of_a_cluster_that_is_not_there_says_so(launched):
    assert launched(BOOTSTRAP).refusals["i-1"] == "the user data of i-1 names cluster 'elsewhere', which is not there"


def test_an_instance_that_would_ask_another_api_server_says_so(launched):
    nodes = launched(
        BOOTSTRAP, elsewhere=SimpleNamespace(server="https://y", kube=SimpleNamespace(items=lambda *_, **__: []))
    )
    assert nodes.refusals["i-1"] == "the user data of i-1 names API server https://x, not https://y"


def test_user_data_of_no_known_family_is_why_there_is_no_node(launched):
    assert "so no node can come of it" in launched("echo hello").refusals["i-1"]


def test_broken_user_data_is_why_there_is_no_node_and_ends_no_thread(launched):
    assert "i-1" in launched("kind: NodeConfig\nspec: [").refusals


def test_an_instance_that_is_terminated_is_refused_no_longer(launched):
    nodes = launched(BOOTSTRAP)
    nodes.terminated("i-1")
    time.sleep(0.1)
    assert nodes.refusals == {}


class Machines:
    """The API server of a cluster with two nodes and a pod on each."""

    def __init__(self):
        self.calls = []

    def items(self, path, **query):
        if path == "/api/v1/nodes":
            return [{"metadata": {"name": f"ip-{n}"}, "spec": {"providerID": f"aws:///a/i-{n}"}} for n in (1, 2)]
        name = query["fieldSelector"].removeprefix("spec.nodeName=")
        return [{"metadata": {"namespace": "kube-system", "name": f"karpenter-on-{name}"}}]

    def patch_present(self, path, document, **_):
        self.calls.append((path, document["spec"]["taints"][0]["effect"]))

    def delete(self, path):
        self.calls.append(path)


def test_what_runs_on_an_instance_ends_with_it_before_its_node_is_gone_and_nothing_else_does(monkeypatch):
    monkeypatch.setattr(module, "NODE_GONE_SECONDS", 0.0)
    kube = Machines()
    Nodes(lambda: Aws(""), {"gpu": SimpleNamespace(kube=kube)}).terminated("i-1")
    assert kube.calls == [
        ("/api/v1/nodes/ip-1", "NoSchedule"),
        "/api/v1/namespaces/kube-system/pods/karpenter-on-ip-1?gracePeriodSeconds=0",
        "/api/v1/nodes/ip-1",
    ]


# aws-auth

ROLE = "arn:aws:iam::123456789012:role/nodes"
ENTRY = {
    "groups": ["system:bootstrappers", "system:nodes"],
    "rolearn": ROLE,
    "username": "system:node:{{EC2PrivateDNSName}}",
}
OTHER = {"rolearn": f"{ROLE}-of-others", "username": "other", "groups": []}
BY_PEOPLE = "# by hand\n- rolearn: " + OTHER["rolearn"] + "\n  username:   other\n  groups: []\n"


class Map:
    """The aws-auth of a cluster, into which others write `meanwhile`, each once, after we have read it."""

    def __init__(self, roles=None, meanwhile=()):
        self.roles, self.version, self.meanwhile = roles, 1, list(meanwhile)
        self.kube = self

    def client(self, _):
        return self

    def describe_cluster(self, name):
        return {"cluster": {"accessConfig": {"authenticationMode": "CONFIG_MAP"}}}

    def find(self, path):
        assert path.endswith("/kube-system/configmaps/aws-auth")
        found = None
        if self.roles is not None:
            found = {"metadata": {"resourceVersion": str(self.version)}, "data": {"mapRoles": self.roles}}
        if self.meanwhile:
            self.write(self.meanwhile.pop(0))
        return found

    def write(self, roles):
        self.roles, self.version = roles, self.version + 1

    def refuse(self, reason):
        said = {"reason": reason, "message": reason}
        raise ApiError(SimpleNamespace(status_code=409, json=lambda: said, text=""))

    def create(self, path, document):
        if self.roles is not None:
            self.refuse("AlreadyExists")
        self.write(document["data"]["mapRoles"])

    def patch(self, path, document):
        if document["metadata"]["resourceVersion"] != str(self.version):
            self.refuse("Conflict")
        self.write(document["data"]["mapRoles"])

    def map_role(self, role=ROLE):
        """What is in aws-auth when EKS has let a node group's role in."""
        Nodes(lambda: self, {"gpu": self}).map_role("gpu", role, module.NODES_OF_EC2)
        return yaml.safe_load(self.roles)


def test_a_groups_role_is_let_in_without_its_path_by_an_aws_auth_that_is_made_for_it():
    assert Map().map_role(ROLE.replace("role/", "role/path/to/")) == [ENTRY]


@pytest.mark.parametrize("there", [BY_PEOPLE, BY_PEOPLE.rstrip()])
def test_what_people_wrote_into_aws_auth_stays_as_it_is(there):
    world = Map(there)
    assert world.map_role() == [OTHER, ENTRY]
    assert world.roles.startswith(there)


def test_a_role_is_not_taken_for_another_whose_name_begins_alike():
    assert Map(json.dumps([OTHER])).map_role() == [OTHER, ENTRY]


def test_a_role_that_is_let_in_already_is_let_be():
    world = Map(json.dumps([OTHER, {**ENTRY, "groups": ["system:nodes"]}]))
    before = world.roles
    world.map_role()
    assert world.roles == before


@pytest.mark.parametrize("before", [None, BY_PEOPLE])
def test_what_is_written_meanwhile_as_by_the_cdks_aws_auth_is_not_written_over(before):
    third = {**OTHER, "rolearn": f"{ROLE}-of-a-third"}
    assert Map(before, [json.dumps([OTHER, third])]).map_role() == [OTHER, third, ENTRY]
    assert Map(before, [json.dumps([OTHER, ENTRY])]).map_role() == [OTHER, ENTRY]
