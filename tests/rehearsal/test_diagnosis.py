import json
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from eks_rehearsal.diagnosis import NOTHING_LEFT, denied, readable, step, useless, why

CLASSES = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"
POOLS = "/apis/karpenter.sh/v1/nodepools"
TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}


class Kube:
    def __init__(self, **lists):
        self.lists = {CLASSES: lists.get("classes", []), POOLS: lists.get("pools", [])}
        self.lists["/api/v1/nodes"] = lists.get("nodes", [])
        self.lists["/apis/apps/v1/daemonsets"] = lists.get("daemons", [])
        self.lists["/apis/apps/v1/replicasets"] = lists.get("replicas", [])
        self.lists["/api/v1/pods"] = lists.get("pods", [])
        self.lists["/api/v1/events"] = lists.get("events", [])
        self.lists["/apis/karpenter.sh/v1/nodeclaims"] = lists.get("claims", [])
        self.lists["/apis/karpenter.sh/v1alpha1/nodeoverlays"] = lists.get("overlays", [])

    def items(self, path):
        return self.lists.get(path, [])


def node_class(name="gpu", **conditions):
    said = [{"type": key, "status": status, "reason": reason} for key, (status, reason) in conditions.items()]
    return {"metadata": {"name": name}, "status": {"conditions": said}}


def pool(named="gpu", labels=None, requirements=()):
    spec = {"nodeClassRef": {"name": named}, "requirements": list(requirements)}
    template = {"metadata": {"labels": labels or {}}, "spec": spec}
    return {"metadata": {"name": "inference"}, "spec": {"template": template}}


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


def reason(*, trouble="", refusals=None, broken="", said=(), no_capacity=(), by_iam=(), **lists):
    plane = SimpleNamespace(name="gpu", kube=Kube(**lists), check=lambda: broken)
    pods = SimpleNamespace(
        controllers={}, trouble=lambda: trouble, log_lines=lambda words: [line for line in said if words in line]
    )
    account = SimpleNamespace(
        pods={"gpu": pods},
        nodes=SimpleNamespace(refusals=refusals or {}),
        aws=SimpleNamespace(region="eu-west-1", authorization=SimpleNamespace(denied=by_iam)),
        hooks=SimpleNamespace(no_capacity=no_capacity),
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


@pytest.mark.parametrize(("count", "waits"), [(2, True), (3, False)])
def test_what_iam_denies_again_and_again_is_not_waited_for(count, waits):
    said = {"role may not a:B on *": 7}
    account = SimpleNamespace(aws=SimpleNamespace(authorization=SimpleNamespace(denied=said)))
    look = denied(account)
    said["role may not c:D on *"] = count
    assert list(look(account, None)) == ([] if waits else ["role may not c:D on *"])


def test_what_iam_denied_comes_before_what_came_of_it():
    assert (
        reason(by_iam=["role may not ec2:CreateFleet on fleet"], trouble="a") == "role may not ec2:CreateFleet on fleet"
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
    assert reason(said=[line], pools=[pool()], classes=[node_class(Ready=("True", ""))]).startswith(
        "NodePool inference allows no instance type that eu-west-1 has in the zones"
    )


READY = {"classes": [node_class(Ready=("True", "Ready"))], "pools": [pool()]}


def ago(seconds):
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def log(message="Reconciler error", seconds=1, **more):
    return json.dumps({"level": "ERROR", "time": ago(seconds), "message": message, **more})


def test_a_pool_whose_label_and_requirement_exclude_each_other_is_told_both():
    arch = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}
    line = json.dumps({"message": NOTHING_LEFT, "NodePool": {"name": "inference"}})
    broken = pool(labels={"kubernetes.io/arch": "arm64"}, requirements=[arch])
    assert reason(said=[line], pools=[broken], classes=READY["classes"]) == (
        "NodePool inference contradicts itself: no node can have both the label kubernetes.io/arch=arm64 and the requirement "
        "kubernetes.io/arch=amd64"
    )


NO_ROLE = (
    "creating instance profile, operation error IAM: AddRoleToInstanceProfile, https response error StatusCode: 404, "
    "RequestID: pBE7nAC6, NoSuchEntity: Role no-such not found (aws-operation-name=AddRoleToInstanceProfile)"
)


def test_a_class_that_only_the_log_says_the_fault_of_is_told_with_it():
    lines = [log(controllerKind="EC2NodeClass", name="gpu", error=NO_ROLE)] * 3
    classes = [node_class(InstanceProfileReady=("Unknown", "AwaitingReconciliation"), Ready=("Unknown", ""))]
    said = reason(said=lines, classes=classes, pools=[pool()])
    assert said == "EC2NodeClass gpu is not ready: NoSuchEntity: Role no-such not found"


@pytest.mark.parametrize(
    "lines",
    [
        [log(controllerKind="EC2NodeClass", name="gpu", error=NO_ROLE)] * 2,
        [log(controllerKind="EC2NodeClass", name="gpu", error=NO_ROLE, seconds=90)] * 9,
        [log(controllerKind="NodeClaim", name="a", error="the object has been modified; try again")] * 9,
        [log(controller="state.pricing", error="refreshing pricing info, no subnets found")] * 9,
        [log(controller="cloudprovider.metrics", error="no subnets found")] * 9,
    ],
    ids=["seldom", "long ago", "a conflict", "prices before there is a class", "metrics before there is a class"],
)
def test_what_the_next_attempt_mends_is_no_reason(lines):
    assert reason(said=lines, **READY) == ""


def test_whatever_karpenter_fails_at_again_and_again_is_the_last_reason():
    lines = [log(controller="pricing", error="api error AccessDenied: no GetProducts")] * 3
    assert reason(said=lines, **READY) == "Karpenter fails at pricing again and again: AccessDenied: no GetProducts"


def claim(status, why, message=""):
    launched = {"type": "Launched", "status": status, "reason": why, "message": message}
    return {"metadata": {"labels": {"karpenter.sh/nodepool": "inference"}}, "status": {"conditions": [launched]}}


def test_a_launch_that_ec2_refuses_is_told_in_its_words():
    refused = claim("Unknown", "LaunchFailed", "api error UnauthorizedOperation: no iam:PassRole")
    said = "no node of pool inference can be launched: UnauthorizedOperation: no iam:PassRole"
    assert reason(claims=[refused], **READY) == said
    assert reason(claims=[claim("Unknown", "AwaitingReconciliation")], **READY) == ""
    assert reason(claims=[refused], no_capacity=["spot"], **READY) == ""


def pod(name="ai-1", node="", labels=None, status=None):
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"nodeName": node}, "status": status or {}}


def test_a_pod_that_a_kubelet_refuses_is_told_with_its_message():
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image name 'a:'"}
    refused = pod("plugin-1", "ip-1", status={"containerStatuses": [{"state": {"waiting": waiting}}]})
    assert reason(pods=[refused], **READY) == (
        "pod plugin-1 on node ip-1 cannot start: InvalidImageName: couldn't parse image name 'a:'"
    )


@pytest.mark.parametrize(("error", "told"), [("did not tolerate taint", True), ("all types exceed limits", False)])
def test_a_pod_for_which_no_pool_has_a_node_is_told_unless_a_limit_holds_it_back(error, told):
    line = log("could not schedule pod", Pod={"name": "ai-1"}, error=error)
    said = f"Karpenter can bring no node for pod ai-1: {error}" if told else ""
    assert reason(said=[line], pods=[pod()], **READY) == said
    assert reason(said=[line], pods=[pod(node="ip-1")], **READY) == ""


def controller_pod(seconds):
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "2 didn't match"}
    status = {"conditions": [{**unscheduled, "lastTransitionTime": ago(seconds)}]}
    return pod("karpenter-1", labels={"app.kubernetes.io/name": "karpenter"}, status=status)


@pytest.mark.parametrize(("seconds", "ready", "told"), [(20, "True", True), (3, "True", False), (20, "False", False)])
def test_a_controller_for_which_no_node_is_right_is_told_once_there_are_nodes_and_some_time_has_passed(
    seconds, ready, told
):
    there = {"metadata": {"name": "ip-1"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
    said = "Karpenter's controller finds no node: 2 didn't match" if told else ""
    assert reason(pods=[controller_pod(seconds)], nodes=[there], **READY) == said


def workload(kind, wanted, there):
    counts = {
        "daemons": {"status": {"desiredNumberScheduled": wanted, "currentNumberScheduled": there}},
        "replicas": {"spec": {"replicas": wanted}, "status": {"replicas": there}},
    }
    return {**daemon(), **counts[kind], "metadata": {"name": "gpu", "uid": "1"}}


@pytest.mark.parametrize(("kind", "named"), [("daemons", "DaemonSet"), ("replicas", "ReplicaSet")])
@pytest.mark.parametrize(("there", "seconds", "told"), [(0, 20, True), (0, 3, False), (1, 20, False)])
def test_a_workload_whose_pods_the_api_server_refuses_is_told_once_the_refusal_lasts(kind, named, there, seconds, told):
    message = 'pod rejected: RuntimeClass "gvisor" not found'
    event = {
        "metadata": {"creationTimestamp": ago(seconds)},
        "reason": "FailedCreate",
        "involvedObject": {"uid": "1"},
        "message": message,
    }
    said = f"{named} gpu has no pod: {message}" if told else ""
    assert reason(**{kind: [workload(kind, 1, there)]}, events=[event], **READY) == said


OVERLAY = {
    "metadata": {"name": "inference.1"},
    "spec": {
        "requirements": [
            {"key": "karpenter.sh/nodepool", "operator": "In", "values": ["inference"]},
            {"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "In", "values": ["1"]},
        ],
        "capacity": {"nvidia.com/gpu": "4"},
    },
}


@pytest.mark.parametrize(
    ("capacity", "shown"),
    [({"nvidia.com/gpu": "1"}, "1 nvidia.com/gpu"), ({"nvidia.com/gpu.shared": "4"}, "4 nvidia.com/gpu.shared")],
)
def test_a_node_that_shows_other_gpus_than_karpenter_was_told_of_is_told_with_what_comes_of_it(capacity, shown):
    assert reason(nodes=[node(capacity)], overlays=[OVERLAY], **READY) == (
        f"node ip-1 shows {shown}, and NodeOverlay inference.1 tells Karpenter of 4 nvidia.com/gpu: it launches a node for every "
        "pod that finds no place, for ever; share the GPUs in the device plugin's configuration as the overlay says"
    )


def test_a_node_that_shows_what_its_overlay_says_or_is_of_another_pool_is_no_reason():
    assert reason(nodes=[node({"nvidia.com/gpu": "4"})], overlays=[OVERLAY], **READY) == ""
    other = node({"nvidia.com/gpu": "1"}, {"karpenter.sh/nodepool": "other"})
    assert reason(nodes=[other], overlays=[OVERLAY], **READY) == ""


def test_of_several_plugins_the_one_that_is_meant_for_the_node_is_blamed():
    meant = daemon(nodeSelector={"way": "turns"})
    meant["metadata"] = {"name": "turns"}
    others = [daemon(nodeSelector={"way": "none"}), meant, daemon(nodeSelector={"way": "mps"})]
    assert "DaemonSet turns does not tolerate" in useless(Kube(daemons=others), node(labels={"way": "turns"}))


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


@pytest.mark.parametrize("key", ["node.kubernetes.io/not-ready", "karpenter.sh/disrupted"])
def test_a_taint_that_comes_and_goes_with_a_nodes_life_is_nobodys_fault(key):
    passing = node()
    passing["spec"]["taints"] = [{"key": key, "effect": "NoSchedule"}]
    assert "tolerate" not in useless(Kube(daemons=[daemon()]), passing)


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


def test_a_plugin_for_whose_pod_the_scheduler_finds_no_place_is_told_with_its_words():
    plugin = daemon(tolerations=[{"operator": "Exists"}])
    plugin["metadata"]["uid"] = "1"
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": ago(20)}
    status = {"conditions": [{**waits, "message": "1 node(s) didn't have free ports for the requested pod ports"}]}
    of_plugin, of_other = pod("plugin-1", status=status), pod("other", status=status)
    of_plugin["metadata"]["ownerReferences"] = [{"uid": "1"}]
    assert useless(Kube(daemons=[plugin], pods=[of_plugin]), node()).endswith(
        "a pod of DaemonSet nvidia-device-plugin finds no place: 1 node(s) didn't have free ports for the requested pod ports"
    )
    assert "finds no place" not in useless(Kube(daemons=[plugin], pods=[of_other]), node())


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


def of_kubectl(words):
    """As the CDK's provider framework tells CloudFormation what kubectl said."""
    return (
        f"Received response status [FAILED] from custom resource. Message returned: Error: {words!r}\n\n"
        "Logs: /aws/lambda/Gpu-Handler-1\n\n    at invokeUserFunction (/var/task/framework.js:2:6)\n    at async onEvent (/var/x)"
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            b'error: resource mapping not found: no matches for kind "NodePool" in version "karpenter.sh/v1"\nensure CRDs\n',
            (
                "A: the cluster knows no NodePool of karpenter.sh/v1 yet, and nothing in the template says that A waits for "
                "what brings its CRD; give it DependsOn (node.add_dependency in the CDK) on that: error: "
            ),
        ),
        (
            b'Error from server (NotFound): namespaces "gpu-jobs" not found',
            "A: the cluster has no namespace gpu-jobs yet, and nothing",
        ),
        (
            b'Error from server (InternalError): failed calling webhook "mutate.example.com": connection refused',
            "A: nothing answers the webhook mutate.example.com yet, and nothing",
        ),
        (b'error: it\'s "this"\n', 'A: error: it\'s "this"'),
    ],
)
def test_what_kubectl_says_of_an_object_is_one_sentence_that_names_what_it_did_not_wait_for(said, reason):
    told = step("A", of_kubectl(said))
    assert told.startswith(reason)
    assert "framework.js" not in told
    assert "\n" not in told


def test_a_step_that_another_function_failed_keeps_its_words():
    assert step("A", "Received response status [FAILED] from custom resource. Message returned: no cluster gpu") == (
        "A: no cluster gpu"
    )
    assert step("A", "the role is not there") == "A: the role is not there"
