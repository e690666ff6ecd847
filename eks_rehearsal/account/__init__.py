"""An emulated account on this machine, whose clusters are real control planes and that the CDK's command line deploys to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import requests
from typing_extensions import Self

from eks_rehearsal import charts
from eks_rehearsal.account.cdk import Cdk, CommandResult
from eks_rehearsal.account.clusters import RunningClusters
from eks_rehearsal.account.lambdas import Lambdas
from eks_rehearsal.account.sessions import Sessions
from eks_rehearsal.account.stacks import Stacks
from eks_rehearsal.assembly import Assembly
from eks_rehearsal.aws.hooks import Hooks
from eks_rehearsal.aws.proxy import AwsProxy
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.tls import ProxyCertificates
from eks_rehearsal.cloudformation.engine import Event
from eks_rehearsal.iam.evaluator import Policy
from eks_rehearsal.processes import Process, Processes, free_port, wait_for
from eks_rehearsal.programs import Programs

__all__ = ["Account", "CommandResult"]

DESTROY = ("destroy", "--all", "--force")
ROOT = {"AWS_ACCESS_KEY_ID": "AKIAREHEARSALROOT001", "AWS_SECRET_ACCESS_KEY": "rehearsal"}


class Account:
    """The account, as a context manager.

    Args:
        assembly: What is to be deployed; says the region, the account and the charts.

        programs: What runs.

        processes: What it runs in.

        node: The Node.js program.

        port: The port of the emulated AWS; a free one when 0.

        authorize: Whether calls of roles and users are decided by their policies.

        controls: Service control policies, which count where `authorize` is on.

        spread: For how many seconds a change of policies does not count yet.

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
        spread: float = 0.0,
        heard: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self.assembly, self.programs, self.processes, self.node = assembly, programs, processes, node
        # What the report must say about the versions that ran.
        self.notes = list(programs.notes)
        self._heard = heard
        self._cdk = Cdk(assembly, processes, node, programs.node_modules)
        running = RunningClusters(lambda: self.aws, programs, processes, lambda: self.environment, self.notes)
        self._running, self.nodes = running, running.nodes
        self.clusters, self.pods, self.issuers = running.planes, running.pods, running.issuers
        self.hooks = Hooks(
            create_cluster=running.create,
            delete_cluster=running.delete,
            create_nodegroup=running.nodes.create_nodegroup,
            update_nodegroup=running.nodes.update_nodegroup,
            delete_nodegroup=running.nodes.delete_nodegroup,
            create_fargate_profile=running.create_fargate_profile,
            delete_fargate_profile=running.delete_fargate_profile,
            create_addon=running.monitoring.install,
            delete_addon=running.monitoring.remove,
            instance_launched=running.nodes.launched,
            instance_terminated=running.nodes.terminated,
            invoke=lambda arn, event: self._lambdas.run(arn, event),  # noqa: PLW0108 - which comes later
            jwks=running.jwks,
        )
        self.aws = EmulatedAws(
            region=assembly.region,
            account=assembly.account,
            port=port,
            hooks=self.hooks,
            fronts=running.endpoints(),
            authorize=authorize,
            controls=controls,
            spread=spread,
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
            ends.callback(self._running.stop)
            self._ends = ends.pop_all()
        node_modules = self.programs.node_modules
        self._lambdas = Lambdas(self.aws, self.processes, self.environment, self.node, node_modules)
        self.functions = self._lambdas.functions
        stacks = Stacks(self.aws, self.functions, Sessions(self.aws, ROOT), self._heard)
        self.cloudformation = stacks.cloudformation
        self.aws.fronts.extend([*stacks.endpoints(), *self._lambdas.endpoints()])
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
        return {**self.environment, **ROOT, "CDK_HOME": str(self._cdk.folder)}

    def cdk(self, *args: str, app: Path | None = None) -> CommandResult:
        """Run the CDK's command line on an assembly; this account's own by default."""
        return self._cdk.run(self.root(), *args, app=app)

    def bootstrap(self) -> None:
        """Make what the CDK needs in an account: `cdk bootstrap`.

        Raises:
            RehearsalError: It failed, and why.
        """
        self._cdk.bootstrap(self.root(), f"aws://{self.aws.account}/{self.aws.region}")

    def deploy(self, app: Path | None = None) -> CommandResult:
        """Deploy every stack of an assembly: `cdk deploy --all`."""
        return self.cdk("deploy", "--all", "--require-approval", "never", "--progress", "events", app=app)

    def destroy(self) -> CommandResult:
        """Destroy every stack: `cdk destroy --all`."""
        return self.cdk(*DESTROY)

    def start_destroy(self) -> Process:
        """The same, and go on while it runs."""
        return self._cdk.start(self.root(), *DESTROY)

    def failures(self) -> list[str]:
        """What went wrong in those who watch the clusters."""
        return self._running.failures()

    def tools(self) -> list[Path]:
        """Folders with the command lines that a person may use here: kubectl and helm of the stack's layer, aws and cdk."""
        return [*self._lambdas.layer_folders(), self.programs.node_modules / ".bin", self.node.parent]

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


def _serves(address: str) -> bool:
    try:
        return requests.get(f"{address}/v2/", timeout=2).ok
    except requests.RequestException:
        return False
