"""The processes of one rehearsal: started together, logged, and gone together."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self

from eks_rehearsal.errors import RehearsalError

Answer = TypeVar("Answer")


class Process:
    """One process that runs until it is stopped, with its log."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    def stop(self, *, grace: float = 10) -> None:
        """Ask it to end, and end it when it has not after `grace` seconds."""
        if self.running:
            self._popen.terminate()
            try:
                self._popen.wait(grace)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._popen.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Processes:
    """A folder and a process group of one run: `close` ends both, and so does the death of this process.

    Args:
        parent: Where the run's folder is made; the system's temporary folder when left out.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="eks-rehearsal-", dir=parent))
        self._started: list[Process] = []
        self._lock = threading.Lock()
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("watchdog.py")), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **_in_group(0),
        )
        if self._watchdog.stdout:
            with self._watchdog.stdout as ready:
                ready.read(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, name: str, args: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Process:
        """Start a program whose output goes to `NAME.log` of the run's folder."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [str(arg) for arg in args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(env),
                cwd=self.folder,
                **_in_group(self._watchdog.pid),
            )
        process = Process(name, popen, log)
        with self._lock:
            self._started.append(process)
        return process

    def run(
        self,
        args: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and take what it says; it ends with the rehearsal.

        Args:
            args: The program and its arguments.

            cwd: Its working folder; the run's folder when left out.

            env: Its whole environment; this process's own when left out.

            input: What it reads; nothing when left out.

            timeout: Seconds after which it is killed and `subprocess.TimeoutExpired` raised; never when left out.

            heard: Is told each line of its errors as it comes; then it has nothing to read and no timeout.
        """
        if heard:
            group = _in_group(self._watchdog.pid)
            return run_captured(args, cwd=cwd or self.folder, env=_environment(env), heard=heard, **group)
        return subprocess.run(
            [str(arg) for arg in args],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(env),
            cwd=cwd or self.folder,
            timeout=timeout,
            check=False,
            **_in_group(self._watchdog.pid),
        )

    def close(self) -> None:
        """End every process, last started first, and remove the run's folder."""
        with self._lock:
            started, self._started = self._started, []
        for process in reversed(started):
            process.stop()
        if self._watchdog.returncode is None:  # Not polled before: while it is no one's, its number is the group's.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._watchdog.pid, signal.SIGKILL)
        self._watchdog.wait()
        if self._watchdog.stdin:
            self._watchdog.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_captured(
    args: Sequence[str | Path], *, heard: Callable[[str], None] = lambda _: None, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing to read and its output kept.

    Args:
        args: The program and its arguments.

        heard: Is told each line of its errors as it comes.

        how: What else `subprocess.Popen` takes.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", **how}
        command, errors = [str(arg) for arg in args], []
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, **text
        ) as running:
            try:
                for line in running.stderr or ():
                    errors.append(line)
                    heard(line.rstrip("\n"))
            except BaseException:
                running.kill()
                raise
        output.seek(0)
        return subprocess.CompletedProcess(command, running.returncode, output.read(), "".join(errors))


def _in_group(leader: int) -> dict[str, Any]:
    """How a process is put into a process group."""
    if sys.version_info >= (3, 11):
        return {"process_group": leader}
    return {"preexec_fn": lambda: os.setpgid(0, leader)}  # pragma: no cover


def _environment(env: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if env is None else dict(env)


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(
    what: str,
    look: Callable[[], Answer | None],
    *,
    seconds: float,
    every: float = 0.2,
    alive: Sequence[Process] = (),
) -> Answer:
    """What `look` answers, once it answers something true.

    Raises:
        RehearsalError: One of `alive` has ended, or the time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        for process in alive:
            if not process.running:
                raise RehearsalError(
                    f"{process.name} ended with exit code {process.exit_code} while {what} was awaited; it said last: "
                    f"{process.last_words()}"
                )
        if time.monotonic() > deadline:
            raise RehearsalError(f"{what} did not come true within {seconds:.0f} s")
        time.sleep(every)
