"""Why GPUs do not come: one sentence, from what the cluster, Karpenter and the emulated AWS say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from eks_rehearsal.account import Account
from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.kube import Document, Kube
from eks_rehearsal.cluster.pods import DEVICE_PLUGIN_IMAGE
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.labels import GPU_RESOURCE, INSTANCE_GPU_COUNT, NODEPOOL

# A NodeClass is looked at by Karpenter first, and is not ready until then.
PENDING_REASONS = ("AwaitingReconciliation", "DependenciesNotReady", "NotFound")
# What Karpenter says of a NodePool for which nothing is left to launch.
NOTHING_LEFT = "nodepool requirements filtered out all instance types"
AWS_ERROR = re.compile(r"api error (?P<code>\w+): (?P<message>[^\"\\]+)")


def why(account: Account, plane: ControlPlane) -> str:
    """The reason that stands before all others; empty when nothing seems wrong."""
    for look in LOOKS:
        try:
            for reason in look(account, plane):
                return reason
        except RehearsalError as error:
            return str(error)
    return ""


def controller(account: Account, plane: ControlPlane) -> Iterator[str]:
    """Karpenter's controller ends by itself, again and again."""
    pods = account.pods.get(plane.name)
    if pods and (last_words := pods.trouble()):
        yield f"Karpenter's controller cannot run: {readable(last_words)}"


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
    for one in plane.kube.items("/apis/karpenter.k8s.aws/v1/ec2nodeclasses"):
        for condition in one.get("status", {}).get("conditions", []):
            if (
                condition["status"] == "False"
                and condition["type"] != "Ready"
                and condition["reason"] not in PENDING_REASONS
            ):
                said = condition.get("message") or condition["reason"]
                yield f"EC2NodeClass {one['metadata']['name']} is not ready: {condition['type']}: {said}"


def _node_pools(_: Account, plane: ControlPlane) -> Iterator[str]:
    classes = {one["metadata"]["name"] for one in plane.kube.items("/apis/karpenter.k8s.aws/v1/ec2nodeclasses")}
    for one in plane.kube.items("/apis/karpenter.sh/v1/nodepools"):
        named = one["spec"]["template"]["spec"]["nodeClassRef"]["name"]
        if named not in classes:
            yield f"NodePool {one['metadata']['name']} names EC2NodeClass {named!r}, which is not there"


def _useless_nodes(_: Account, plane: ControlPlane) -> Iterator[str]:
    """A GPU node is up and bills, and shows no GPU."""
    for node in plane.kube.items("/api/v1/nodes"):
        labels = node["metadata"].get("labels", {})
        has_gpus = INSTANCE_GPU_COUNT in labels
        if NODEPOOL in labels and has_gpus and GPU_RESOURCE not in node["status"].get("capacity", {}):
            yield useless(plane.kube, node)


def _offerings(account: Account, plane: ControlPlane) -> Iterator[str]:
    """A pool asks for what its region does not have."""
    for line in account.pods[plane.name].said(NOTHING_LEFT):
        pool = json.loads(line)["NodePool"]["name"]
        yield (
            f"NodePool {pool} allows no instance type that {account.aws.region} has in the zones of its subnets, by "
            "the emulated EC2's list of offerings"
        )


def useless(kube: Kube, node: Document) -> str:
    """Why a node with GPUs shows none."""
    name = node["metadata"]["name"]
    begin = (
        f"node {name} is up, bills and is of no use: its GPUs are not to be seen, since no device plugin works there"
    )
    plugins = [one for one in kube.items("/apis/apps/v1/daemonsets") if is_device_plugin(one)]
    if not plugins:
        return f"{begin}; the cluster has no DaemonSet of NVIDIA's device plugin"
    daemon = plugins[0]
    spec = daemon["spec"]["template"]["spec"]
    about = f"DaemonSet {daemon['metadata']['name']}"
    for taint in node["spec"].get("taints") or []:
        # Those of Karpenter and Kubernetes come and go with a node's life.
        passing = taint["key"].startswith(("karpenter.sh/", "node.kubernetes.io/"))
        if not passing and not any(_tolerates(toleration, taint) for toleration in spec.get("tolerations") or []):
            return f"{begin}; {about} does not tolerate its taint {taint['key']}:{taint['effect']}"
    labels = node["metadata"]["labels"]
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return f"{begin}; {about} wants the label {key}={value}, which the node has not"
    return begin


def is_device_plugin(daemon: Document) -> bool:
    """Whether a DaemonSet runs NVIDIA's device plugin."""
    containers = daemon["spec"]["template"]["spec"]["containers"]
    return any(DEVICE_PLUGIN_IMAGE.search(container["image"]) for container in containers)


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


LOOKS: tuple[Callable[[Account, ControlPlane], Iterator[str]], ...] = (
    _programs,
    _denied,
    controller,
    _node_pools,
    _node_classes,
    _refused,
    _useless_nodes,
    _offerings,
)
