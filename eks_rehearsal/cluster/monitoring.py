"""EKS's node monitoring agent, as the add-on installs it: it says of each GPU node whether its hardware works."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.kube import STRATEGIC, Document, Kube, condition
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.labels import INSTANCE_GPU_COUNT

ADDON: Final = "eks-node-monitoring-agent"
DCGM: Final = "dcgm-server"
HARDWARE: Final = "AcceleratedHardwareReady"
DAEMONS: Final = "/apis/apps/v1/namespaces/kube-system/daemonsets"
_TYPES: Final = {
    "g3": "4xlarge,8xlarge,16xlarge",
    "g3s": "xlarge",
    "g4dn": "xlarge,2xlarge,4xlarge,8xlarge,12xlarge,16xlarge,metal",
    "g5": "xlarge,2xlarge,4xlarge,8xlarge,12xlarge,16xlarge,24xlarge,48xlarge",
    "g6": "xlarge,2xlarge,4xlarge,8xlarge,12xlarge,16xlarge,24xlarge,48xlarge",
    "g6e": "xlarge,2xlarge,4xlarge,8xlarge,12xlarge,16xlarge,24xlarge,48xlarge",
    "g6f": "large,xlarge,2xlarge,4xlarge",
    "g7": "2xlarge,4xlarge,8xlarge,12xlarge,24xlarge,48xlarge",
    "g7e": "2xlarge,4xlarge,8xlarge,12xlarge,24xlarge,48xlarge",
    "gr6": "4xlarge,8xlarge",
    "gr6f": "4xlarge",
    "p2": "xlarge,8xlarge,16xlarge",
    "p3": "2xlarge,8xlarge,16xlarge",
    "p3dn": "24xlarge",
    "p4d": "24xlarge",
    "p4de": "24xlarge",
    "p5": "4xlarge,48xlarge",
    "p5e": "48xlarge",
    "p5en": "48xlarge",
    "p6-b200": "48xlarge",
    "p6-b300": "48xlarge",
}
_KNOWN_NODES: Final = [
    {
        "key": "node.kubernetes.io/instance-type",
        "operator": "In",
        "values": [f"{family}.{size}" for family, sizes in _TYPES.items() for size in sizes.split(",")],
    },
    {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
]
# Where the GPU part of the add-on goes by itself. Source: its chart's values.yaml, v1.7.0.
KNOWN: Final = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": _KNOWN_NODES}]}
    }
}
LOOK_SECONDS: Final = 1.0
# The agent waits a minute for the DCGM server, and Karpenter ten more: what is broken is shown as broken for that long already.
PATIENCE_SECONDS: Final = 8.0
BROKEN_FOR: Final = timedelta(minutes=11)


class Monitoring:
    """The agents of the account's clusters.

    Args:
        planes: The control planes, by the cluster's name.
    """

    def __init__(self, planes: Mapping[str, ControlPlane]) -> None:
        self._planes = planes
        self._running: dict[str, threading.Event] = {}

    def install(self, cluster: str, addon: Mapping[str, Any]) -> None:
        """Install an add-on, or configure it anew; any other than the agent leaves nothing on a cluster here."""
        if addon["addonName"] != ADDON:
            return
        self.remove(cluster, addon)
        kube, values = self._planes[cluster].kube, json.loads(addon.get("configurationValues") or "{}")
        for daemon in daemons(values):
            kube.create(DAEMONS, daemon)
        stopped = self._running[cluster] = threading.Event()
        threading.Thread(target=_watch, args=(kube, stopped), daemon=True, name=ADDON).start()

    def remove(self, cluster: str, addon: Mapping[str, Any]) -> None:
        """Take away what an add-on installed."""
        if addon["addonName"] == ADDON and cluster in self._running:
            self._running.pop(cluster).set()
            for daemon in daemons({}):
                self._planes[cluster].kube.delete(f"{DAEMONS}/{daemon['metadata']['name']}")


def daemons(values: Mapping[str, Any]) -> Iterator[Document]:
    """The two DaemonSets of the add-on; its GPU part goes where the configuration says.

    That is by default where there is no taint, and to the instance types that the add-on knows.

    Source: aws/eks-node-monitoring-agent charts/eks-node-monitoring-agent, v1.7.0.
    """
    everything = [{"operator": "Exists"}]
    yield _daemon(ADDON, {"tolerations": everything, **values.get("nodeAgent", {})})
    yield _daemon(DCGM, {"tolerations": [], "affinity": KNOWN, **values.get("dcgmAgent", {})})


def _daemon(name: str, values: Mapping[str, Any]) -> Document:
    labels = {"k8s-app": name}
    spec: Document = {
        "containers": [{"name": name, "image": f"rehearsal.invalid/{ADDON}:v1.7.0"}],
        "nodeSelector": {"kubernetes.io/os": "linux", **values.get("nodeSelector", {})},
        "tolerations": values["tolerations"],
        "affinity": values.get("affinity", {}),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def _watch(kube: Kube, stopped: threading.Event) -> None:
    since: dict[str, float] = {}
    while not stopped.wait(LOOK_SECONDS):
        # The cluster may be on its way down.
        with contextlib.suppress(RehearsalError):
            look(kube, since, time.monotonic())


def look(kube: Kube, since: dict[str, float], now: float) -> None:
    """Say of each GPU node whether its hardware works, once: the agent takes nothing back.

    Args:
        since: When a node was first seen, by its uid.
    """
    running = {name: _nodes_with(kube, name) for name in (ADDON, DCGM)}
    for node in kube.items("/api/v1/nodes"):
        about = node["metadata"]
        labels, name = about.get("labels", {}), about["name"]
        watched = INSTANCE_GPU_COUNT in labels and labels.get("kubernetes.io/arch") == "amd64"
        if not watched or name not in running[ADDON] or condition(node, HARDWARE):
            continue
        first = since.setdefault(about["uid"], now)
        if name in running[DCGM]:
            say(kube, name, "True", "NvidiaAcceleratedHardwareIsReady", "Monitoring for the NVIDIA GPUs is active")
        elif now - first > PATIENCE_SECONDS:
            say(kube, name, "False", "DCGMError", "Connection to the DCGM host process could not be established")


def say(kube: Kube, node: str, status: str, reason: str, message: str) -> None:
    """Write on a node how its hardware is; what is broken is so since before Karpenter's patience."""
    then = datetime.now(timezone.utc) - (BROKEN_FOR if status == "False" else timedelta(0))
    stated = {
        "type": HARDWARE,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": then.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    kube.patch_present(f"/api/v1/nodes/{node}/status", {"status": {"conditions": [stated]}}, kind=STRATEGIC)


def _nodes_with(kube: Kube, app: str) -> set[str]:
    """The nodes on which a pod of a DaemonSet is ready."""
    pods = kube.items("/api/v1/namespaces/kube-system/pods", labelSelector=f"k8s-app={app}")
    return {pod["spec"].get("nodeName", "") for pod in pods if condition(pod, "Ready") == "True"}
