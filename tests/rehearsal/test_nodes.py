import base64
import threading
import time

import pytest

from karpenter_gpu.rehearsal.cluster import nodes as module
from karpenter_gpu.rehearsal.cluster.nodes import Nodes

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

    def boot(user_data):
        nodes = Nodes(lambda: Aws(user_data), {})
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


def test_user_data_of_no_known_family_is_why_there_is_no_node(launched):
    assert "so no node can come of it" in launched("echo hello").refusals["i-1"]


def test_broken_user_data_is_why_there_is_no_node_and_ends_no_thread(launched):
    assert "i-1" in launched("kind: NodeConfig\nspec: [").refusals


def test_an_instance_that_is_terminated_is_refused_no_longer(launched):
    nodes = launched(BOOTSTRAP)
    nodes.terminated("i-1")
    time.sleep(0.1)
    assert nodes.refusals == {}
