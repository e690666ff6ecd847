"""Where programs are made: one run at a time, in a folder that is renamed only when what it holds is whole."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, Protocol

from filelock import FileLock, Timeout

from eks_rehearsal.errors import NotBuilt
from eks_rehearsal.programs.toolchain import go, go_environment, npm, npm_environment

Run = Callable[..., "subprocess.CompletedProcess[str]"]

_NO_ROOM: Final = re.compile(r"no space left on device|disk quota exceeded|\bENOSPC\b|\bEDQUOT\b", re.IGNORECASE)
_ABSENT: Final = re.compile(r"\b(403|404|410)\b|unknown revision|no matching versions", re.IGNORECASE)
# What the compiler and the linker write and take back within one build, in MB: 1.9 GB was seen, for kube-apiserver.
_TEMPORARY: Final = 2500

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})
_DOWNLOADING: Final = re.compile(r"^go: downloading ")
# What `go build -v` says of a package that it compiles.
_COMPILING: Final = re.compile(r"^[\w./~+-]+$")
_NOISE: Final = re.compile(r"^(go: (downloading|finding|added|upgraded) |npm (warn|notice)|\s*$)", re.IGNORECASE)
_SILENT: Final = "it stopped without saying why"


class Progress(Protocol):
    """Who is told what takes its time."""

    def started(self, program: str, why: str) -> None:
        """Say that a program ('kwok 0.8.0') is being made, or waited for, and why ('building, about 1 min')."""

    def advanced(self, program: str, what: str, done: int, of: int) -> None:
        """Say how far it is: 412 'packages compiled' of 1180; `of` is 0 while nobody knows."""

    def finished(self, program: str, seconds: float) -> None:
        """Say that it is there."""


class Artifact(Protocol):
    """Something that is made once and kept: a program, charts, packages."""

    @property
    def title(self) -> str:
        """Its name and version, for people."""

    @property
    def key(self) -> str:
        """The folder it is kept in: name, version and a digest of how it is made."""

    @property
    def doing(self) -> str:
        """What making it is, and how long it takes on two cores."""

    @property
    def room(self) -> int:
        """What making it adds to what was downloaded and compiled, in MB."""

    def make(self, bench: Bench, into: Path) -> None:
        """Make it in an empty folder."""


class Absent(NotBuilt):
    """A module that the module proxy answers it does not have, which asking again would not change."""


class NoRoom(NotBuilt):
    """The disk filled up."""


@dataclass(frozen=True)
class Module:
    """A downloaded Go module: its folder and its go.mod."""

    folder: Path
    go_mod: Path


@dataclass(frozen=True)
class Bench:
    """The tools, and the folder they write to.

    Args:
        area: Downloaded modules, compiled packages and temporary files; nothing in it is a result.

        run: Runs a command: `run(args, cwd=..., env=..., heard=...)`; `heard` is told each line of its errors as it comes.

        environ: The person's own environment: proxies, checksums, registries.

        progress: Is told how far a build is.
    """

    area: Path
    run: Run
    environ: Mapping[str, str]
    progress: Progress

    def go(self, *args: str, cwd: Path, task: str, heard: Callable[[str], None] = lambda _: None) -> str:
        """Run `go`, and return what it printed; `task` is what an error says could not be done."""
        result = self._go(*args, cwd=cwd, heard=heard)
        if result.returncode:
            raise self._failure(result, task)
        return result.stdout

    def build(self, title: str, flags: Sequence[str], *args: str, cwd: Path) -> None:
        """Run `go build`, and tell how far it is.

        Args:
            title: What it builds.

            flags: Those that every package is compiled with.

            args: What else the command says.

            cwd: Where.
        """
        stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
        task, modules = f"build {title}", self._counted(title, "modules downloaded", _DOWNLOADING)
        listed = self.go("list", *flags, "-deps", "-f", stale, args[-1], cwd=cwd, task=task, heard=modules)
        packages = self._counted(title, "packages compiled", _COMPILING, of=len(listed.split()))
        self.go("build", *flags, "-v", *args, cwd=cwd, task=task, heard=packages)

    def _counted(self, title: str, what: str, line: re.Pattern[str], of: int = 0) -> Callable[[str], None]:
        """What hears the lines of a command, and tells how many were of a kind."""
        numbers = count(1)

        def heard(said: str) -> None:
            if line.match(said):
                self.progress.advanced(title, what, next(numbers), of)

        return heard

    def npm(self, *args: str, cwd: Path, task: str) -> None:
        """Run `npm`; `task` is what an error says could not be done."""
        command = npm()
        result = self.run([*command, *args], cwd=cwd, env=npm_environment(command, self.environ))
        if result.returncode:
            raise self._failure(result, task, _of_npm)

    def download(self, module: str, version: str) -> Module:
        """Download one Go module, without what it needs.

        Raises:
            Absent: The proxy, or the checksum database, says there is no such thing.

            NotBuilt: It could not be asked.
        """
        result = self._go(
            "mod", "download", "-modcacherw", "-json", f"{module}@v{version}", cwd=self.folder("download")
        )
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            answer = {}
        if result.returncode or "Error" in answer or "Dir" not in answer:
            text = answer.get("Error", "") or result.stdout
            failed = subprocess.CompletedProcess([], 1, "", f"{result.stderr}\n{text}")
            raise self._failure(failed, f"download {module} {version}")
        return Module(Path(answer["Dir"]), Path(answer["GoMod"]))

    def folder(self, name: str) -> Path:
        """An empty folder to work in."""
        path = self.area / "work" / name
        remove(path)
        path.mkdir(parents=True)
        return path

    def _go(
        self, *args: str, cwd: Path, heard: Callable[[str], None] = lambda _: None
    ) -> subprocess.CompletedProcess[str]:
        command = go()
        (self.area / "tmp").mkdir(parents=True, exist_ok=True)
        env = go_environment(command, self.area, self.environ)
        return self.run([str(command), *args], cwd=cwd, env=env, heard=heard)

    def _failure(
        self, result: subprocess.CompletedProcess[str], task: str, why: Callable[[str], str] | None = None
    ) -> NotBuilt:
        text = f"{result.stdout}\n{result.stderr}"
        if _NO_ROOM.search(text):
            return no_room(task, self.area)
        if "download" in task and _ABSENT.search(text):
            return Absent(f"cannot {task}: {_of_go(text)}")
        return NotBuilt(f"cannot {task}: {(why or _of_go)(text)}")


def _of_go(text: str) -> str:
    """The last lines of what Go wrote that are about what went wrong."""
    lines = [line.strip() for line in text.splitlines() if not (_NOISE.match(line) or _COMPILING.match(line))]
    return "; ".join(lines[-4:]) or _SILENT


def _of_npm(text: str) -> str:
    """The code of an npm error and its first sentence; a stack and advice follow them."""
    lines = [line.removeprefix("npm error ") for line in text.splitlines() if line.startswith("npm error ")]
    said = [line for line in lines if not line.startswith(("syscall ", "errno ", "path ", "dest "))]
    return "; ".join(said[:2]) or _of_go(text)


def no_room(task: str, folder: Path) -> NoRoom:
    """The one sentence about a full disk."""
    return NoRoom(
        f"cannot {task}: the disk with {folder} is full; make room, or set XDG_CACHE_HOME to a folder on another disk"
    )


def provide(artifacts: Sequence[Artifact], *, cache: Path, run: Run, progress: Progress) -> dict[str, Path]:
    """Make what is missing, in order, and say by key where everything is.

    What was downloaded and compiled on the way is shared by the artifacts and removed once all of them are there; a
    run that fails or is killed leaves it, so that the next one goes on from there.

    Raises:
        NotBuilt: Something could not be made; what was made before it is kept.
    """
    shelf = cache / "programs"
    if _missing(artifacts, shelf):
        with _explained(cache), _alone(cache, progress):
            _make_missing(artifacts, cache, run, progress)
    return {artifact.key: shelf / artifact.key for artifact in artifacts}


def _missing(artifacts: Sequence[Artifact], shelf: Path) -> list[Artifact]:
    return [artifact for artifact in artifacts if not (shelf / artifact.key).is_dir()]


def _make_missing(artifacts: Sequence[Artifact], cache: Path, run: Run, progress: Progress) -> None:
    shelf, area = cache / "programs", cache / "build"
    for left_over in shelf.glob(".new-*"):
        remove(left_over)
    missing = _missing(artifacts, shelf)
    _require_room(missing, cache, area)
    bench = Bench(area, run, os.environ, progress)
    try:
        for artifact in missing:
            _make(artifact, bench, shelf, progress)
    except NoRoom:
        remove(area)
        raise
    remove(area)


def _make(artifact: Artifact, bench: Bench, shelf: Path, progress: Progress) -> None:
    """Make one artifact beside its place, and move it there when it is whole."""
    began = time.monotonic()
    progress.started(artifact.title, artifact.doing)
    new = Path(mkdtemp(prefix=".new-", dir=shelf))
    try:
        artifact.make(bench, new)
        new.chmod(0o755)
        new.rename(shelf / artifact.key)
    finally:
        remove(new)
    progress.finished(artifact.title, time.monotonic() - began)


@contextmanager
def _alone(cache: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of the cache: the area the tools write to is shared, and two builds would only halve each other."""
    (cache / "programs").mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / "build.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        began = time.monotonic()
        progress.started("the programs", "waiting for another rehearsal on this machine, which is building them")
        lock.acquire()
        progress.finished("the programs", time.monotonic() - began)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _explained(cache: Path) -> Iterator[None]:
    """Say in a sentence what the file system refused."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            remove(cache / "build")
            raise no_room("build the programs of the rehearsal", cache) from error
        if error.errno in _FORBIDDEN:
            raise NotBuilt(
                f"cannot write to the cache folder {cache} ({error}): give yourself the right to, "
                "or set XDG_CACHE_HOME to a folder of yours"
            ) from error
        raise NotBuilt(f"cannot build the programs of the rehearsal: {error}") from error


def _require_room(missing: Sequence[Artifact], cache: Path, area: Path) -> None:
    """Look for room before minutes are spent; what an interrupted run left is reused, so it counts as there."""
    needed = max(sum(artifact.room for artifact in missing) - _size(area), 0) + _TEMPORARY
    free = shutil.disk_usage(cache).free // 1_000_000
    if free < needed:
        names = ", ".join(artifact.title for artifact in missing)
        raise NoRoom(
            f"building {names} takes up to {needed / 1000:.1f} GB for a while, and the disk with {cache} has "
            f"{free / 1000:.1f} GB free: make room, or set XDG_CACHE_HOME to a folder on another disk"
        )


def _size(folder: Path) -> int:
    """What a folder holds, in MB."""
    sizes = (os.lstat(Path(root, name)).st_size for root, _, names in os.walk(folder) for name in names)
    return sum(sizes) // 1_000_000


def remove(folder: Path) -> None:
    """Remove a folder, the read-only ones that Go's module cache is made of included; what resists stays."""
    for root, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
