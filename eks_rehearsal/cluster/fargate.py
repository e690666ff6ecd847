"""Fargate: each pod that a profile selects gets a node of its own, which signs in as the profile's pod execution role."""

from __future__ import annotations

import base64
import ipaddress
import json
import ssl
import threading
import uuid
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.kube import ApiError, Document, Kube
from eks_rehearsal.cluster.nodes import Aws, eks_token, node_info
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.processes import wait_for

SCHEDULER = "fargate-scheduler"
PROFILE_LABEL = "eks.amazonaws.com/fargate-profile"
COMPUTE_TYPE = "eks.amazonaws.com/compute-type"
WEBHOOK = "0500-amazon-eks-fargate-mutation.amazonaws.com"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
NODES = "/api/v1/nodes"
AGAIN_SECONDS = 3.0
WEBHOOK_SECONDS = 30.0
ENDED = ("Succeeded", "Failed")


class Fargate:
    """Fargate in one cluster, which is not there before its first profile.

    Args:
        plane: The cluster.

        aws: The emulated AWS.

        refusals: Is told why a pod has no node, by the pod's uid.
    """

    def __init__(self, plane: ControlPlane, aws: Aws, refusals: dict[str, str]) -> None:
        self._plane, self._aws, self._refusals = plane, aws, refusals
        self._server: ThreadingHTTPServer | None = None
        self._asked, self._stopped, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._taken: set[str] = set()

    def begin(self) -> None:
        """Take the pods that profiles select, from now on until `stop`."""
        with self._lock:
            if self._server is None:
                self._server = _serving(self._plane.server_certificate("fargate"), self.reviewed)
                self._plane.kube.create(WEBHOOKS, self._webhook(int(self._server.server_address[1])))
                watched = ("/api/v1/pods", self._seen, self._stopped)
                threading.Thread(target=self._plane.kube.watch, args=watched, daemon=True, name="fargate").start()
        # The API server takes a moment to heed a webhook.
        wait_for("Fargate's webhook to be asked", self._is_asked, seconds=WEBHOOK_SECONDS)

    def end(self, profile: str) -> None:
        """Delete the pods of a profile, and wait until their nodes are gone."""
        wanted = {"labelSelector": f"{PROFILE_LABEL}={profile}"}
        nodes = set()
        for pod in self._plane.kube.items("/api/v1/pods", **wanted):
            nodes.add(pod["spec"].get("nodeName"))
            self._plane.kube.delete(_path(pod))
        wait_for(
            f"the nodes of Fargate profile {profile} to go",
            lambda: not nodes & {node["metadata"]["name"] for node in self._plane.kube.items(NODES)},
            seconds=WEBHOOK_SECONDS,
        )

    def stop(self) -> None:
        """Take no more pods."""
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def reviewed(self, review: Mapping[str, Any]) -> Document:
        """The answer to the API server that is about to create a pod: whom a profile selects goes to Fargate."""
        self._asked.set()
        request = review["request"]
        response: Document = {"uid": request["uid"], "allowed": True}
        metadata = request["object"]["metadata"]
        # The pod of a DaemonSet is for a node that is there.
        of_daemon = any(owner["kind"] == "DaemonSet" for owner in metadata.get("ownerReferences") or [])
        if not of_daemon and (name := self._profile_for(request["namespace"], metadata.get("labels") or {})):
            labels = {**(metadata.get("labels") or {}), PROFILE_LABEL: name}
            patch = [
                {"op": "add", "path": "/spec/schedulerName", "value": SCHEDULER},
                {"op": "add", "path": "/metadata/labels", "value": labels},
            ]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}

    def _profile_for(self, namespace: str, labels: Mapping[str, str]) -> str:
        """The profile that selects a pod, the first by name; empty when none does."""
        names: list[str] = self._aws.client("eks").list_fargate_profiles(clusterName=self._plane.name)[
            "fargateProfileNames"
        ]
        for name in sorted(names):
            profile = self._profile(name)
            if profile["status"] == "ACTIVE" and any(_selects(one, namespace, labels) for one in profile["selectors"]):
                return name
        return ""

    def _profile(self, name: str) -> Document:
        asked = {"clusterName": self._plane.name, "fargateProfileName": name}
        found: Document = self._aws.client("eks").describe_fargate_profile(**asked)["fargateProfile"]
        return found

    def _is_asked(self) -> bool:
        container = {"name": "probe", "image": "probe"}
        probe = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"probe-{uuid.uuid4().hex[:6]}"},
            "spec": {"containers": [container]},
        }
        try:
            self._plane.kube.create("/api/v1/namespaces/default/pods?dryRun=All", probe)
        except ApiError:
            """The namespace has no service account yet."""
        return self._asked.is_set()

    def _webhook(self, port: int) -> Document:
        rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
        webhook = {
            "name": WEBHOOK,
            "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": self._plane.authority_base64},
            "rules": [rule],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": WEBHOOK},
            "webhooks": [webhook],
        }

    def _seen(self, kind: str, pod: Document) -> None:
        if pod["spec"].get("schedulerName") != SCHEDULER:
            return
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        gone = kind == "DELETED" or pod["status"].get("phase") in ENDED
        if gone and node:
            self._plane.kube.delete(f"{NODES}/{node}")
        elif not gone and not node and uid not in self._taken:
            self._taken.add(uid)
            threading.Thread(target=self._place, args=(pod,), daemon=True, name=f"fargate {uid}").start()

    def _place(self, pod: Document) -> None:
        """Give a pod its node: until it has it, or is gone, it is tried."""
        uid = pod["metadata"]["uid"]
        while not self._stopped.is_set() and self._waits(pod):
            try:
                name = self._node(pod)
                target = {"apiVersion": "v1", "kind": "Node", "name": name}
                metadata = {"name": pod["metadata"]["name"], "uid": uid}
                binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
                self._plane.kube.create(f"{_path(pod)}/binding", binding)
            except Exception as error:  # noqa: BLE001 - whatever keeps it from a node is why it has none
                said = str(error) if isinstance(error, RehearsalError) else f"{type(error).__name__}: {error}"
                self._refusals[uid] = f"pod {pod['metadata']['name']} has no Fargate node: {said}"
                self._stopped.wait(AGAIN_SECONDS)
            else:
                break
        self._refusals.pop(uid, None)

    def _waits(self, pod: Document) -> bool:
        """Whether the pod is there, and has no node."""
        found = self._plane.kube.find(_path(pod))
        return (
            found is not None and found["metadata"]["uid"] == pod["metadata"]["uid"] and "nodeName" not in found["spec"]
        )

    def _node(self, pod: Document) -> str:
        """Register a node for a pod as the profile's role; its name."""
        profile = self._profile(pod["metadata"]["labels"][PROFILE_LABEL])
        document = self._document(pod, profile)
        name, role = document["metadata"]["name"], profile["podExecutionRoleArn"]
        token = eks_token(self._aws.credentials_for(role, name), self._plane.name, self._aws.region)
        try:
            Kube(self._plane.server, self._plane.authority, token=token).create(NODES, document)
        except ApiError as error:
            if error.code == 401:
                raise RehearsalError(
                    f"the pod execution role {role} has no access entry in cluster {self._plane.name}, nor an aws-auth "
                    "mapping that counts"
                ) from None
            if error.reason != "AlreadyExists":
                raise
        return str(name)

    def _document(self, pod: Document, profile: Document) -> Document:
        number = uuid.UUID(pod["metadata"]["uid"]).int
        subnets = self._aws.client("ec2").describe_subnets(SubnetIds=profile["subnets"])["Subnets"]
        subnet = subnets[number % len(subnets)]
        block = ipaddress.ip_network(subnet["CidrBlock"])
        # The first four addresses of a subnet, and its last, are AWS's.
        address = str(block[4 + number % (block.num_addresses - 5)])
        zone, name = (
            subnet["AvailabilityZone"],
            f"fargate-ip-{address.replace('.', '-')}.{self._aws.region}.compute.internal",
        )
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {
                    COMPUTE_TYPE: "fargate",
                    "kubernetes.io/arch": "amd64",
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/hostname": name,
                    "topology.kubernetes.io/region": self._aws.region,
                    "topology.kubernetes.io/zone": zone,
                },
            },
            "spec": {
                "providerID": f"aws:///{zone}/{pod['metadata']['uid']}/{name}",
                "taints": [{"key": COMPUTE_TYPE, "value": "fargate", "effect": "NoSchedule"}],
            },
            "status": {
                **{key: {"cpu": "2", "memory": "8Gi", "pods": "1"} for key in ("capacity", "allocatable")},
                "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
                "nodeInfo": node_info("amd64", self._plane.kube),
            },
        }


def _path(pod: Document) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _selects(selector: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a profile's selector, in which * and ? stand for any text and letter, is for a pod."""
    wanted = (selector.get("labels") or {}).items()
    return fnmatchcase(namespace, selector["namespace"]) and all(
        fnmatchcase(labels.get(key, ""), value) and key in labels for key, value in wanted
    )


def _serving(certificate: tuple[Any, Any], answer: Callable[[Mapping[str, Any]], Document]) -> ThreadingHTTPServer:
    """A server on loopback that answers JSON with JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(answer(asked)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True, name="fargate webhook").start()
    return server
