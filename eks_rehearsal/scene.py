"""What a story works with: the cluster, its GPU pools, pods to start, things to wait for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import TypeVar

from eks_rehearsal.account import Account
from eks_rehearsal.aws.server import Launched
from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.kube import Document, Kube, condition
from eks_rehearsal.diagnosis import why
from eks_rehearsal.errors import RehearsalError, StoryFailed
from eks_rehearsal.labels import CAPACITY_TYPE, GPU_RESOURCE, INSTANCE_GPU_COUNT, NODEPOOL
from eks_rehearsal.observer import Instance, Observer
from eks_rehearsal.timeline import Timeline

NAMESPACE = "rehearsal"
NODEPOOLS = "/apis/karpenter.sh/v1/nodepools"
NODECLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/karpenter-leader-election"
GPU_REQUIREMENT = "karpenter.k8s.aws/instance-gpu"
DURATION = re.compile(r"(\d+)(h|m|s)")
UNITS = {"h": "hours", "m": "minutes", "s": "seconds"}
# After this long a wait asks what could be wrong; a reason that is still one some seconds later ends it.
PATIENCE_SECONDS = 15.0
SURE_SECONDS = 8.0
# A controller that has just started waits for the lease of one that has ended.
LEADS_SECONDS = 90.0
# On no node where any pod of the namespace is.
_ANY_POD = {"labelSelector": {}, "topologyKey": "kubernetes.io/hostname"}
APART = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_ANY_POD]}}
_NONE: Mapping[str, str] = MappingProxyType({})
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Pool:
    """A GPU pool of the cluster: its NodePool.

    Args:
        document: The NodePool.
    """

    document: Document

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def weight(self) -> int | None:
        """How much Karpenter prefers it; None, which is 0, when it does not say."""
        said = self.document["spec"].get("weight")
        return None if said is None else int(said)

    @property
    def labels(self) -> dict[str, str]:
        """What it labels its nodes with."""
        return dict(self.document["spec"]["template"].get("metadata", {}).get("labels") or {})

    @property
    def taints(self) -> list[Document]:
        return list(self.document["spec"]["template"]["spec"].get("taints") or [])

    @property
    def capacity_types(self) -> tuple[str, ...]:
        """What it may launch: `spot`, `on-demand`; on-demand alone when it does not say."""
        return tuple(self._values(CAPACITY_TYPE)) or ("on-demand",)

    @property
    def gpu_limit(self) -> int | None:
        """The most GPUs it may have at once; None when it has no such limit."""
        said = self.document["spec"].get("limits", {}).get(GPU_RESOURCE)
        return None if said is None else int(said)

    @property
    def is_retired(self) -> bool:
        """Whether a limit of 0 vCPUs keeps it from launching."""
        return str(self.document["spec"].get("limits", {}).get("cpu")) == "0"

    @property
    def consolidate_after(self) -> timedelta | None:
        """How long a node is empty before it goes; None when it never does."""
        said = self.document["spec"].get("disruption", {}).get("consolidateAfter", "0s")
        if said == "Never":
            return None
        return timedelta(**{UNITS[unit]: int(number) for number, unit in DURATION.findall(said)})

    @property
    def is_gpu(self) -> bool:
        keys = [one["key"] for one in self._requirements]
        return self.gpu_limit is not None or any(key.startswith(GPU_REQUIREMENT) for key in keys)

    @property
    def _requirements(self) -> list[Document]:
        return list(self.document["spec"]["template"]["spec"].get("requirements") or [])

    def _values(self, key: str) -> list[str]:
        said = (one for one in self._requirements if one["key"] == key and one.get("operator", "In") == "In")
        return [value for one in said for value in one.get("values", [])]


@dataclass(frozen=True)
class Workload:
    """Pods that a story started, as a Deployment.

    Args:
        name: The Deployment's name.

        kube: The cluster.
    """

    name: str
    kube: Kube

    @property
    def path(self) -> str:
        return f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{self.name}"

    def pods(self, phase: str = "") -> list[Document]:
        """Its pods that are not on their way out; those of a phase when one is given."""
        found = self.kube.items(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=f"app={self.name}")
        there = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return [pod for pod in there if not phase or pod["status"].get("phase") == phase]

    def nodes(self) -> set[str]:
        """The nodes that its pods run on."""
        return {pod["spec"]["nodeName"] for pod in self.pods("Running")}

    def stop(self) -> None:
        """Delete it."""
        self.kube.delete(self.path)


def _pod_spec(gpus: int, selector: Mapping[str, str], taints: Iterable[tuple[str, str]]) -> Document:
    container = {
        "name": "ai-workload",
        "image": "nvcr.io/nvidia/cuda:12.2.2-base-ubuntu22.04",
        "command": ["sh", "-c", "nvidia-smi && sleep infinity"],
        **({"resources": {"limits": {GPU_RESOURCE: str(gpus)}}} if gpus else {}),
    }
    tolerations = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in sorted(taints)]
    return {
        "containers": [container],
        "nodeSelector": dict(selector),
        "terminationGracePeriodSeconds": 1,
        "tolerations": tolerations if gpus else [],
    }


def _deployment(name: str, replicas: int, spec: Document, annotations: Mapping[str, str]) -> Document:
    pod = {"metadata": {"labels": {"app": name}, "annotations": dict(annotations)}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pod},
    }


@dataclass
class Scene:
    """Where stories play.

    Args:
        account: The emulated account.

        plane: The cluster's control plane.

        timeline: Where it is noted what happens.

        observer: Notes it.

        workloads: What stories started.

        began: When the story began, in seconds of the timeline.

        kept: The node groups that a story took away, to make them again.

        refused: Whose calls a story let AWS refuse, each time.
    """

    account: Account
    plane: ControlPlane
    timeline: Timeline
    observer: Observer
    workloads: list[Workload] = field(default_factory=list)
    began: float = 0.0
    kept: dict[str, Document] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def kube(self) -> Kube:
        return self.plane.kube

    def pools(self) -> list[Pool]:
        """The cluster's GPU pools, in the order in which Karpenter prefers them; none that is retired by a limit of 0.

        Raises:
            StoryFailed: There is none.
        """
        found = [pool for one in self.kube.items(NODEPOOLS) if (pool := Pool(one)).is_gpu and pool.gpu_limit != 0]
        if not found:
            raise StoryFailed("the cluster has no NodePool that may launch GPUs")
        return sorted(found, key=lambda pool: -(pool.weight or 0))

    def pools_without_gpus(self) -> list[Pool]:
        """The cluster's other pools that take any pod."""
        found = [Pool(one) for one in self.kube.items(NODEPOOLS)]
        return [pool for pool in found if not pool.is_gpu and not pool.taints and not pool.is_retired]

    def pool(self, wanted: Callable[[Pool], bool]) -> Pool | None:
        """The first GPU pool of a kind."""
        return next((pool for pool in self.pools() if wanted(pool)), None)

    def start(
        self,
        name: str,
        *,
        gpus: int = 1,
        replicas: int = 1,
        pool: Pool | None = None,
        capacity_type: str = "",
        gpus_a_node: int | None = None,
        annotations: Mapping[str, str] = _NONE,
        alone: bool = False,
    ) -> Workload:
        """Start pods.

        Args:
            name: Their name.

            gpus: GPUs that each asks for; none when 0, and then no taint is tolerated.

            replicas: How many.

            pool: The pool that they must run on; any when left out.

            capacity_type: The capacity type that they must run on; any when left out.

            gpus_a_node: How many GPUs their nodes have; Default: any number.

            annotations: Of the pods.

            alone: Whether they run on no node with another pod of a story.
        """
        taints = {
            (taint["key"], taint["effect"]) for one in ([pool] if pool else self.pools()[:1]) for taint in one.taints
        }
        selector = {
            **({NODEPOOL: pool.name} if pool else {}),
            **({CAPACITY_TYPE: capacity_type} if capacity_type else {}),
            **({INSTANCE_GPU_COUNT: str(gpus_a_node)} if gpus_a_node is not None else {}),
        }
        spec = _pod_spec(gpus, selector, taints) | ({"affinity": APART} if alone else {})
        self._namespace()
        self.kube.create(
            f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", _deployment(name, replicas, spec, annotations)
        )
        workload = Workload(name, self.kube)
        self.workloads.append(workload)
        return workload

    def until(
        self, what: str, look: Callable[[], Answer | None], *, seconds: float = 60, gives_up_early: bool = True
    ) -> Answer:
        """Wait for something.

        Args:
            what: What is awaited, as a sentence without a full stop.

            look: Answers something true when it has come.

            seconds: How long.

            gives_up_early: Whether what is wrong with the cluster ends the wait; not where a story broke it on purpose.

        Raises:
            StoryFailed: It did not come: says what, and why as far as the cluster tells.
        """
        began, reason, since = time.monotonic(), "", 0.0
        while True:
            answer = self._looked(look)
            if answer:
                return answer
            waited = time.monotonic() - began
            if waited > (PATIENCE_SECONDS if gives_up_early else seconds):
                found = why(self.account, self.plane)
                reason, since = (found, since) if found == reason else (found, waited)
                if gives_up_early and reason and waited - since > SURE_SECONDS:
                    raise StoryFailed(f"{what}: it did not come, because {reason}")
            if waited > seconds:
                raise StoryFailed(
                    f"{what}: it did not come within {seconds:.0f} s" + (f", because {reason}" if reason else "")
                )
            time.sleep(0.3)

    @staticmethod
    def _looked(look: Callable[[], Answer | None]) -> Answer | None:
        try:
            return look()
        except StoryFailed:
            raise
        except RehearsalError:
            # What is looked for is not there yet, or the API server is busy.
            return None

    def running(self, workload: Workload) -> Document:
        """A pod of a workload, once it runs.

        Raises:
            StoryFailed: None does, and why.
        """
        pods = self.until(f"a pod of {workload.name} to run", lambda: workload.pods("Running"), seconds=90)
        return pods[0]

    def saw(self, *steps: tuple[str, str]) -> None:
        """Assert that the timeline has these steps, by lane and word, since the story began.

        Raises:
            StoryFailed: One of them is missing.
        """
        for lane, what in steps:
            self.until(
                f"the {lane} to be seen as {what!r}",
                lambda: [one for one in self.timeline.after(self.began) if (one.lane, one.what) == (lane, what)],  # noqa: B023
                seconds=20,
            )

    def check(self, claim: str, *, holds: bool) -> None:
        """Assert something.

        Raises:
            StoryFailed: It does not hold.
        """
        if not holds:
            raise StoryFailed(f"it should be so that {claim}, and it is not")
        self.timeline.add("story", "seen", claim)

    def instances(self) -> list[Instance]:
        """The GPU instances that bill now."""
        pools = {one.name for one in self.pools()}
        return [one for one in list(self.observer.instances.values()) if one.ended is None and one.pool in pools]

    def alive(self) -> list[Launched]:
        """The instances of pools that EC2 has, whether the pools are there or not."""
        return [one for one in self.account.aws.instances() if NODEPOOL in one.tags and one.state != "terminated"]

    def image_brings_plugin(self, pool: Pool) -> bool:
        """Whether a pool's nodes run NVIDIA's device plugin without a DaemonSet, as Bottlerocket does."""
        name = pool.document["spec"]["template"]["spec"]["nodeClassRef"]["name"]
        spec = self.kube.get(f"/apis/karpenter.k8s.aws/v1/ec2nodeclasses/{name}")["spec"]
        aliases = [term.get("alias", "") for term in spec.get("amiSelectorTerms", [])]
        return "Bottlerocket" in str(spec.get("amiFamily")) or any(one.startswith("bottlerocket@") for one in aliases)

    def claims(self, pool: Pool | None = None) -> list[Document]:
        """The NodeClaims of GPU pools that are not on their way out; those of one pool when it is given."""
        pools = {one.name for one in ([pool] if pool else self.pools())}
        found = [one for one in self.kube.items(NODECLAIMS) if one["metadata"]["labels"][NODEPOOL] in pools]
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def node(self, name: str) -> Document:
        """A node."""
        return self.kube.get(f"{NODES}/{name}")

    def instance_of(self, node: str) -> str:
        """The id of a node's instance."""
        return str(self.node(node)["spec"]["providerID"]).rpartition("/")[2]

    def controllers(self) -> list[Document]:
        """The pods of Karpenter's controller that are not on their way out."""
        found = self.kube.items(PODS, labelSelector="app.kubernetes.io/name=karpenter")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def renewed(self, old: Sequence[Document]) -> list[Document]:
        """The new controllers, once as many are ready as there were old ones; one of them leads at once.

        Raises:
            StoryFailed: They do not come.
        """
        gone = {pod["metadata"]["uid"] for pod in old}

        def ready() -> list[Document]:
            new = [pod for pod in self.controllers() if pod["metadata"]["uid"] not in gone]
            return new if len(new) == len(old) and all(condition(pod, "Ready") == "True" for pod in new) else []

        new = self.until("the new controllers to be ready", ready, seconds=90)
        self.until("one of the new controllers to lead", lambda: self._is_led_by(new))
        return new

    def leading(self) -> None:
        """Wait until one of Karpenter's controllers leads, by what it writes from now on.

        Raises:
            StoryFailed: None does.
        """
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        self.until(
            "a controller of Karpenter to lead",
            lambda: self._lease("renewTime", self.controllers()) > now,
            seconds=LEADS_SECONDS,
            gives_up_early=False,
        )

    def _is_led_by(self, new: Sequence[Document]) -> bool:
        """Whether one of them took the lease, which whoever led before gave back at its end."""
        return self._lease("acquireTime", new) >= min(str(pod["metadata"]["creationTimestamp"]) for pod in new)

    def _lease(self, when: str, controllers: Sequence[Document]) -> str:
        """A time of the lease of controllers; empty where there is none."""
        for pod in controllers[:1]:
            lease = self.kube.find(LEASE.format(pod["metadata"]["namespace"])) or {}
            return str(lease.get("spec", {}).get(when) or "")
        return ""

    def clear(self) -> None:
        """Take away what stories started, and tell the nodes that came for it to go."""
        self.account.hooks.no_capacity.clear()
        for workload in self.workloads:
            workload.stop()
        self.workloads.clear()
        for claim in self.claims():
            self.kube.delete(f"{NODECLAIMS}/{claim['metadata']['name']}")

    def delete_namespace(self) -> None:
        """Take away the namespace that stories play in."""
        path = f"/api/v1/namespaces/{NAMESPACE}"
        self.kube.delete(path)
        self.until("the namespace of the stories to go", lambda: self.kube.find(path) is None)

    def until_empty(self) -> None:
        """Wait until no GPU instance is there any more.

        Raises:
            StoryFailed: They do not go.
        """
        self.until("the nodes of earlier stories to go", lambda: not self.instances(), seconds=90)

    def _namespace(self) -> None:
        if self.kube.find(f"/api/v1/namespaces/{NAMESPACE}") is None:
            self.kube.create(
                "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
            )
        self._account_is_there()

    def _account_is_there(self) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
        self.until("the namespace's service account", lambda: self.kube.find(path), seconds=20)
