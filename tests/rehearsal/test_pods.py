from types import SimpleNamespace

import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPES

from eks_rehearsal.cluster.device_plugin import gpu_count
from eks_rehearsal.cluster.nodes import _capacity
from eks_rehearsal.cluster.pods import Controller, Pods, _environment
from eks_rehearsal.errors import RehearsalError
from tests.until import until

POD = {"metadata": {"namespace": "kube-system", "name": "karpenter-1"}, "spec": {"nodeName": "ip-1"}}


def environment(*variables, **limits):
    container = {"env": list(variables), "resources": {"limits": limits}}
    return dict(_environment(POD, container))


def test_a_container_has_the_variables_that_its_pod_names():
    assert environment({"name": "CLUSTER_NAME", "value": "gpu"}) == {"CLUSTER_NAME": "gpu"}


@pytest.mark.parametrize(("path", "value"), [("metadata.namespace", "kube-system"), ("spec.nodeName", "ip-1")])
def test_a_variable_may_be_a_field_of_the_pod(path, value):
    assert environment({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}) == {"X": value}


@pytest.mark.parametrize(
    ("limit", "divisor", "value"),
    [("1Gi", "0", "1073741824"), ("1Gi", "1", "1073741824"), ("2Gi", "1Mi", "2048"), ("2", "1", "2")],
)
def test_a_variable_may_be_a_limit_in_the_unit_it_asks_for(limit, divisor, value):
    reference = {"resource": "limits.memory", "divisor": divisor}
    assert environment({"name": "X", "valueFrom": {"resourceFieldRef": reference}}, memory=limit) == {"X": value}


def test_gpus_of_another_maker_are_not_counted():
    gpus = [{"Manufacturer": "NVIDIA", "Count": 4}, {"Manufacturer": "AMD", "Count": 2}]
    assert gpu_count({"GpuInfo": {"Gpus": gpus}}) == 4
    assert gpu_count({}) == 0


def test_a_part_of_a_gpu_is_seen_as_one():
    assert gpu_count(INSTANCE_TYPES["g6f.large"]) == 1


def test_a_node_has_the_capacity_of_its_instance_type():
    kind = {
        "VCpuInfo": {"DefaultVCpus": 4},
        "MemoryInfo": {"SizeInMiB": 16384},
        "NetworkInfo": {"MaximumNetworkInterfaces": 3, "Ipv4AddressesPerInterface": 10},
    }
    assert dict(_capacity(kind)) == {"cpu": "4", "memory": "15155Mi", "ephemeral-storage": "100Gi", "pods": "29"}


def controllers(*made):
    pods = Pods(None, None, None, None, {}, "")
    pods.controllers = {str(at): Controller("n", "c", {}, **one) for at, one in enumerate(made)}
    return pods


def runs(image, **built):
    """The program that an image runs as, and what is noted of it when it runs twice."""
    pods = Pods(None, None, None, built, {}, "")
    programs = {pods._program(image) for _ in range(2)}
    return programs.pop(), pods.notes


@pytest.mark.parametrize(
    "image", ["public.ecr.aws/karpenter/controller:1.14.1", "x/karpenter/controller:1.14.1@sha256:0f"]
)
def test_an_image_runs_as_the_program_of_its_tag(image):
    assert runs(image, **{"1.14.3": "own", "1.14.1": "other"}) == ("other", [])


@pytest.mark.parametrize(
    "image", ["x/karpenter/controller:1.14.2", "x/karpenter/controller@sha256:0f", "x/sidecar:1.14.1"]
)
def test_an_image_whose_program_was_not_built_runs_as_the_stacks_and_that_is_noted_once(image):
    program, (note,) = runs(image, **{"1.14.3": "own", "1.14.1": "other"})
    assert program == "own"
    assert note == f"the image {image} ran as that of Karpenter 1.14.3: no program was built for its tag"


def test_a_controller_that_is_gone_tells_nothing_about_itself():
    assert controllers({}).metrics("gone") == ""


def test_a_controller_that_ended_once_is_no_trouble():
    assert controllers({"in_a_row": 1, "last_words": "a"}).trouble() == ""


def test_controllers_that_end_again_and_again_are_trouble_with_their_last_words():
    assert controllers({"in_a_row": 0}, {"in_a_row": 2, "last_words": "panic"}).trouble() == "panic"


def test_while_one_controller_is_ready_another_that_ends_is_none():
    assert controllers({"ready": True}, {"in_a_row": 9, "last_words": "panic"}).trouble() == ""


def test_a_pod_that_the_api_server_does_not_remove_at_first_is_removed_later(monkeypatch):
    ended, answers = Ended(), [RehearsalError("busy"), None]
    monkeypatch.setattr("eks_rehearsal.cluster.pods.LOOK_AGAIN_SECONDS", 0)

    def removed(*_):
        if answer := answers.pop(0):
            raise answer

    ended.pods.plane.kube.ended = removed
    ended.pods._remove({"metadata": {**POD["metadata"], "uid": "1"}})
    assert answers == []


class Ended:
    """A cluster and a process that note what is done to them, in order."""

    def __init__(self):
        self.done = []
        kube = SimpleNamespace(ended=lambda path, uid: self.done.append(("removed", path, uid)))
        self.pods = Pods(SimpleNamespace(kube=kube), None, None, {}, {}, "")
        self.process = SimpleNamespace(stop=lambda grace: self.done.append(("stopped", grace)))

    def told(self, kind="MODIFIED", **metadata):
        pod = {"metadata": {**POD["metadata"], "uid": "1", "deletionTimestamp": "now", **metadata}, "spec": POD["spec"]}
        self.pods._controller(kind, "1", pod, gone=True)


REMOVED = ("removed", "/api/v1/namespaces/kube-system/pods/karpenter-1", "1")


@pytest.mark.parametrize(("kind", "grace"), [("MODIFIED", 12.0), ("DELETED", 0)])
def test_a_pod_goes_when_its_process_has_ended_within_the_grace_that_it_has(kind, grace):
    ended = Ended()
    pod = {"metadata": {**POD["metadata"], "uid": "1"}}
    controller = ended.pods.controllers["1"] = Controller("kube-system", "karpenter-1", pod, process=ended.process)
    ended.told(kind, deletionGracePeriodSeconds=12)
    ended.pods._live(controller)
    assert ended.done == [("stopped", grace), REMOVED]


def test_a_pod_that_never_started_goes_at_once_and_is_removed_once():
    ended = Ended()
    ended.told()
    ended.told()
    assert until(lambda: ended.done, seconds=5)
    assert ended.done == [REMOVED]
