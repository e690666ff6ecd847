"""The CDK's command line, run on the emulated account."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eks_rehearsal.assembly import DEFAULT_QUALIFIER, Assembly
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.processes import Process, Processes

# Before what failed, in what the CDK's command line prints; a trace comes after it.
MARK: Final = "❌"
# What would lead to another account.
UNWANTED: Final = ("AWS_", "CDK_", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True)
class CommandResult:
    """What a run of a command line gave."""

    exit_code: int
    output: str

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"

    @property
    def complaint(self) -> str:
        """The line with the CDK's own mark of what failed; the last line where there is none."""
        marked = [line.strip() for line in self.output.splitlines() if MARK in line]
        return marked[-1].partition(MARK)[2].strip() if marked else self.last_line


@dataclass(frozen=True)
class Cdk:
    """The command line, and what it is run on.

    Args:
        assembly: The app.

        processes: What it runs in.

        node: The Node.js program.

        node_modules: Where it is installed.
    """

    assembly: Assembly
    processes: Processes
    node: Path
    node_modules: Path

    @property
    def folder(self) -> Path:
        """Its home: the CDK's command line remembers there whose account a key is."""
        return self.processes.folder / "cdk"

    def run(self, environment: Mapping[str, str], *args: str, app: Path | None = None) -> CommandResult:
        """Run it on an assembly; the account's own by default."""
        command, env = self._command(args, app), self._environment(environment)
        done = self.processes.run(command, cwd=self.folder, env=env)
        return CommandResult(done.returncode, done.stdout + done.stderr)

    def start(self, environment: Mapping[str, str], *args: str) -> Process:
        """Start it on the account's own assembly, and go on."""
        return self.processes.start("cdk", self._command(args, None), env=self._environment(environment))

    def _command(self, args: Sequence[str], app: Path | None) -> list[str | Path]:
        self.folder.mkdir(exist_ok=True)
        outputs = self.folder / f"out-{uuid.uuid4().hex[:6]}"
        command: list[str | Path] = [self.node, self.node_modules / "aws-cdk/bin/cdk", *args]
        if args[0] != "bootstrap":
            command += ["--app", app or self.assembly.folder]
        return [*command, "--output", outputs, "--no-notices", "--ci"]

    def _environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(UNWANTED)}
        path = os.pathsep.join([str(self.node.parent), kept.get("PATH", os.defpath)])
        own = {"CDK_DISABLE_CLI_TELEMETRY": "true", "HOME": str(self.folder), "PATH": path}
        return {**kept, **environment, **own}

    def bootstrap(self, environment: Mapping[str, str], target: str) -> None:
        """Make what the CDK needs in an account, for each qualifier of the app.

        Raises:
            RehearsalError: It failed, and why.
        """
        for qualifier in self.assembly.qualifiers:
            # A second bootstrap of a region has to be a stack of its own.
            own = ["--qualifier", qualifier, "--toolkit-stack-name", f"CDKToolkit-{qualifier}"]
            options = [] if qualifier == DEFAULT_QUALIFIER else own
            result = self.run(environment, "bootstrap", target, *options)
            if result.exit_code:
                raise RehearsalError(f"cdk bootstrap failed: {result.complaint}")
