"""What pods do that is more than run: Karpenter's controller, for real, and NVIDIA's device plugin, which shows GPUs."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests

from eks_rehearsal.cluster.admission import Refusal, refusal
from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.device_plugin import (
    SHARED,
    config_of,
    gpu_count,
    runs_mps_daemon,
    runs_plugin,
    shown,
    uses_mps,
)
from eks_rehearsal.cluster.kube import STRATEGIC, Document, condition, kubeconfig
from eks_rehearsal.cluster.nodes import Aws
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.labels import GPU_RESOURCE, ROLE_ANNOTATION
from eks_rehearsal.processes import Process, Processes, free_port

CONTROLLER_IMAGE = re.compile(r"karpenter/controller(?::(?P<tag>[^@]+))?")
IRSA_AUDIENCE = "sts.amazonaws.com"
POD_IDENTITY_AUDIENCE = "pods.eks.amazonaws.com"
TOKEN_SECONDS = 86_400
# What a pod is given to end where it does not say; https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
GRACE_SECONDS = 30.0
FAULT = re.compile(r'^panic:|"level":"(ERROR|PANIC|FATAL)"')
CRASHES_THAT_TELL = 2
BACK_OFF_SECONDS = (1, 2, 4, 8)
# How often a kubelet tries again to start what it refused.
LOOK_AGAIN_SECONDS = 2.0
# What the played kubelets wait for, as it is written in kubelet.yaml.
ADMITTED = "PodReadyToStartContainers"
BYTES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1}

# Gives a process its pod's name for a host name.
NAMED = Path(__file__).parent.parent / "named.py"


@dataclass
class Controller:
    """A pod of Karpenter and the process that stands for its container."""

    namespace: str
    name: str
    pod: Document
    stopped: threading.Event = field(default_factory=threading.Event)
    process: Process | None = None
    metrics: int = 0
    restarts: int = 0
    ready: bool = False
    last_words: str = ""
    in_a_row: int = 0
    grace: float = 0.0


@dataclass
class Pods:
    """Looks at the pods of one cluster.

    Args:
        plane: The cluster.

        aws: The emulated AWS.

        processes: What controllers run in.

        programs: Karpenter's controllers, by the tag of their image; an image of another tag runs as the first.

        environment: The environment variables that lead to the emulated AWS.

        pod_identity: The URL that gives Pod Identity's credentials.

        notes: Where it is noted, for the report, that an image ran as another's program.

        controllers: The controllers there are, by the uid of their pods.
    """

    plane: ControlPlane
    aws: Aws
    processes: Processes
    programs: Mapping[str, Path]
    environment: Mapping[str, str]
    pod_identity: str
    notes: list[str] = field(default_factory=list)
    controllers: dict[str, Controller] = field(default_factory=dict)
    _plugins: dict[str, Document] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _refused: dict[str, Document] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Look, until `stop`."""
        watch = self.plane.kube.watch
        threading.Thread(
            target=watch, args=("/api/v1/pods", self._seen, self._stopped), daemon=True, name="pods"
        ).start()
        threading.Thread(target=self._look_again, daemon=True, name="refused pods").start()

    def stop(self) -> None:
        """Stop looking, and every controller."""
        self._stopped.set()
        for controller in list(self.controllers.values()):
            controller.stopped.set()
            if controller.process:
                controller.process.stop(grace=3)

    def trouble(self) -> str:
        """Why no controller can run: the last words of one that ended again and again; empty while any is ready."""
        controllers = list(self.controllers.values())
        if any(one.ready for one in controllers):
            return ""
        return next((one.last_words for one in controllers if one.in_a_row >= CRASHES_THAT_TELL), "")

    def logs(self) -> list[Path]:
        """The logs of the controllers there were."""
        return sorted(self.processes.folder.glob("karpenter-*.log"))

    def log_lines(self, words: str) -> list[str]:
        """The lines of those logs that have these words."""
        texts = (log.read_text(encoding="utf-8", errors="replace") for log in self.logs())
        return [line for text in texts for line in text.splitlines() if words in line]

    def metrics(self, uid: str) -> str:
        """What a controller tells about itself, in the words of Prometheus; nothing while it does not answer."""
        controller = self.controllers.get(uid)
        return _answer(controller.metrics, "metrics") or "" if controller else ""

    def _seen(self, kind: str, pod: Document) -> None:
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        gone = kind == "DELETED" or "deletionTimestamp" in pod["metadata"]
        if _runs(pod, CONTROLLER_IMAGE):
            self._controller(kind, uid, pod, gone=gone)
            return
        if gone and _is_named_karpenter(pod):
            self._told_to_end(uid, pod, 0)
        if gone or not node:
            self._refused.pop(uid, None)
        elif (
            pod["status"].get("phase") == "Pending" and condition(pod, ADMITTED) != "True" and uid not in self._refused
        ):
            self._admit(uid, pod)
        if node and (runs_plugin(pod["spec"]) or runs_mps_daemon(pod["spec"])):
            self._plugin(uid, pod, works=not gone and condition(pod, "Ready") == "True")

    def _admit(self, uid: str, pod: Document) -> None:
        """Let the played kubelet start a pod, or show why none would."""
        refused = refusal(pod, self.plane.kube)
        if refused is None:
            self._refused.pop(uid, None)
            self._patch(pod, {"conditions": [{"type": ADMITTED, "status": "True", "lastTransitionTime": _now()}]})
        elif uid not in self._refused:
            self._refused[uid] = pod
            self._patch(
                pod,
                {
                    "phase": "Pending",
                    "containerStatuses": [_waiting(one, refused) for one in pod["spec"]["containers"]],
                },
            )

    def _look_again(self) -> None:
        """Try again what was refused: what was missing may have come."""
        while not self._stopped.wait(LOOK_AGAIN_SECONDS):
            for uid, pod in list(self._refused.items()):
                with contextlib.suppress(RehearsalError):
                    self._admit(uid, pod)

    def _patch(self, pod: Document, status: Document) -> None:
        """Change a pod's status; that of one that is gone is nobody's."""
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        self.plane.kube.patch_present(path, {"status": status}, kind=STRATEGIC)

    def _plugin(self, uid: str, pod: Document, *, works: bool) -> None:
        """A device plugin that works shows its node's GPUs to the kubelet; one that goes takes them away."""
        if works and uid not in self._plugins:
            self._plugins[uid] = pod
            self._show_gpus(pod["spec"]["nodeName"])
        elif not works and uid in self._plugins:
            del self._plugins[uid]
            self._show_gpus(pod["spec"]["nodeName"])

    def _show_gpus(self, name: str) -> None:
        node = self.plane.kube.find(f"/api/v1/nodes/{name}")
        if node is None:
            return
        type_ = node["metadata"]["labels"]["node.kubernetes.io/instance-type"]
        kind = self.aws.client("ec2").describe_instance_types(InstanceTypes=[type_])["InstanceTypes"][0]
        there = [pod for pod in self._plugins.values() if pod["spec"]["nodeName"] == name]
        works: dict[str, str] = {}
        for pod in there:
            if runs_plugin(pod["spec"]):
                works |= self._gpus_of(
                    pod, gpu_count(kind), with_mps=any(runs_mps_daemon(one["spec"]) for one in there)
                )
        before = [one for one in node["status"].get("capacity", {}) if one in {GPU_RESOURCE, SHARED}]
        if works or before:
            shown = {"capacity": works, "allocatable": dict.fromkeys(before, "0") | works}
            # It may have gone since.
            self.plane.kube.patch_present(f"/api/v1/nodes/{name}/status", {"status": shown}, kind=STRATEGIC)

    def _gpus_of(self, pod: Document, gpus: int, *, with_mps: bool) -> dict[str, str]:
        """What one plugin shows; nothing while it waits for MPS, and when it ends with an error, which its pod then says."""
        try:
            config = config_of(pod, self.plane.kube)
            return shown(config, gpus) if gpus and (with_mps or not uses_mps(config)) else {}
        except RehearsalError as error:
            ended = Refusal("CrashLoopBackOff", str(error))
            self._patch(pod, {"containerStatuses": [_waiting(one, ended) for one in pod["spec"]["containers"]]})
            return {}

    def _controller(self, kind: str, uid: str, pod: Document, *, gone: bool) -> None:
        if gone:
            self._told_to_end(uid, pod, 0 if kind == "DELETED" else _grace_of(pod))
        elif pod["spec"].get("nodeName") and uid not in self.controllers:
            metadata = pod["metadata"]
            controller = self.controllers[uid] = Controller(metadata["namespace"], metadata["name"], pod)
            threading.Thread(target=self._live, args=(controller,), daemon=True, name=metadata["name"]).start()

    def _told_to_end(self, uid: str, pod: Document, grace: float) -> None:
        """Once for each pod, which is seen again as it changes, and a last time when it is gone."""
        if uid in self._ended:
            return
        self._ended.add(uid)
        controller = self.controllers.pop(uid, None)
        if controller is None:
            threading.Thread(target=self._remove, args=(pod,), daemon=True, name="ended pod").start()
        else:
            controller.grace = grace
            controller.stopped.set()

    def _remove(self, pod: Document) -> None:
        """Tell the API server that a pod has ended, as its kubelet does."""
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        while not self._stopped.is_set():
            with contextlib.suppress(RehearsalError):
                self.plane.kube.ended(path, metadata["uid"])
                return
            self._stopped.wait(LOOK_AGAIN_SECONDS)

    def _live(self, controller: Controller) -> None:
        """Run a controller until its pod is told to go; start it again when it ends by itself.

        Its pod goes when it has ended: until then its token is good, with which it gives its lease back.
        """
        while not controller.stopped.is_set() and not self._stopped.is_set():
            try:
                last_words = self._run(controller)
            except Exception as error:  # noqa: BLE001 - whatever keeps it from running is why it does not run
                last_words = str(error) if isinstance(error, RehearsalError) else f"{type(error).__name__}: {error}"
            if not controller.stopped.is_set() and not self._stopped.is_set():
                self._crashed(controller, last_words)
        if controller.process:
            controller.process.stop(grace=controller.grace)
        if not self._stopped.is_set():
            self._remove(controller.pod)

    def _run(self, controller: Controller) -> str:
        """Run a controller once, and show whether it is ready; its last words."""
        port = self._start(controller)
        process = controller.process
        assert process is not None
        while process.running and not self._stopped.is_set() and not controller.stopped.wait(0.3):
            if (ready := _answer(port, "readyz") is not None) != controller.ready:
                controller.ready = ready
                controller.in_a_row = 0 if ready else controller.in_a_row
                self._show(controller)
        return _why(process)

    def _crashed(self, controller: Controller, last_words: str) -> None:
        if controller.process:
            controller.process.stop(grace=3)
        controller.ready = False
        controller.last_words = last_words
        controller.in_a_row += 1
        controller.restarts += 1
        with contextlib.suppress(RehearsalError):
            self._show(controller)
        controller.stopped.wait(BACK_OFF_SECONDS[min(controller.in_a_row, len(BACK_OFF_SECONDS)) - 1])

    def _start(self, controller: Controller) -> int:
        """Start the process with the environment of the container; the port on which it says that it is ready."""
        if refused := refusal(controller.pod, self.plane.kube):
            raise RehearsalError(refused.message)
        port, controller.metrics = free_port(), free_port()
        container = controller.pod["spec"]["containers"][0]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.processes.folder),
            **dict(_environment(controller.pod, container)),
            **self.environment,
            **self._identity(controller),
            "LEADER_ELECTION_NAMESPACE": controller.namespace,  # In a pod it is read from a file that is not here.
            "HEALTH_PROBE_PORT": str(port),
            "METRICS_PORT": str(controller.metrics),
        }
        arguments = container.get("args") or []
        name = f"karpenter-{controller.name}"
        program = self._program(container["image"])
        in_pod = (sys.executable, "-I", "-S", NAMED, controller.name)
        controller.process = self.processes.start(name, [*in_pod, program, *arguments], env=environment)
        return port

    def _program(self, image: str) -> Path:
        """The controller of an image, or the one that stands in for it, and then it is noted."""
        match, (first, *_) = CONTROLLER_IMAGE.search(image), self.programs
        if match and match["tag"] in self.programs:
            return self.programs[match["tag"]]
        note = f"the image {image} ran as that of Karpenter {first}: no program was built for its tag"
        if note not in self.notes:
            self.notes.append(note)
        return self.programs[first]

    def _identity(self, controller: Controller) -> dict[str, str]:
        """Who the container is to Kubernetes, by its service account's token, and to AWS, by its role."""
        account = controller.pod["spec"].get("serviceAccountName", "default")
        path = f"/api/v1/namespaces/{controller.namespace}/serviceaccounts/{account}"
        folder = self.processes.folder / f"pod-{controller.name}"
        folder.mkdir(exist_ok=True)
        token = self._token(path, controller, folder / "token", [])
        config = kubeconfig(
            folder / "kubeconfig",
            self.plane.server,
            self.plane.authority,
            token_file=token,
            namespace=controller.namespace,
        )
        return {"KUBECONFIG": str(config), **self._aws_identity(path, account, controller, folder)}

    def _aws_identity(self, path: str, account: str, controller: Controller, folder: Path) -> dict[str, str]:
        annotations = self.plane.kube.get(path)["metadata"].get("annotations") or {}
        associations = self.aws.client("eks").list_pod_identity_associations(
            clusterName=self.plane.name, namespace=controller.namespace, serviceAccount=account
        )["associations"]
        if associations:
            token = self._token(path, controller, folder / "pod-identity-token", [POD_IDENTITY_AUDIENCE])
            return {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.pod_identity}/{controller.pod['spec'].get('nodeName')}",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
            }
        if ROLE_ANNOTATION in annotations:
            token = self._token(path, controller, folder / "aws-token", [IRSA_AUDIENCE])
            return {"AWS_ROLE_ARN": annotations[ROLE_ANNOTATION], "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
        return {}

    def _token(self, path: str, controller: Controller, file: Path, audiences: list[str]) -> Path:
        pod = controller.pod["metadata"]
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": TOKEN_SECONDS,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod["name"], "uid": pod["uid"]},
            },
        }
        answer = self.plane.kube.create(f"{path}/token", request)
        file.touch(mode=0o600)
        file.write_text(answer["status"]["token"], encoding="utf-8")
        return file

    def _show(self, controller: Controller) -> None:
        """Show the state of the process as the state of the pod."""
        now = _now()
        said = "True" if controller.ready else "False"
        container = controller.pod["spec"]["containers"][0]
        running = controller.process is not None and controller.process.running
        state: Document = {"running": {"startedAt": now}} if running else {"waiting": {"reason": "CrashLoopBackOff"}}
        status = {
            "phase": "Running",
            "conditions": [
                {"type": type_, "status": said, "lastTransitionTime": now} for type_ in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": controller.ready,
                    "restartCount": controller.restarts,
                    "started": running,
                    "state": state,
                }
            ],
        }
        self._patch(controller.pod, status)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _waiting(container: Document, refused: Refusal) -> Document:
    waiting = {"reason": refused.reason, "message": refused.message}
    named = {"name": container["name"], "image": container["image"], "imageID": ""}
    return {**named, "ready": False, "restartCount": 0, "state": {"waiting": waiting}}


def _why(process: Process) -> str:
    """Why a controller ended: its last panic or error, or else its last line."""
    lines = process.last_words(200).splitlines()
    return next((line for line in reversed(lines) if FAULT.search(line)), lines[-1] if lines else "it said nothing")


def _runs(pod: Document, image: re.Pattern[str]) -> bool:
    return any(image.search(container["image"]) for container in pod["spec"]["containers"])


def _grace_of(pod: Document) -> float:
    """The seconds that a pod which is told to go has to end."""
    return float(pod["metadata"].get("deletionGracePeriodSeconds", GRACE_SECONDS))


def _is_named_karpenter(pod: Document) -> bool:
    """Whether kubelet.yaml leaves its end to the process that stands for it."""
    return bool((pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == "karpenter")


def _answer(port: int, path: str) -> str | None:
    """What a controller answers; None unless it does, with success."""
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/{path}", timeout=2)
    except requests.RequestException:
        return None
    return answer.text if answer.status_code == 200 else None


def _environment(pod: Document, container: Document) -> Iterable[tuple[str, str]]:
    """The environment of a container, its references to the pod and its limits resolved."""
    for variable in container.get("env") or []:
        source = variable.get("valueFrom", {})
        if "value" in variable:
            yield variable["name"], variable["value"]
        elif "fieldRef" in source:
            yield variable["name"], _field(pod, source["fieldRef"]["fieldPath"])
        elif "resourceFieldRef" in source:
            yield variable["name"], _resource(container, source["resourceFieldRef"])


def _field(pod: Document, path: str) -> str:
    found: Any = pod
    for key in path.split("."):
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    return str(found or "")


def _resource(container: Document, reference: Document) -> str:
    group, _, name = reference["resource"].partition(".")
    said = container.get("resources", {}).get(group, {}).get(name, "")
    match = re.fullmatch(r"(\d+)([KMGT]i)?", said)
    if match is None:
        return said or "0"
    divisor = re.fullmatch(r"(\d+)([KMGT]i)?", str(reference.get("divisor") or "1"))
    unit = int(divisor[1]) * BYTES[divisor[2] or ""] if divisor else 1
    return str(int(match[1]) * BYTES[match[2] or ""] // (unit or 1))


def follow(logs: Callable[[], Iterable[Path]], say: Callable[[str], None], stopped: threading.Event) -> None:
    """Say each line of logs, until `stopped`."""
    read: dict[Path, int] = {}
    while not stopped.is_set():
        for log in logs():
            with log.open(encoding="utf-8", errors="replace") as lines:
                lines.seek(read.get(log, 0))
                for line in lines:
                    say(line.rstrip("\n"))
                read[log] = lines.tell()
        time.sleep(0.3)
