"""Runs a function: its code and layers unpacked, its role's credentials, its time limit."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eks_rehearsal.errors import NotEmulated
from eks_rehearsal.processes import Processes

LAMBDA_PYTHON = b"#!/var/lang/bin/python"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Function:
    """A function as it was uploaded.

    Args:
        arn: Its ARN.

        name: Its name.

        handler: `module.function`.

        runtime: `python3.13`, `nodejs24.x`.

        role: The ARN of the role it runs as.

        timeout: Seconds.

        memory: MiB.

        environment: Its environment variables.

        code: Its code, a zip file.

        layers: Its layers, zip files, in order.
    """

    arn: str
    name: str
    handler: str
    runtime: str
    role: str
    timeout: int
    memory: int
    environment: Mapping[str, str]
    code: bytes
    layers: tuple[bytes, ...]


@dataclass(frozen=True)
class Answer:
    """What an invocation gave.

    Args:
        payload: The handler's answer, or the error it raised as Lambda shows one.

        error: `Unhandled` when it raised, ended or ran out of time; else nothing.
    """

    payload: Any
    error: str = ""

    @property
    def message(self) -> str:
        """The error's message."""
        return str(
            self.payload.get("errorMessage", self.payload) if isinstance(self.payload, Mapping) else self.payload
        )


@dataclass
class Clock:
    """What a Python function takes for the time.

    Args:
        speed: How many seconds pass in one; a function's limit passes as fast, and the programs that it runs know nothing of it.

        since: From when on, in Unix time.
    """

    speed: float = 1.0
    since: float = field(default_factory=time.time)

    def run(self, speed: float) -> None:
        """Run at another speed from now on."""
        self.speed, self.since = speed, time.time()


@dataclass(frozen=True)
class Functions:
    """Runs functions.

    Args:
        processes: What they run in, so that none outlives the rehearsal.

        unpacked: Where code and layers are kept unpacked, by digest; a layer has 120 MB.

        find: Finds a function by name or ARN.

        credentials: Makes the environment variables that hold a role's credentials.

        environment: The environment variables that lead to the emulated AWS.

        node: The Node.js program.

        node_modules: Where the AWS SDK is that Lambda's Node.js runtime has.

        clock: What Python functions take for the time.
    """

    processes: Processes
    unpacked: Path
    find: Callable[[str], Function]
    credentials: Callable[[str, str], Mapping[str, str]]
    environment: Mapping[str, str]
    node: Path
    node_modules: Path
    clock: Clock = field(default_factory=Clock)

    @property
    def log(self) -> Path:
        """What functions said, each when it has ended."""
        return self.processes.folder / "functions.log"

    def invoke(self, name: str, event: Any) -> Answer:
        """Run a function on an event and wait for its answer."""
        function = self.find(name)
        request = str(uuid.uuid4())
        scratch = self.processes.folder / "functions" / f"{function.name[:40]}-{request[:8]}"
        scratch.mkdir(parents=True)
        answer = scratch / "answer.json"
        env = self._environment(function, scratch, request)
        started = time.monotonic()
        try:
            done = self.processes.run(
                self._command(function),
                cwd=Path(env["LAMBDA_TASK_ROOT"]),
                env=env,
                input=json.dumps(event),
                timeout=function.timeout,
            )
        except subprocess.TimeoutExpired as error:
            self._log(function, request, _output_until_killed(error), function.timeout)
            return Answer({"errorMessage": f"Task timed out after {function.timeout} seconds"}, "Unhandled")
        self._log(function, request, done.stdout + done.stderr, time.monotonic() - started)
        if not answer.exists():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["nothing"]
            said = f"{function.name} ended with exit code {done.returncode} and no answer; it said last: {last[0]}"
            return Answer({"errorMessage": said, "errorType": "Runtime.ExitError"}, "Unhandled")
        given = json.loads(answer.read_text(encoding="utf-8"))
        shutil.rmtree(scratch, ignore_errors=True)
        return Answer(given["payload"], given.get("error", ""))

    def invoke_later(self, name: str, event: Any, failed: Callable[[Answer], None] = lambda _: None) -> None:
        """Run a function beside this, and tell `failed` if it raised or could not be run."""
        self.find(name)

        def run() -> None:
            try:
                answer = self.invoke(name, event)
            except Exception as error:  # noqa: BLE001 - somebody may wait for the answer for an hour
                answer = Answer({"errorMessage": str(error), "errorType": type(error).__name__}, "Unhandled")
            if answer.error:
                failed(answer)

        threading.Thread(target=run, daemon=True, name=f"invoke {name}").start()

    def layer(self, zipped: bytes) -> Path:
        """The folder of an unpacked layer, as a function finds it under /opt."""
        return self._unpack(zipped)

    def _command(self, function: Function) -> list[str | Path]:
        if function.runtime.startswith("python"):
            return [sys.executable, HERE / "runtime_python.py"]
        if function.runtime.startswith("nodejs"):
            return [self.node, HERE / "runtime_node.mjs"]
        raise NotEmulated(f"{function.name}: the rehearsal runs Python and Node.js functions, not {function.runtime}")

    def _environment(self, function: Function, scratch: Path, request: str) -> dict[str, str]:
        layers = [self._unpack(layer) for layer in function.layers]
        programs = [str(folder) for layer in layers for folder in sorted(layer.iterdir()) if folder.is_dir()]
        path = [*programs, str(Path(sys.executable).parent), str(self.node.parent), os.environ.get("PATH", os.defpath)]
        return {
            "PATH": os.pathsep.join(path),
            "HOME": str(scratch),
            "LANG": "en_US.UTF-8",
            "TMPDIR": str(scratch),
            # The CDK's kubectl handler writes below it, so that two invocations do not meet in /tmp.
            "TEST_OUTDIR": str(scratch),
            "PYTHONPATH": os.pathsep.join(str(layer / "python") for layer in layers),
            "NODE_PATH": os.pathsep.join(
                [*(str(layer / "nodejs/node_modules") for layer in layers), str(self.node_modules)]
            ),
            **self.environment,
            **self.credentials(function.role, function.name[:64]),
            **function.environment,
            "LAMBDA_TASK_ROOT": str(self._unpack(function.code)),
            "_HANDLER": function.handler,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"rehearsal/[$LATEST]{request}",
            "REHEARSAL_FUNCTION_ARN": function.arn,
            "REHEARSAL_REQUEST_ID": request,
            "REHEARSAL_TIMEOUT_SECONDS": str(function.timeout),
            "REHEARSAL_CLOCK": f"{self.clock.since} {self.clock.speed}",
            "REHEARSAL_ANSWER": str(scratch / "answer.json"),
        }

    def _log(self, function: Function, request: str, said: str, seconds: float) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"--- {function.name} {request} {seconds:.1f} s\n{said}\n")

    def _unpack(self, zipped: bytes) -> Path:
        folder = self.unpacked / hashlib.sha256(zipped).hexdigest()[:32]
        if folder.exists():
            return folder
        new = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
        new.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            for entry in archive.infolist():
                self._restore(Path(archive.extract(entry, new)), entry.external_attr >> 16)
        try:
            new.rename(folder)
        except OSError:  # Another run was faster.
            shutil.rmtree(new, ignore_errors=True)
        return folder

    @staticmethod
    def _restore(path: Path, mode: int) -> None:
        """The mode that the zip file says; and Lambda's own Python, which is not here, becomes this one."""
        if not path.is_file():
            return
        if stat.S_ISLNK(mode):
            target = path.read_text(encoding="utf-8")
            path.unlink()
            path.symlink_to(target)
            return
        with path.open("rb") as file:
            head = file.read(len(LAMBDA_PYTHON))
        if head == LAMBDA_PYTHON:
            _, _, rest = path.read_bytes().partition(b"\n")
            path.write_bytes(b"#!/usr/bin/env python3\n" + rest)
        path.chmod(mode & 0o777 or stat.S_IRUSR | stat.S_IWUSR)


def _output_until_killed(error: subprocess.TimeoutExpired) -> str:
    """What a program said until it was killed: bytes, whatever was asked for."""
    parts = (error.stdout, error.stderr)
    return "".join(part.decode(errors="replace") if isinstance(part, bytes) else part or "" for part in parts)


def decode(payload: bytes) -> Any:
    """The event of an Invoke request."""
    return json.loads(payload) if payload.strip() else {}
