"""A real Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler; and kwok as the kubelets."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives import serialization
from joserfc.jwk import KeySet, RSAKey

from eks_rehearsal.aws.extensions.eks_access import ACCESS_POLICIES, VIEW_ALL
from eks_rehearsal.certificates import Authority, service_account_key
from eks_rehearsal.cluster.kube import ApiError, Kube, kubeconfig
from eks_rehearsal.cluster.kubelet import Kubelets
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.processes import Process, Processes, free_port, wait_for

KUBELET = Path(__file__).with_name("kubelet.yaml")
SERVICES = "172.20.0.0/16"
START_SECONDS = 90
RBAC = "rbac.authorization.k8s.io"
# The kind of address under which the API server finds a node's kubelet: all are on loopback here.
KUBELET_ADDRESS = "ExternalDNS"


class Binaries(Protocol):
    """The programs that a control plane runs."""

    @property
    def etcd(self) -> Path: ...
    @property
    def kube_apiserver(self) -> Path: ...
    @property
    def kube_controller_manager(self) -> Path: ...
    @property
    def kube_scheduler(self) -> Path: ...
    @property
    def kwok(self) -> Path: ...


class ControlPlane:
    """One cluster's control plane.

    Args:
        name: The cluster's name.

        processes: What its programs run in.

        binaries: Its programs.

        issuer: The `iss` of its service account tokens.

        authenticate: The URL that says who the bearer of a token is.
    """

    def __init__(self, name: str, processes: Processes, binaries: Binaries, *, issuer: str, authenticate: str) -> None:
        self.name = name
        self.issuer = issuer
        self.folder = processes.folder / f"cluster-{name}-{uuid.uuid4().hex[:6]}"
        self._processes = processes
        self._binaries = binaries
        self._authority = Authority(self.folder, "kubernetes")
        self._service_accounts, self._public = service_account_key(self.folder)
        self._authenticate = authenticate
        self._running: list[Process] = []
        self.kubelets = Kubelets(self.server_certificate("kubelets"), processes.folder)
        self.server = f"https://127.0.0.1:{free_port()}"
        admin = self._authority.client("rehearsal", ["system:masters"])
        self.kubeconfig = kubeconfig(self.folder / "admin.conf", self.server, self._authority.file, certificate=admin)
        self.kube = Kube(self.server, self._authority.file, certificate=admin)

    @property
    def authority(self) -> Path:
        """The file with the API server's certificate authority."""
        return self._authority.file

    @property
    def authority_base64(self) -> str:
        return self._authority.base64

    @property
    def jwks(self) -> Mapping[str, Any]:
        """The public key of service account tokens, as the issuer publishes it."""
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        identity = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
        key = RSAKey.import_key(self._public, {"kid": identity, "alg": "RS256", "use": "sig"})
        return dict(KeySet([key]).as_dict(private=False))

    def server_certificate(self, name: str) -> tuple[Path, Path]:
        """The certificate and key of a server on loopback that the API server asks."""
        return self._authority.server(name, ["localhost", "127.0.0.1"])

    def start(self) -> None:
        """Start the programs and wait until the API server serves."""
        self.kubelets.start()
        clients = f"http://127.0.0.1:{free_port()}"
        self._run("etcd", self._binaries.etcd, *self._etcd(clients))
        self._api_server_asks = self._api_server(clients)
        self.start_api_server()
        self._run("kube-controller-manager", self._binaries.kube_controller_manager, *self._controller_manager())
        config = self._config("system:kube-scheduler")
        scheduler: list[str | Path] = ["--kubeconfig", config, "--leader-elect=false", "--secure-port=0"]
        scheduler += ["--authentication-kubeconfig", config, "--authorization-kubeconfig", config]
        self._run("kube-scheduler", self._binaries.kube_scheduler, *scheduler)
        kwok: list[str | Path] = ["--kubeconfig", self.kubeconfig, "--config", KUBELET, "--manage-all-nodes=true"]
        kwok += ["--node-lease-duration-seconds=40", "--cidr=10.244.0.1/16", "--node-ip=127.0.0.1"]
        self._run("kwok", self._binaries.kwok, *kwok)
        wait_for("namespace kube-system", self._bind_access_policies, seconds=START_SECONDS, alive=self._running)

    def start_api_server(self) -> None:
        """Start the API server, on what etcd has, and wait until it serves."""
        self._api = self._run("kube-apiserver", self._binaries.kube_apiserver, *self._api_server_asks)
        wait_for("the API server", self.kube.ready, seconds=START_SECONDS, alive=self._running)

    def stop_api_server(self) -> None:
        """Stop the API server alone."""
        self._api.stop(grace=3)
        self._running.remove(self._api)

    def stop(self) -> None:
        """Stop the programs, last started first."""
        for process in reversed(self._running):
            process.stop(grace=3)
        if self._running:
            self.kubelets.stop()
        self._running.clear()

    def check(self) -> str:
        """The first program that has ended, with its last words; nothing while all run."""
        for process in self._running:
            if not process.running:
                return f"{process.name} ended with exit code {process.exit_code}: {process.last_words(2)}"
        return ""

    def _run(self, name: str, program: Path, *args: str | Path) -> Process:
        process = self._processes.start(f"{self.folder.name}-{name}", [program, *args])
        self._running.append(process)
        return process

    def _etcd(self, clients: str) -> list[str | Path]:
        peers = f"http://127.0.0.1:{free_port()}"
        return [
            "--data-dir",
            self.folder / "etcd",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync=true",  # A rehearsal's data need not outlive a power cut.
            "--log-level=warn",
        ]

    def _api_server(self, etcd: str) -> list[str | Path]:
        hosts = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "172.20.0.1"]
        certificate, key = self._authority.server("kube-apiserver", hosts)
        return [
            f"--etcd-servers={etcd}",
            f"--secure-port={self.server.rpartition(':')[2]}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # Endpoints refuse a loopback address, and no pod asks for this one.
            f"--service-cluster-ip-range={SERVICES}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self._authority.file}",
            f"--service-account-key-file={self._service_accounts}",
            f"--service-account-signing-key-file={self._service_accounts}",
            f"--service-account-issuer={self.issuer}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--authentication-token-webhook-config-file={self._webhook()}",
            "--authentication-token-webhook-version=v1",
            "--authentication-token-webhook-cache-ttl=5s",
            f"--kubelet-preferred-address-types={KUBELET_ADDRESS}",
            "--allow-privileged=true",
            "--profiling=false",
        ]

    def _controller_manager(self) -> list[str | Path]:
        config = self._config("system:kube-controller-manager")
        return [
            "--kubeconfig",
            config,
            "--authentication-kubeconfig",
            config,
            "--authorization-kubeconfig",
            config,
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self._service_accounts}",
            f"--root-ca-file={self._authority.file}",
            "--concurrent-gc-syncs=4",
        ]

    def _config(self, user: str) -> Path:
        path = self.folder / f"{user.rpartition(':')[2]}.conf"
        return kubeconfig(path, self.server, self._authority.file, certificate=self._authority.client(user))

    def _webhook(self) -> Path:
        """Where the API server asks who a bearer of an AWS token is: EKS's authenticator."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "authenticator", "cluster": {"server": self._authenticate}}],
            "users": [{"name": "api-server", "user": {}}],
            "contexts": [{"name": "webhook", "context": {"cluster": "authenticator", "user": "api-server"}}],
            "current-context": "webhook",
        }
        path = self.folder / "authenticator.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def _bind_access_policies(self) -> bool:
        """Bind a group to each of EKS's access policies; whether all are bound, and kube-system is there."""
        everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
        try:
            bound = [self._allow("ClusterRole", VIEW_ALL, rules=[everything])]
            bound += [self._bind(f"eks:{policy}", role) for policy, role in ACCESS_POLICIES.items() if role]
            return all(bound) and self.kube.find("/api/v1/namespaces/kube-system") is not None
        except RehearsalError:
            return False

    def _bind(self, group: str, role: str) -> bool:
        return self._allow(
            "ClusterRoleBinding",
            group,
            roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            subjects=[{"apiGroup": RBAC, "kind": "Group", "name": group}],
        )

    def _allow(self, kind: str, name: str, **what: Any) -> bool:
        document = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": name}, **what}
        try:
            self.kube.create(f"/apis/{RBAC}/v1/{kind.lower()}s", document)
        except ApiError as error:
            return error.reason == "AlreadyExists"
        return True
