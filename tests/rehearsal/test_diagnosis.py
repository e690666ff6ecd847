import json
from types import SimpleNamespace

import pytest

from eks_rehearsal.diagnosis import readable, useless, why

CLASSES = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"
POOLS = "/apis/karpenter.sh/v1/nodepools"
TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}


class Kube:
    def __init__(self, **lists):
        self.lists = {CLASSES: lists.get("classes", []), POOLS: lists.get("pools", [])}
        self.lists["/api/v1/nodes"] = lists.get("nodes", [])
        self.lists["/apis/apps/v1/daemonsets"] = lists.get("daemons", [])

    def items(self, path):
        return self.lists[path]


def node_class(name="gpu", **conditions):
    said = [{"type": key, "status": status, "reason": reason} for key, (status, reason) in conditions.items()]
    return {"metadata": {"name": name}, "status": {"conditions": said}}


def pool(named="gpu"):
    return {"metadata": {"name": "inference"}, "spec": {"template": {"spec": {"nodeClassRef": {"name": named}}}}}


def node(capacity=None, labels=None):
    marks = {"karpenter.sh/nodepool": "inference", "karpenter.k8s.aws/instance-gpu-count": "1", **(labels or {})}
    return {
        "metadata": {"name": "ip-1", "labels": marks},
        "spec": {"taints": [TAINT]},
        "status": {"capacity": capacity or {}},
    }


def daemon(image="nvcr.io/nvidia/k8s-device-plugin:v0.19.3", **spec):
    return {
        "metadata": {"name": "nvidia-device-plugin"},
        "spec": {"template": {"spec": {"containers": [{"image": image}], **spec}}},
    }


def reason(*, trouble="", refusals=None, broken="", said=(), denied=(), **lists):
    plane = SimpleNamespace(name="gpu", kube=Kube(**lists), check=lambda: broken)
    pods = SimpleNamespace(trouble=lambda: trouble, said=lambda words: [line for line in said if words in line])
    account = SimpleNamespace(
        pods={"gpu": pods},
        nodes=SimpleNamespace(refusals=refusals or {}),
        aws=SimpleNamespace(region="eu-west-1", authorization=SimpleNamespace(denied=denied)),
    )
    return why(account, plane)


def test_a_cluster_in_which_nothing_is_wrong_has_no_reason():
    assert (
        reason(classes=[node_class(Ready=("True", "Ready"))], pools=[pool()], nodes=[node({"nvidia.com/gpu": "1"})])
        == ""
    )


def test_a_control_plane_that_ended_comes_before_all_else():
    assert reason(broken="etcd ended", trouble="a") == "the control plane is broken: etcd ended"


def test_a_controller_that_ends_again_and_again_is_the_reason_with_its_last_words():
    assert reason(trouble="panic: b") == "Karpenter's controller cannot run: panic: b"


def test_what_iam_denied_comes_before_what_came_of_it():
    assert (
        reason(denied=["role may not ec2:CreateFleet on fleet"], trouble="a") == "role may not ec2:CreateFleet on fleet"
    )


def test_a_pool_whose_class_is_not_there_is_named_with_it():
    assert reason(pools=[pool("no-gpu")], classes=[node_class()]) == (
        "NodePool inference names EC2NodeClass 'no-gpu', which is not there"
    )


def test_a_class_that_is_not_ready_says_which_condition_and_why():
    said = reason(classes=[node_class(SubnetsReady=("False", "NoSubnets"), Ready=("False", "NoSubnets"))])
    assert said == "EC2NodeClass gpu is not ready: SubnetsReady: NoSubnets"


@pytest.mark.parametrize("status", [("False", "AwaitingReconciliation"), ("Unknown", "x"), ("True", "x")])
def test_a_class_that_karpenter_has_not_looked_at_yet_is_no_reason(status):
    assert reason(classes=[node_class(SubnetsReady=status)]) == ""


def test_an_instance_that_was_turned_away_is_the_reason():
    assert reason(refusals={"i-1": "instance i-1 may not enter"}) == "instance i-1 may not enter"


def test_a_node_whose_gpus_are_not_seen_says_that_it_bills():
    assert "is up, bills and is of no use" in reason(nodes=[node()])


def test_a_pool_of_which_the_region_has_nothing_is_named_with_the_region():
    words = "skipping, nodepool requirements filtered out all instance types"
    line = json.dumps({"level": "INFO", "message": words, "NodePool": {"name": "inference"}})
    assert reason(said=[line]).startswith("NodePool inference allows no instance type that eu-west-1 has in the zones")


def test_a_useless_node_without_any_plugin_in_the_cluster():
    assert useless(Kube(), node()).endswith("the cluster has no DaemonSet of NVIDIA's device plugin")


def test_another_daemonset_is_not_taken_for_the_device_plugin():
    assert "no DaemonSet" in useless(Kube(daemons=[daemon("fluentd")]), node())


@pytest.mark.parametrize(
    "toleration",
    [
        {"operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "value": "true"},
    ],
)
def test_a_plugin_that_tolerates_the_taint_is_not_blamed_for_it(toleration):
    assert "tolerate" not in useless(Kube(daemons=[daemon(tolerations=[toleration])]), node())


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "gpu", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "value": "no"},
        {"operator": "Exists", "effect": "NoExecute"},
    ],
)
def test_a_plugin_that_does_not_tolerate_the_taint_is_blamed_by_name(toleration):
    said = useless(Kube(daemons=[daemon(tolerations=[toleration])]), node())
    assert said.endswith("DaemonSet nvidia-device-plugin does not tolerate its taint nvidia.com/gpu:NoSchedule")


def test_a_plugin_that_wants_a_label_the_node_has_not_is_blamed_for_that():
    plugin = daemon(tolerations=[{"operator": "Exists"}], nodeSelector={"accelerator": "nvidia"})
    assert useless(Kube(daemons=[plugin]), node()).endswith(
        "wants the label accelerator=nvidia, which the node has not"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"level":"ERROR","error":"no leases"}', "no leases"),
        ('{"level":"INFO","message":"bye"}', "bye"),
        (
            "panic: operation error STS: X, api error AccessDenied: Not authorized to assume",
            "AccessDenied: Not authorized to assume",
        ),
        ("plain words", "plain words"),
    ],
)
def test_a_line_of_the_log_is_reduced_to_its_point(line, said):
    assert readable(line) == said
