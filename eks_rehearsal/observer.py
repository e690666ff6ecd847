"""Looks at a cluster and at EC2 while stories play, and notes on the timeline what changes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from eks_rehearsal.aws.server import Launched
from eks_rehearsal.cluster.kube import Document, Kube, condition
from eks_rehearsal.labels import GPU_RESOURCE, NODEPOOL
from eks_rehearsal.prices import USD_PER_HOUR
from eks_rehearsal.timeline import Timeline

KINDS = {
    "pod": "/api/v1/pods",
    "event": "/api/v1/events",
    "nodeclaim": "/apis/karpenter.sh/v1/nodeclaims",
    "node": "/api/v1/nodes",
}
# What a person follows; Kubernetes has many more.
EVENTS = re.compile(
    "FailedScheduling|Nominated|Scheduled|Disrupt|Evicted|Interrupt|Unconsolidatable|InsufficientCapacity|"
    "FailedDraining|Rebalance|NodeClass|TaintedNode|LaunchFailed|Registered"
)
# Lines of every start of a controller.
NOISE = re.compile("Starting |starting server|Serving |healthz check failed|discovered ssm parameter|Unable to read")
CLAIM_CONDITIONS = (
    "Launched",
    "Registered",
    "Initialized",
    "Drifted",
    "Empty",
    "Consolidatable",
    "InstanceTerminating",
)


class Observer:
    """Watches one cluster.

    Args:
        kube: The cluster.

        launched: The instances of the emulated account.

        timeline: Where it notes.

        namespace: The namespace whose pods and events are followed.
    """

    def __init__(
        self, kube: Kube, launched: Callable[[], Iterable[Launched]], timeline: Timeline, namespace: str
    ) -> None:
        self._kube = kube
        self._launched = launched
        self._timeline = timeline
        self._namespace = namespace
        self._seen: dict[str, str] = {}
        self._stopped = threading.Event()
        self._noted: set[str] = set()
        self.instances: dict[str, Instance] = {}
        self._began = datetime.now(timezone.utc) - timedelta(seconds=1)  # Times of events are whole seconds.

    def start(self) -> None:
        """Watch, until `stop`; the instances that are there are known before it answers."""
        self._look_once()
        for lane, path in KINDS.items():
            seen = getattr(self, f"_{lane}")
            threading.Thread(target=self._kube.watch, args=(path, seen, self._stopped), daemon=True, name=lane).start()
        threading.Thread(target=self._look_at_instances, daemon=True, name="instances").start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def karpenter(self, line: str) -> None:
        """Note a line of the controller's log that a person would follow."""
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict) or said.get("level") == "DEBUG" or NOISE.match(str(said.get("message"))):
            return
        known = {
            "level",
            "time",
            "logger",
            "caller",
            "message",
            "commit",
            "controller",
            "reconcileID",
            "aws-error-code",
        }
        rest = {key: value for key, value in said.items() if key not in known and isinstance(value, (str, int, float))}
        about = said.get("level", "INFO").lower()
        self._timeline.add("karpenter", about, str(said.get("message", "")), str(said.get("error") or json.dumps(rest)))

    def _note(self, lane: str, about: str, what: str, detail: str = "") -> None:
        """Note a state, once for as long as it lasts."""
        if self._seen.get(f"{lane}/{about}") != what:
            self._seen[f"{lane}/{about}"] = what
            self._timeline.add(lane, about, what, detail)

    def _pod(self, kind: str, pod: Document) -> None:
        metadata = pod["metadata"]
        if metadata["namespace"] != self._namespace:
            return
        node = pod["spec"].get("nodeName", "")
        phase = pod.get("status", {}).get("phase", "Pending")
        if kind == "DELETED":
            self._note("pod", metadata["name"], "gone")
        elif "deletionTimestamp" not in metadata:
            self._note("pod", metadata["name"], phase, f"on {node}" if phase == "Running" else "")

    def _event(self, kind: str, event: Document) -> None:
        about, reason = event["involvedObject"], event.get("reason", "")
        ours = (
            about["kind"] in ("NodeClaim", "Node", "NodePool", "EC2NodeClass")
            or about.get("namespace") == self._namespace
        )
        if kind == "DELETED" or not ours or not EVENTS.search(reason):
            return
        if datetime_of(event) < self._began:
            return
        key = f"{about['kind']}/{about['name']}/{reason}"
        if key not in self._noted:
            self._noted.add(key)
            self._timeline.add("event", about["name"], reason, event.get("message", ""))

    def _nodeclaim(self, kind: str, claim: Document) -> None:
        name = claim["metadata"]["name"]
        if kind == "DELETED":
            self._note("nodeclaim", name, "gone")
            return
        if kind == "ADDED" and f"nodeclaim/{name}" not in self._seen:
            self._note("nodeclaim", name, "created", claim["metadata"]["labels"].get(NODEPOOL, ""))
        for step in CLAIM_CONDITIONS:
            key = f"{name}/{step}"
            if condition(claim, step) == "True" and key not in self._noted:
                self._noted.add(key)
                self._timeline.add("nodeclaim", name, step.lower())
        if "deletionTimestamp" in claim["metadata"]:
            self._note("nodeclaim", name, "being deleted")

    def _node(self, kind: str, node: Document) -> None:
        name = node["metadata"]["name"]
        if NODEPOOL not in node["metadata"].get("labels", {}):
            return
        if kind == "DELETED":
            self._note("node", name, "gone")
            return
        ready = condition(node, "Ready") == "True"
        gpus = node["status"].get("capacity", {}).get(GPU_RESOURCE)
        state = f"ready, {gpus} GPU" if ready and gpus else "ready, no GPU to be seen" if ready else "joined"
        self._note("node", name, "drained" if "deletionTimestamp" in node["metadata"] else state)

    def _look_at_instances(self) -> None:
        while not self._stopped.wait(0.5):
            self._look_once()

    def _look_once(self) -> None:
        for launched in self._launched():
            if NODEPOOL in launched.tags:
                self._instance(launched)

    def _instance(self, now: Launched) -> None:
        instance = self.instances.get(now.id)
        if instance is None:
            began = self._timeline.now
            instance = self.instances[now.id] = Instance(now.id, now.type, now.tags[NODEPOOL], began, spot=now.spot)
        if now.state == "terminated" and instance.ended is None:
            instance.ended = self._timeline.now
        shown = f"{instance.type}, {'spot' if instance.spot else 'on-demand'}, pool {instance.pool}"
        self._note("instance", now.id, now.state, shown)


class Instance:
    """A GPU instance that was seen.

    Args:
        id: Its id.

        type: Its type.

        pool: The NodePool it was launched for.

        began: When it was first seen, in seconds of the timeline.

        spot: Whether it is a spot instance.
    """

    def __init__(self, id: str, type: str, pool: str, began: float, *, spot: bool) -> None:
        self.id = id
        self.type = type
        self.pool = pool
        self.began = began
        self.spot = spot
        self.ended: float | None = None

    @property
    def price(self) -> float:
        """Dollars an hour, on demand; 0 when the table has no price of its type."""
        return USD_PER_HOUR.get(self.type, 0.0)


def datetime_of(event: Mapping[str, Any]) -> datetime:
    """When an event was last seen."""
    text = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
