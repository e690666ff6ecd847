"""Why GPUs do not come: one sentence, from what the cluster, Karpenter and the emulated AWS say."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from eks_rehearsal.account import Account
from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.device_plugin import SHARED, runs_plugin
from eks_rehearsal.cluster.kube import Document, Kube, condition
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.labels import GPU_RESOURCE, INSTANCE_GPU_COUNT, NODEPOOL

# A NodeClass is looked at by Karpenter first, and is not ready until then.
PENDING_REASONS = ("AwaitingReconciliation", "DependenciesNotReady", "NotFound")
# What Karpenter says of a NodePool for which nothing is left to launch.
NO_NODE = "could not schedule pod"
NOTHING_LEFT = "nodepool requirements filtered out all instance types"
# What the CDK's kubectl handler raises, with the words of kubectl or Helm as Python shows bytes.
KUBECTL_SAID = re.compile(r"""b(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
TRACE = re.compile(r"\s+(?:Logs: /aws/lambda/|at \S+ \(|See the details in CloudWatch).*", re.DOTALL)
WAIT = "nothing in the template says that {about} waits for what brings {what}; give it DependsOn (node.add_dependency in the CDK) on that"
# What kubectl says of an object that was made too early, and what brings the thing that it misses.
TOO_EARLY = {
    r'no matches for kind "(?P<kind>[^"]+)" in version "(?P<version>[^"]+)"': (
        "the cluster knows no {kind} of {version} yet",
        "its CRD",
    ),
    r'namespaces "(?P<name>[^"]+)" not found': ("the cluster has no namespace {name} yet", "it"),
    r'failed calling webhook "(?P<name>[^"]+)"': ("nothing answers the webhook {name} yet", "its Service"),
}
AWS_ERROR = re.compile(r"(?:api error |RequestID: [\w-]*, )(?P<code>[A-Z]\w+): (?P<message>[^\"\\(]+)")
# Karpenter tries again ever more rarely: what it said this long ago may no longer be so.
RECENT = timedelta(seconds=40)
# A pod for which there is room is bound at once.
UNSCHEDULED = timedelta(seconds=15)
# As often as this an error is no longer one that the next attempt fixes.
OFTEN = 3
# What a controller logs when another one changed an object before it; it tries again at once.
CONFLICT = "the object has been modified"
# Prices and metrics are asked for by the subnets of all classes, and are tried again; a class without subnets says so itself.
NO_SUBNETS = "no subnets found"
CLASSES, POOLS = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses", "/apis/karpenter.sh/v1/nodepools"
OVERLAYS = "/apis/karpenter.sh/v1alpha1/nodeoverlays"
PODS = "/api/v1/pods"
# What makes pods: where it is, and where it says how many there are to be and how many there are.
WORKLOADS = {
    "DaemonSet": (
        "/apis/apps/v1/daemonsets",
        ("status", "desiredNumberScheduled"),
        ("status", "currentNumberScheduled"),
    ),
    "ReplicaSet": ("/apis/apps/v1/replicasets", ("spec", "replicas"), ("status", "replicas")),
}


def why(account: Account, plane: ControlPlane) -> str:
    """The reason that stands before all others; empty when nothing seems wrong."""
    for look in LOOKS:
        try:
            for reason in look(account, plane):
                return reason
        except RehearsalError as error:
            return str(error)
    return ""


def denied(account: Account) -> Callable[[Account, ControlPlane], Iterator[str]]:
    """From now on, IAM denies a role the same thing again and again: functions ask for so long as it may come to be allowed."""
    before = dict(account.aws.authorization.denied)

    def look(account: Account, _: ControlPlane) -> Iterator[str]:
        counted = list(account.aws.authorization.denied.items())
        yield from [said for said, count in counted if count - before.get(said, 0) >= OFTEN][:1]

    return look


def controller(account: Account, plane: ControlPlane) -> Iterator[str]:
    """Karpenter's controller ends by itself, again and again."""
    pods = account.pods.get(plane.name)
    if pods and (last_words := pods.trouble()):
        yield f"Karpenter's controller cannot run: {readable(last_words)}"


def unscheduled(account: Account, plane: ControlPlane) -> Iterator[str]:
    """Karpenter's controller finds no node, and none will come: it runs on no node of its own."""
    pods = account.pods.get(plane.name)
    if pods is None or any(one.ready for one in list(pods.controllers.values())):
        return
    if not any(condition(node, "Ready") == "True" for node in plane.kube.items("/api/v1/nodes")):
        return
    for pod in plane.kube.items(PODS):
        if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "karpenter":
            continue
        if said := _why_unscheduled(pod):
            yield f"Karpenter's controller finds no node: {said}"


def _programs(_: Account, plane: ControlPlane) -> Iterator[str]:
    if ended := plane.check():
        yield f"the control plane is broken: {ended}"


def _denied(account: Account, _: ControlPlane) -> Iterator[str]:
    """IAM did not let a role do something."""
    yield from list(account.aws.authorization.denied)[:1]


def _refused(account: Account, _: ControlPlane) -> Iterator[str]:
    """An instance runs, and its node may not enter."""
    yield from list(account.nodes.refusals.values())[:1]


def _node_classes(_: Account, plane: ControlPlane) -> Iterator[str]:
    for one in plane.kube.items(CLASSES):
        for stated in one.get("status", {}).get("conditions", []):
            if stated["status"] == "False" and stated["type"] != "Ready" and stated["reason"] not in PENDING_REASONS:
                said = stated.get("message") or stated["reason"]
                yield f"EC2NodeClass {one['metadata']['name']} is not ready: {stated['type']}: {said}"


def _failing_classes(account: Account, plane: ControlPlane) -> Iterator[str]:
    """A class is not ready, and only Karpenter's log says why."""
    errors = [line for line in _errors(account, plane) if line.get("controllerKind") == "EC2NodeClass"]
    for one in plane.kube.items(CLASSES):
        name = one["metadata"]["name"]
        said = [line for line in errors if line.get("name") == name]
        if condition(one, "Ready") != "True" and len(said) >= OFTEN:
            yield f"EC2NodeClass {name} is not ready: {readable(json.dumps(said[-1]))}"


def _launches(account: Account, plane: ControlPlane) -> Iterator[str]:
    """EC2 refuses to launch what Karpenter asks for."""
    if account.hooks.no_capacity:
        return
    for claim in plane.kube.items("/apis/karpenter.sh/v1/nodeclaims"):
        for one in claim.get("status", {}).get("conditions", []):
            if one["type"] == "Launched" and one["status"] != "True" and one.get("reason") not in PENDING_REASONS:
                pool = claim["metadata"].get("labels", {}).get(NODEPOOL, "")
                said = one.get("message") or one.get("reason")
                yield f"no node of pool {pool} can be launched: {readable(str(said))}"


def _pods(_: Account, plane: ControlPlane) -> Iterator[str]:
    """A pod has its node, and the kubelet refuses to start it."""
    for pod in plane.kube.items(PODS):
        for status in pod.get("status", {}).get("containerStatuses", []):
            waiting = status.get("state", {}).get("waiting", {})
            if message := waiting.get("message"):
                where = f"pod {pod['metadata']['name']} on node {pod['spec']['nodeName']}"
                yield f"{where} cannot start: {waiting['reason']}: {message}"


def without_pods(_: Account, plane: ControlPlane) -> Iterator[str]:
    """The API server refuses the pods of a workload: a service account, runtime or priority class is not there, say."""
    failed = [
        one
        for one in plane.kube.items("/api/v1/events")
        if one.get("reason") == "FailedCreate" and _ago(one["metadata"]["creationTimestamp"]) > UNSCHEDULED
    ]
    for kind, (path, wanted, there) in WORKLOADS.items() if failed else ():
        for one in plane.kube.items(path):
            uid = one["metadata"]["uid"]
            said = [event for event in failed if event["involvedObject"].get("uid") == uid]
            if said and _number(one, there) < _number(one, wanted):
                yield f"{kind} {one['metadata']['name']} has no pod: {said[-1]['message']}"


def _number(workload: Document, field: tuple[str, str]) -> int:
    return int(workload.get(field[0], {}).get(field[1], 0))


def _failing(account: Account, plane: ControlPlane) -> Iterator[str]:
    """Karpenter fails at the same thing again and again, and nothing but its log says so."""
    counts: dict[tuple[str, str], int] = {}
    for line in reversed(list(_errors(account, plane))):
        about = (str(line.get("controllerKind", line.get("controller", ""))), str(line.get("name", "")))
        counts[about] = counts.get(about, 0) + 1
        if counts[about] >= OFTEN:
            yield f"Karpenter fails at {' '.join(about).strip()} again and again: {readable(json.dumps(line))}"


def _unschedulable(account: Account, plane: ControlPlane) -> Iterator[str]:
    """Karpenter says that no pool can have a node for a pod; a limit or missing capacity may be a story's own doing."""
    if account.hooks.no_capacity:
        return
    waiting = {pod["metadata"]["name"] for pod in plane.kube.items(PODS) if not pod["spec"].get("nodeName")}
    for line in _recent(account, plane, NO_NODE):
        name, error = line.get("Pod", {}).get("name"), str(line.get("error", ""))
        if name in waiting and "limit" not in error:
            yield f"Karpenter can bring no node for pod {name}: {error}"


def _errors(account: Account, plane: ControlPlane) -> Iterator[Mapping[str, Any]]:
    """What Karpenter failed at lately."""
    for line in _recent(account, plane, "Reconciler error"):
        if not any(one in str(line.get("error")) for one in (CONFLICT, NO_SUBNETS)):
            yield line


def _recent(account: Account, plane: ControlPlane, words: str) -> Iterator[Mapping[str, Any]]:
    """The lines of Karpenter's log with these words that are not old."""
    for text in account.pods[plane.name].log_lines(words):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and _ago(str(line.get("time", ""))) < RECENT:
            yield line


def _ago(time: str) -> timedelta:
    """How long ago something was, by Kubernetes' or Karpenter's clock; for ever when it is not said."""
    try:
        return datetime.now(timezone.utc) - datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError:
        return timedelta.max


def _node_pools(_: Account, plane: ControlPlane) -> Iterator[str]:
    classes = {one["metadata"]["name"] for one in plane.kube.items(CLASSES)}
    for one in plane.kube.items(POOLS):
        named = one["spec"]["template"]["spec"]["nodeClassRef"]["name"]
        if named not in classes:
            yield f"NodePool {one['metadata']['name']} names EC2NodeClass {named!r}, which is not there"


def _unlike_overlays(_: Account, plane: ControlPlane) -> Iterator[str]:
    """A node shows other GPUs than Karpenter was told: it brings a node for each pod that should have had a place."""
    overlays = [one for one in plane.kube.items(OVERLAYS) if GPU_RESOURCE in one["spec"].get("capacity", {})]
    for node in plane.kube.items("/api/v1/nodes") if overlays else ():
        labels, capacity = node["metadata"].get("labels", {}), node["status"].get("capacity", {})
        shown = [f"{capacity[name]} {name}" for name in (GPU_RESOURCE, SHARED) if name in capacity]
        for overlay in overlays:
            told = f"{overlay['spec']['capacity'][GPU_RESOURCE]} {GPU_RESOURCE}"
            if shown and applies(overlay, labels) and shown != [told]:
                yield (
                    f"node {node['metadata']['name']} shows {', '.join(shown)}, and NodeOverlay {overlay['metadata']['name']} "
                    f"tells Karpenter of {told}: it launches a node for every pod that finds no place, for ever; share the GPUs "
                    "in the device plugin's configuration as the overlay says"
                )


def applies(overlay: Document, labels: Mapping[str, str]) -> bool:
    """Whether a NodeOverlay is of nodes with these labels."""
    return all(
        one["operator"] == "In" and labels.get(one["key"]) in one["values"] for one in overlay["spec"]["requirements"]
    )


def _useless_nodes(_: Account, plane: ControlPlane) -> Iterator[str]:
    """A GPU node is up and bills, and shows no GPU."""
    for node in plane.kube.items("/api/v1/nodes"):
        labels = node["metadata"].get("labels", {})
        has_gpus = INSTANCE_GPU_COUNT in labels
        if NODEPOOL in labels and has_gpus and GPU_RESOURCE not in node["status"].get("capacity", {}):
            yield useless(plane.kube, node)


def _offerings(account: Account, plane: ControlPlane) -> Iterator[str]:
    """A pool asks for what its region does not have."""
    said = {json.loads(line)["NodePool"]["name"] for line in account.pods[plane.name].log_lines(NOTHING_LEFT)}
    for one in plane.kube.items(POOLS):
        if one["metadata"]["name"] in said:
            yield contradiction(one) or (
                f"NodePool {one['metadata']['name']} allows no instance type that {account.aws.region} has in the zones of its "
                "subnets, by the emulated EC2's list of offerings"
            )


def contradiction(pool: Document) -> str:
    """The label and the requirement of a pool that no node can have both; empty when there are none."""
    template = pool["spec"]["template"]
    allowed: dict[str, tuple[set[str], str]] = {}
    labels = {key: [value] for key, value in template.get("metadata", {}).get("labels", {}).items()}
    wanted = [("label", key, values) for key, values in labels.items()]
    wanted += [
        ("requirement", one["key"], one.get("values", []))
        for one in template["spec"].get("requirements") or []
        if one["operator"] == "In"
    ]
    for kind, key, values in wanted:
        shown = f"the {kind} {key}={','.join(values)}"
        before, other = allowed.get(key, (set(values), ""))
        if not before & set(values):
            return f"NodePool {pool['metadata']['name']} contradicts itself: no node can have both {other} and {shown}"
        allowed[key] = (before & set(values), shown)
    return ""


def useless(kube: Kube, node: Document) -> str:
    """Why a node with GPUs shows none."""
    name = node["metadata"]["name"]
    begin = (
        f"node {name} is up, bills and is of no use: its GPUs are not to be seen, since no device plugin works there"
    )
    plugins = [one for one in kube.items("/apis/apps/v1/daemonsets") if is_device_plugin(one)]
    if not plugins:
        return f"{begin}; the cluster has no DaemonSet of NVIDIA's device plugin"
    # There is one for each way of sharing GPUs, and the one that is meant for the node is to blame.
    daemon = max(plugins, key=lambda one: selects(one, node["metadata"]["labels"]))
    spec = daemon["spec"]["template"]["spec"]
    about = f"DaemonSet {daemon['metadata']['name']}"
    if taint := untolerated(daemon, node):
        return f"{begin}; {about} does not tolerate its taint {taint}"
    labels = node["metadata"]["labels"]
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return f"{begin}; {about} wants the label {key}={value}, which the node has not"
    waits = next((said for pod in kube.items(PODS) if _is_of(pod, daemon) and (said := _why_unscheduled(pod))), "")
    return f"{begin}; a pod of {about} finds no place: {waits}" if waits else begin


def _why_unscheduled(pod: Document) -> str:
    """What the scheduler says of a pod that has waited for it; empty for any other."""
    for one in pod.get("status", {}).get("conditions", []):
        waits = (one["type"], one["status"], one.get("reason")) == ("PodScheduled", "False", "Unschedulable")
        if waits and _ago(one["lastTransitionTime"]) > UNSCHEDULED:
            return str(one["message"])
    return ""


def _is_of(pod: Document, owner: Document) -> bool:
    return any(one["uid"] == owner["metadata"].get("uid") for one in pod["metadata"].get("ownerReferences") or [])


def untolerated(daemon: Document, node: Document) -> str:
    """The taint that keeps a DaemonSet off a node; empty when there is none."""
    tolerations = daemon["spec"]["template"]["spec"].get("tolerations") or []
    for taint in node["spec"].get("taints") or []:
        # Those of Karpenter and Kubernetes come and go with a node's life.
        passing = taint["key"].startswith(("karpenter.sh/", "node.kubernetes.io/"))
        if not passing and not any(_tolerates(toleration, taint) for toleration in tolerations):
            return f"{taint['key']}:{taint['effect']}"
    return ""


def is_device_plugin(daemon: Document) -> bool:
    """Whether a DaemonSet runs NVIDIA's device plugin."""
    return runs_plugin(daemon["spec"]["template"]["spec"])


def selects(daemon: Document, labels: Mapping[str, str]) -> bool:
    """Whether a DaemonSet wants no label that a node has not."""
    return (daemon["spec"]["template"]["spec"].get("nodeSelector") or {}).items() <= labels.items()


def is_elsewhere(daemon: Document, labels: Mapping[str, str]) -> bool:
    """Whether the affinity of a DaemonSet leaves out nodes of these labels."""
    affinity = daemon["spec"]["template"]["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms")
    return terms is not None and not any(
        all(_meets(labels, one) for one in term.get("matchExpressions", ())) for term in terms
    )


def _meets(labels: Mapping[str, str], asked: Document) -> bool:
    there = asked["key"] in labels
    by_operator = {"Exists": there, "DoesNotExist": not there}
    is_listed = there and labels[asked["key"]] in asked.get("values", ())
    return bool({**by_operator, "In": is_listed, "NotIn": not is_listed}[asked["operator"]])


def _tolerates(toleration: Document, taint: Document) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def readable(line: str) -> str:
    """The point of a controller's last line: the error that AWS answered, or the error it logged."""
    if match := AWS_ERROR.search(line):
        return f"{match['code']}: {match['message'].strip()}"
    try:
        said = json.loads(line)
    except ValueError:
        return line
    return str(said.get("error") or said.get("message") or line) if isinstance(said, dict) else line


def step(about: str, said: str) -> str:
    """Why a step of a stack failed, in one sentence: without a handler's trace, and with what an object was made too early for."""
    words = TRACE.sub("", said.partition("Message returned: ")[2] or said)
    if match := KUBECTL_SAID.search(words):
        words = ast.literal_eval(f"b{match['quoted']}").decode(errors="replace")
    words = " ".join(words.split())
    for pattern, (what, bringer) in TOO_EARLY.items():
        if match := re.search(pattern, words):
            missing = what.format(**match.groupdict())
            return f"{about}: {missing}, and {WAIT.format(about=about, what=bringer)}: {words}"
    return f"{about}: {words}"


LOOKS: tuple[Callable[[Account, ControlPlane], Iterator[str]], ...] = (
    _programs,
    _denied,
    controller,
    unscheduled,
    _node_pools,
    _node_classes,
    _failing_classes,
    _launches,
    _refused,
    _pods,
    without_pods,
    _unlike_overlays,
    _useless_nodes,
    _offerings,
    _unschedulable,
    _failing,
)
