"""The emulated node monitoring agent: what the add-on installs, and when it calls a node broken."""

import pytest

from eks_rehearsal.cluster.monitoring import ADDON, DCGM, PATIENCE_SECONDS, daemons, look
from eks_rehearsal.diagnosis import is_elsewhere, untolerated
from eks_rehearsal.stories.repair import _why_without
from karpenter_gpu.cdk.monitoring import EVERYWHERE

GPU = {"karpenter.k8s.aws/instance-gpu-count": "1", "kubernetes.io/arch": "amd64"}
TAINTED = {"spec": {"taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]}}


@pytest.mark.parametrize(("values", "taint"), [({}, "nvidia.com/gpu:NoSchedule"), (EVERYWHERE, "")])
def test_the_gpu_part_of_the_agent_goes_on_tainted_nodes_only_as_its_configuration_says(values, taint):
    found = {one["metadata"]["name"]: one for one in daemons(values)}
    assert untolerated(found[ADDON], TAINTED) == ""
    assert untolerated(found[DCGM], TAINTED) == taint


NEWER = {
    "node.kubernetes.io/instance-type": "g9.xlarge",
    "kubernetes.io/arch": "amd64",
    "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
}


@pytest.mark.parametrize(
    ("values", "labels", "left_out"),
    [
        ({}, NEWER, True),
        ({}, {**NEWER, "node.kubernetes.io/instance-type": "g6.xlarge"}, False),
        (EVERYWHERE, NEWER, False),
        (EVERYWHERE, {**NEWER, "kubernetes.io/arch": "arm64"}, True),
        (EVERYWHERE, {"node.kubernetes.io/instance-type": "g6.xlarge", "kubernetes.io/arch": "amd64"}, False),
        (EVERYWHERE, {"node.kubernetes.io/instance-type": "m7i.xlarge", "kubernetes.io/arch": "amd64"}, True),
    ],
)
def test_the_gpu_part_of_the_agent_goes_to_types_newer_than_it_only_as_its_configuration_says(values, labels, left_out):
    _, dcgm = daemons(values)
    assert is_elsewhere(dcgm, labels) is left_out


def test_why_the_gpu_part_of_the_agent_is_missing_is_said():
    tolerant = {"dcgmAgent": {"tolerations": [{"operator": "Exists"}]}}
    for values, words in (
        ({}, "does not tolerate the taint"),
        (tolerant, "leaves out g9.xlarge"),
        (EVERYWHERE, "no more"),
    ):
        _, dcgm = daemons(values)
        assert words in _why_without(dcgm, {**TAINTED, "metadata": {"labels": NEWER}})


class Kube:
    """A node, and the pods of the agent that run on it."""

    def __init__(self, running, labels):
        self.running, self.said = running, []
        self.node = {"metadata": {"name": "ip-1", "uid": "1", "labels": labels}, "status": {"conditions": []}}

    def items(self, path, labelSelector=""):  # noqa: N803
        if path == "/api/v1/nodes":
            return [self.node]
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        app = labelSelector.partition("=")[2]
        return [{"spec": {"nodeName": "ip-1"}, "status": ready}] if app in self.running else []

    def patch_present(self, _, document, **__):
        self.said += [(one["status"], one["reason"]) for one in document["status"]["conditions"]]
        self.node["status"]["conditions"] += document["status"]["conditions"]


def told(running, labels=None, seconds=(0.0, PATIENCE_SECONDS + 1, PATIENCE_SECONDS + 2)):
    kube, since = Kube(running, GPU if labels is None else labels), {}
    for now in seconds:
        look(kube, since, now)
    return kube.said


def test_with_both_its_parts_a_gpu_node_is_well_and_that_is_said_once():
    assert told({ADDON, DCGM}) == [("True", "NvidiaAcceleratedHardwareIsReady")]


def test_without_its_gpu_part_a_node_is_called_broken_after_a_while():
    assert told({ADDON}) == [("False", "DCGMError")]
    assert told({ADDON}, seconds=(0.0, PATIENCE_SECONDS / 2)) == []


@pytest.mark.parametrize(
    ("running", "labels"), [(set(), None), ({ADDON}, {}), ({ADDON}, {**GPU, "kubernetes.io/arch": "arm64"})]
)
def test_it_says_nothing_of_nodes_without_it_without_gpus_or_of_arm64(running, labels):
    assert told(running, labels) == []
