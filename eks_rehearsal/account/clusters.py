"""The account's clusters as they run: control planes, nodes, pods and Fargate, and who they take a caller for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from eks_rehearsal.account.endpoint import JSON, Endpoint, Environ, under
from eks_rehearsal.aws.hooks import ClusterEndpoint
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.wire import Response
from eks_rehearsal.cluster.authentication import Authenticator, RoleSession
from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.fargate import Fargate
from eks_rehearsal.cluster.kube import Kube
from eks_rehearsal.cluster.monitoring import Monitoring
from eks_rehearsal.cluster.nodes import NODES_OF_FARGATE, Nodes
from eks_rehearsal.cluster.pods import Pods
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.processes import Processes
from eks_rehearsal.programs import Programs

AUTHENTICATE: Final = "/rehearsal/authenticate/"
POD_IDENTITY: Final = "/rehearsal/pod-identity/"


class RunningClusters:
    """What EKS's API calls create and delete, as processes of this machine.

    Args:
        aws: The emulated AWS.

        programs: What runs.

        processes: What it runs in.

        environment: What leads a program to the emulated AWS.

        notes: Is told what the report must have of the versions that ran.
    """

    def __init__(
        self,
        aws: Callable[[], EmulatedAws],
        programs: Programs,
        processes: Processes,
        environment: Callable[[], Mapping[str, str]],
        notes: list[str],
    ) -> None:
        self._aws, self._environment, self._notes = aws, environment, notes
        self._programs, self._processes = programs, processes
        self.planes: dict[str, ControlPlane] = {}
        self.pods: dict[str, Pods] = {}
        self.fargate: dict[str, Fargate] = {}
        # The issuer of a cluster that must have just that one, by its name.
        self.issuers: dict[str, str] = {}
        self.nodes = Nodes(aws, self.planes)
        self.monitoring = Monitoring(self.planes)

    def create(self, name: str, version: str, _: Mapping[str, Any]) -> ClusterEndpoint:
        """Start a control plane, and what runs pods on its nodes."""
        aws, built = self._aws(), self._programs.kubernetes
        if not built.startswith(f"{version}."):
            raise RehearsalError(f"cluster {name} asks for Kubernetes {version}, and this rehearsal runs {built}")
        issuer = self.issuers.get(name, f"https://oidc.eks.{aws.region}.amazonaws.com/id/{uuid.uuid4().hex.upper()}")
        authenticate = f"{aws.endpoint}{AUTHENTICATE}{name}"
        plane = ControlPlane(name, self._processes, self._programs, issuer=issuer, authenticate=authenticate)
        plane.start()
        self.planes[name] = plane
        self.pods[name] = Pods(
            plane=plane,
            aws=aws,
            processes=self._processes,
            programs=self._programs.controllers,
            environment=dict(self._environment()),
            pod_identity=f"{aws.endpoint}{POD_IDENTITY}{name}",
            notes=self._notes,
        )
        self.pods[name].start()
        self.fargate[name] = Fargate(plane, aws, self.nodes.refusals)
        return ClusterEndpoint(plane.server, plane.authority_base64, issuer)

    def create_fargate_profile(self, cluster: str, profile: Mapping[str, Any]) -> None:
        """Let pods run by it."""
        self.nodes.map_role(cluster, profile["podExecutionRoleArn"], NODES_OF_FARGATE)
        self.fargate[cluster].begin()

    def delete_fargate_profile(self, cluster: str, profile: Mapping[str, Any]) -> None:
        """End the pods that run by it."""
        self.fargate[cluster].end(profile["fargateProfileName"])

    def delete(self, name: str) -> None:
        """Stop all that runs of it."""
        for running in (self.fargate, self.pods, self.planes):
            if name in running:
                running.pop(name).stop()

    def stop(self) -> None:
        """Stop every cluster."""
        for name in list(self.planes):
            self.delete(name)

    def failures(self) -> list[str]:
        """What went wrong in those who watch the clusters."""
        return [failure for plane in list(self.planes.values()) for failure in plane.kube.failures]

    def jwks(self, issuer: str) -> Mapping[str, Any]:
        """The public keys of the cluster with that issuer."""
        return next((plane.jwks for plane in list(self.planes.values()) if plane.issuer == issuer), {"keys": []})

    def endpoints(self) -> list[Endpoint]:
        """What the API servers and the Pod Identity agent ask."""
        return [under(AUTHENTICATE, self._authenticate), under(POD_IDENTITY, self._pod_identity)]

    def _kube(self, name: str) -> Kube:
        return self.planes[name].kube

    def _role_session(self, key: str) -> RoleSession | None:
        session = self._aws().extensions.roles.session_of(key)
        return RoleSession(session.role, session.assumed.arn.rpartition("/")[2]) if session else None

    def _authenticate(self, environ: Environ, body: bytes) -> Response:
        aws, cluster = self._aws(), environ["PATH_INFO"].removeprefix(AUTHENTICATE)
        clusters = aws.extensions.clusters
        authenticator = Authenticator(
            self._role_session,
            aws.client("eks"),
            self.nodes.private_dns,
            self._kube,
            lambda name: clusters[name].creator,
        )
        return Response(200, JSON, json.dumps(authenticator.review(cluster, json.loads(body))).encode())

    def _pod_identity(self, environ: Environ, _: bytes) -> Response:
        cluster, _, node = environ["PATH_INFO"].removeprefix(POD_IDENTITY).partition("/")
        if why := self._refusal_of_agent(cluster, node):
            return Response(400, JSON, json.dumps({"message": f"AccessDeniedException: {why}"}).encode())
        token = environ.get("HTTP_AUTHORIZATION", "")
        answer = self._aws().client("eks-auth").assume_role_for_pod_identity(clusterName=cluster, token=token)
        made = answer["credentials"]
        body = {
            "AccessKeyId": made["accessKeyId"],
            "SecretAccessKey": made["secretAccessKey"],
            "Token": made["sessionToken"],
            "Expiration": made["expiration"].isoformat(),
        }
        return Response(200, JSON, json.dumps(body).encode())

    def _refusal_of_agent(self, cluster: str, node: str) -> str:
        """Why the Pod Identity agent of a node may not ask for credentials, which it does as the node's role."""
        world, found = self._aws().world, self._kube(cluster).find(f"/api/v1/nodes/{node}")
        if found is None:
            return ""
        role = self.nodes.role_of(self.nodes.instance(found["spec"]["providerID"].rpartition("/")[2]))
        with world.turn:
            return world.refusal(role, "eks-auth:AssumeRoleForPodIdentity", world.arn("eks", f"cluster/{cluster}"))
