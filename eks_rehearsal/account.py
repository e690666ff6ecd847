"""The stage of a rehearsal: an emulated account whose clusters are real control planes, and the CDK's CLI that deploys."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import requests
from typing_extensions import Self

from eks_rehearsal import charts
from eks_rehearsal.assembly import DEFAULT_QUALIFIER, Assembly
from eks_rehearsal.aws.hooks import ClusterEndpoint, Hooks
from eks_rehearsal.aws.proxy import AwsProxy
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.tls import ProxyCertificates
from eks_rehearsal.aws.wire import Response
from eks_rehearsal.cloudformation.api import CloudFormation, bucket_and_key
from eks_rehearsal.cloudformation.custom import HOST, CustomResources, find
from eks_rehearsal.cloudformation.engine import Engine, Event, Stack, Surroundings
from eks_rehearsal.cloudformation.nested import NestedStacks
from eks_rehearsal.cloudformation.resource import Context
from eks_rehearsal.cloudformation.types import TYPES
from eks_rehearsal.cluster.authentication import Authenticator, RoleSession
from eks_rehearsal.cluster.control_plane import ControlPlane
from eks_rehearsal.cluster.fargate import Fargate
from eks_rehearsal.cluster.kube import Kube
from eks_rehearsal.cluster.nodes import NODES_OF_FARGATE, Nodes
from eks_rehearsal.cluster.pods import Pods
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.functions import Functions
from eks_rehearsal.functions.runner import Function, decode
from eks_rehearsal.iam.evaluator import Policy
from eks_rehearsal.processes import Processes, free_port, wait_for
from eks_rehearsal.programs import Programs, cache_folder

AUTHENTICATE = "/rehearsal/authenticate/"
POD_IDENTITY = "/rehearsal/pod-identity/"
ROOT = {"AWS_ACCESS_KEY_ID": "AKIAREHEARSALROOT001", "AWS_SECRET_ACCESS_KEY": "rehearsal"}
# Before what failed, in what the CDK's command line says; a trace comes after it.
MARK = "❌"
JSON = {"Content-Type": "application/json"}
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class _Front:
    """One path or service of the emulated AWS that the rehearsal answers itself."""

    def __init__(self, mine: Callable[[Environ, str], bool], answer: Callable[[Environ, bytes], Response]) -> None:
        self._mine = mine
        self._answer = answer

    def matches(self, environ: Environ, service: str, action: str) -> bool:
        del action
        return self._mine(environ, service)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            response = self._answer(environ, environ["wsgi.input"].read())
        except Exception as error:  # noqa: BLE001 - the caller gets an answer, and a fault of ours is not taken for one of its own.
            said = f"the rehearsal failed at {environ['PATH_INFO']}: {type(error).__name__}: {error}"
            response = Response(501, {"Content-Type": "text/plain"}, said.encode())
        start_response(f"{response.status} -", list(response.headers.items()))
        return [response.body]


@dataclass(frozen=True)
class CommandResult:
    """What a run of a command line gave."""

    exit_code: int
    output: str

    @property
    def last_line(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    @property
    def complaint(self) -> str:
        """The line with the CDK's own mark of what failed; the last line where there is none."""
        marked = [line.strip() for line in self.output.splitlines() if MARK in line]
        return marked[-1].partition(MARK)[2].strip() if marked else self.last_line


class Account:
    """An emulated account on this machine, as a context manager.

    Args:
        assembly: What is to be deployed; says the region, the account and the charts.

        programs: What runs.

        processes: What it runs in.

        node: The Node.js program.

        port: The port of the emulated AWS; a free one when 0.

        authorize: Whether calls of roles are decided by the roles' policies.

        controls: Service control policies, which count where `authorize` is on.

        heard: Is told each event of a stack.
    """

    def __init__(
        self,
        assembly: Assembly,
        programs: Programs,
        processes: Processes,
        *,
        node: Path,
        port: int = 0,
        authorize: bool = False,
        controls: Sequence[Policy] = (),
        heard: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self.assembly = assembly
        self.programs = programs
        self.processes = processes
        self.node = node
        self.clusters: dict[str, ControlPlane] = {}
        self.pods: dict[str, Pods] = {}
        self.fargate: dict[str, Fargate] = {}
        # What the report must say about the versions that ran.
        self.notes = list(programs.notes)
        # The issuer of a cluster that must have just that one, by its name.
        self.issuers: dict[str, str] = {}
        self.nodes = Nodes(lambda: self.aws, self.clusters)
        self._heard = heard
        self._custom = CustomResources(lambda: self.functions)
        hooks = Hooks(
            create_cluster=self._create_cluster,
            delete_cluster=self._delete_cluster,
            create_nodegroup=self.nodes.create_nodegroup,
            update_nodegroup=self.nodes.update_nodegroup,
            delete_nodegroup=self.nodes.delete_nodegroup,
            create_fargate_profile=self._create_fargate_profile,
            delete_fargate_profile=lambda cluster, profile: self.fargate[cluster].end(profile["fargateProfileName"]),
            instance_launched=self.nodes.launched,
            instance_terminated=self.nodes.terminated,
            invoke=self._run_function,
            jwks=self._jwks,
        )
        self.hooks = hooks
        self.aws = EmulatedAws(
            region=assembly.region,
            account=assembly.account,
            port=port,
            hooks=hooks,
            fronts=self._fronts(),
            authorize=authorize,
            controls=controls,
        )
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as ends:
            ends.enter_context(self.aws)
            registry = self._start_registry()
            hosts = sorted({chart.host for chart in self.assembly.charts})
            trust = ProxyCertificates(self.processes.folder / "proxy")
            self.proxy = ends.enter_context(
                AwsProxy(trust=trust, aws=self.aws.endpoint, registry=registry, registries=hosts)
            )
            ends.callback(self._stop_clusters)
            self._ends = ends.pop_all()
        self.functions = self._functions()
        self.cloudformation = self._cloudformation()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead a program to this AWS and to nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_REGION": self.aws.region,
            "AWS_DEFAULT_REGION": self.aws.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.proxy.environment,
        }

    def root(self) -> dict[str, str]:
        """The same, with the credentials of the account's root: what a person types with."""
        # The CDK's command line remembers there whose account a key is, and looks for it past HOME.
        return {**self.environment, **ROOT, "CDK_HOME": str(self.processes.folder / "cdk")}

    def cdk(self, *args: str, app: Path | None = None) -> CommandResult:
        """Run the CDK's command line on an assembly; this account's own when left out."""
        folder = self.processes.folder / "cdk"
        folder.mkdir(exist_ok=True)
        outputs = folder / f"out-{uuid.uuid4().hex[:6]}"
        command: list[str | Path] = [self.node, self.programs.node_modules / "aws-cdk/bin/cdk", *args]
        if args[0] != "bootstrap":
            command += ["--app", app or self.assembly.folder]
        done = self.processes.run(
            [*command, "--output", outputs, "--no-notices", "--ci"],
            cwd=folder,
            env={**self._plain(), **self.root(), "CDK_DISABLE_CLI_TELEMETRY": "true", "HOME": str(folder)},
        )
        return CommandResult(done.returncode, done.stdout + done.stderr)

    def bootstrap(self) -> None:
        """Make what the CDK needs in an account: `cdk bootstrap`.

        Raises:
            RehearsalError: It failed, with its last words.
        """
        for qualifier in self.assembly.qualifiers:
            # A second bootstrap of a region has to be a stack of its own.
            own = ["--qualifier", qualifier, "--toolkit-stack-name", f"CDKToolkit-{qualifier}"]
            options = [] if qualifier == DEFAULT_QUALIFIER else own
            said = self.cdk("bootstrap", f"aws://{self.aws.account}/{self.aws.region}", *options)
            if said.exit_code:
                raise RehearsalError(f"cdk bootstrap failed: {said.complaint}")

    def deploy(self, app: Path | None = None) -> CommandResult:
        """Deploy every stack of an assembly: `cdk deploy --all`."""
        return self.cdk("deploy", "--all", "--require-approval", "never", "--progress", "events", app=app)

    def destroy(self) -> CommandResult:
        """Destroy every stack: `cdk destroy --all`."""
        return self.cdk("destroy", "--all", "--force")

    def failures(self) -> list[str]:
        """What went wrong in those who watch the clusters."""
        return [failure for plane in list(self.clusters.values()) for failure in plane.kube.failures]

    def tools(self) -> list[Path]:
        """Folders with the command lines that a person may use here: kubectl and helm of the stack's layer, aws and cdk."""
        with self.aws.backend("lambda") as lambdas:
            layers = {layer["Arn"]: layer for found in lambdas.list_functions() for layer in found.layers}
        folders = [
            folder
            for arn in layers
            for folder in sorted(self.functions.layer(self._layer(arn)).iterdir())
            if folder.is_dir()
        ]
        return [*folders, self.programs.node_modules / ".bin", self.node.parent]

    def _layer(self, arn: str) -> bytes:
        with self.aws.backend("lambda") as lambdas:
            return bytes(lambdas.layers_versions_by_arn(arn).code_bytes)

    def _plain(self) -> dict[str, str]:
        """The environment of this process, without what would lead to another account."""
        unwanted = ("AWS_", "CDK_", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        return {**kept, "PATH": os.pathsep.join([str(self.node.parent), kept.get("PATH", os.defpath)])}

    def _start_registry(self) -> str:
        port = free_port()
        registry = self.processes.start("registry", [self.programs.registry, "-port", str(port)])
        address = f"http://127.0.0.1:{port}"
        wait_for("the local registry", lambda: _serves(address), seconds=20, alive=[registry])
        other = self.programs.neighbour
        for chart in self.assembly.charts:
            releases = {chart.version: self.programs.charts, **({other.version: other.charts} if other else {})}
            for version, folder in releases.items():
                if (packed := folder / chart.path.rpartition("/")[2]).is_dir():
                    charts.push(packed, address, chart.path, version)
        return address

    def _functions(self) -> Functions:
        return Functions(
            processes=self.processes,
            unpacked=cache_folder() / "unpacked",
            find=self._function,
            credentials=self.aws.credentials_for,
            environment=self.environment,
            node=self.node,
            node_modules=self.programs.node_modules,
        )

    def _function(self, name: str) -> Function:
        with self.aws.backend("lambda") as lambdas:
            found = lambdas.get_function(name)
        return Function(
            arn=found.function_arn,
            name=found.function_name,
            handler=found.handler,
            runtime=found.run_time,
            role=found.role,
            timeout=int(found.timeout),
            memory=int(found.memory_size),
            environment=found.environment_vars,
            code=found.code_bytes,
            layers=tuple(self._layer(layer["Arn"]) for layer in found.layers),
        )

    def _cloudformation(self) -> CloudFormation:
        where = {"partition": self.aws.world.partition, "region": self.aws.region, "account": self.aws.account}
        session = boto3.Session(ROOT["AWS_ACCESS_KEY_ID"], ROOT["AWS_SECRET_ACCESS_KEY"], region_name=self.aws.region)
        zones = self.aws.client("ec2").describe_availability_zones()["AvailabilityZones"]

        def context(stack: Stack, logical_id: str) -> Context:
            partition, account = where["partition"], where["account"]
            return Context(session, self.aws.endpoint, account, partition, stack.name, stack.id, logical_id)

        nested = NestedStacks(lambda: self.cloudformation).type
        surroundings = Surroundings(
            context=context,
            pseudo={
                "AWS::AccountId": where["account"],
                "AWS::Partition": where["partition"],
                "AWS::Region": where["region"],
                "AWS::URLSuffix": "amazonaws.com.cn" if where["partition"] == "aws-cn" else "amazonaws.com",
            },
            zones=tuple(zone["ZoneName"] for zone in zones),
            public=self._parameter,
            types=find({**TYPES, nested.name: nested}, self._custom),
            heard=self._heard,
            stacks=lambda: self.cloudformation.alive(),  # noqa: PLW0108 - which is made of this
        )
        return CloudFormation(Engine(surroundings), where=where, read=self._read, public=self._parameter)

    def _parameter(self, name: str) -> str:
        client = self.aws.client("ssm")
        try:
            return str(client.get_parameter(Name=name)["Parameter"]["Value"])
        except client.exceptions.ParameterNotFound:
            raise RehearsalError(f"the Systems Manager has no parameter {name}") from None

    def _read(self, address: str) -> str:
        bucket, key = bucket_and_key(address)
        return str(self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode())

    def _create_cluster(self, name: str, version: str, _: Mapping[str, Any]) -> ClusterEndpoint:
        built = self.programs.kubernetes
        if not built.startswith(f"{version}."):
            raise RehearsalError(f"cluster {name} asks for Kubernetes {version}, and this rehearsal runs {built}")
        made_up = f"https://oidc.eks.{self.aws.region}.amazonaws.com/id/{uuid.uuid4().hex.upper()}"
        issuer = self.issuers.get(name, made_up)
        authenticate = f"{self.aws.endpoint}{AUTHENTICATE}{name}"
        plane = ControlPlane(name, self.processes, self.programs, issuer=issuer, authenticate=authenticate)
        plane.start()
        self.clusters[name] = plane
        self.pods[name] = Pods(
            plane=plane,
            aws=self.aws,
            processes=self.processes,
            programs=self.programs.controllers,
            environment=self.environment,
            pod_identity=f"{self.aws.endpoint}{POD_IDENTITY}{name}",
            notes=self.notes,
        )
        self.pods[name].start()
        self.fargate[name] = Fargate(plane, self.aws, self.nodes.refusals)
        return ClusterEndpoint(plane.server, plane.authority_base64, issuer)

    def _create_fargate_profile(self, cluster: str, profile: Mapping[str, Any]) -> None:
        self.nodes.let_in(cluster, profile["podExecutionRoleArn"], NODES_OF_FARGATE)
        self.fargate[cluster].begin()

    def _delete_cluster(self, name: str) -> None:
        if name in self.fargate:
            self.fargate.pop(name).stop()
        if name in self.pods:
            self.pods.pop(name).stop()
        if name in self.clusters:
            self.clusters.pop(name).stop()

    def _stop_clusters(self) -> None:
        for name in list(self.clusters):
            self._delete_cluster(name)

    def _jwks(self, issuer: str) -> Mapping[str, Any]:
        return next((plane.jwks for plane in list(self.clusters.values()) if plane.issuer == issuer), {"keys": []})

    def _run_function(self, arn: str, event: Any) -> tuple[Any, str]:
        answer = self.functions.invoke(arn, event)
        return answer.payload, answer.error

    def _kube(self, name: str) -> Kube:
        return self.clusters[name].kube

    def _caller(self, key: str) -> RoleSession | None:
        session = self.aws.extensions.roles.session_of(key)
        return RoleSession(session.role, session.assumed.arn.rpartition("/")[2]) if session else None

    def _fronts(self) -> list[_Front]:
        return [
            _Front(lambda environ, service: service == "cloudformation" and _is_form(environ), self._stacks),
            _Front(lambda environ, _: environ.get("PATH_INFO", "").endswith("/invocations"), self._invoke),
            _Front(lambda environ, _: environ.get("HTTP_HOST", "").startswith(HOST), self._responded),
            _Front(lambda environ, _: environ.get("PATH_INFO", "").startswith(AUTHENTICATE), self._authenticated),
            _Front(lambda environ, _: environ.get("PATH_INFO", "").startswith(POD_IDENTITY), self._pod_identity),
        ]

    def _stacks(self, _: Environ, body: bytes) -> Response:
        status, xml = self.cloudformation.answer(urllib.parse.parse_qs(body.decode(), keep_blank_values=True))
        return Response(status, {"Content-Type": "text/xml"}, xml.encode())

    def _invoke(self, environ: Environ, body: bytes) -> Response:
        name = urllib.parse.unquote(environ["PATH_INFO"].split("/")[-2])
        event = decode(body)
        if environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event":
            self.functions.invoke_later(name, event)
            return Response(202, {}, b"")
        answer = self.functions.invoke(name, event)
        failed = {"X-Amz-Function-Error": answer.error} if answer.error else {}
        return Response(200, {**JSON, **failed}, json.dumps(answer.payload).encode())

    def _responded(self, environ: Environ, body: bytes) -> Response:
        waited = self._custom.answered(environ["PATH_INFO"], body)
        return Response(200 if waited else 403, {}, b"")

    def _authenticated(self, environ: Environ, body: bytes) -> Response:
        cluster = environ["PATH_INFO"].removeprefix(AUTHENTICATE)
        eks = self.aws.client("eks")
        clusters = self.aws.extensions.clusters
        who = Authenticator(self._caller, eks, self.nodes.private_dns, self._kube, lambda name: clusters[name].creator)
        return Response(200, JSON, json.dumps(who.review(cluster, json.loads(body))).encode())

    def _pod_identity(self, environ: Environ, _: bytes) -> Response:
        cluster = environ["PATH_INFO"].removeprefix(POD_IDENTITY)
        token = environ.get("HTTP_AUTHORIZATION", "")
        answer = self.aws.client("eks-auth").assume_role_for_pod_identity(clusterName=cluster, token=token)
        made = answer["credentials"]
        body = {
            "AccessKeyId": made["accessKeyId"],
            "SecretAccessKey": made["secretAccessKey"],
            "Token": made["sessionToken"],
            "Expiration": made["expiration"].isoformat(),
        }
        return Response(200, JSON, json.dumps(body).encode())


def _is_form(environ: Environ) -> bool:
    return str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded")


def _serves(address: str) -> bool:
    try:
        return requests.get(f"{address}/v2/", timeout=2).ok
    except requests.RequestException:
        return False
