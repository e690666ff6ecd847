"""What the rehearsal runs, as rows, and how each row is made.

Sources: the public Go module proxy with the checksum database on, 2026-11-23 (which versions have all their modules there); the
hack/lib/version.sh of Kubernetes and the Makefile of Karpenter (the variables that hold a version); npm, 2026-11-23.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eks_rehearsal.errors import NotBuilt
from eks_rehearsal.programs.workshop import Absent, Bench
from eks_rehearsal.versions import Minor, Version

# The newest patch of each minor whose modules can all be downloaded; later ones exist, with a module missing.
KUBERNETES_PATCHES: Final = {
    Minor(1, 30): 14,
    Minor(1, 31): 4,
    Minor(1, 32): 2,
    Minor(1, 33): 13,
    Minor(1, 34): 10,
    Minor(1, 35): 8,
    Minor(1, 36): 4,
    Minor(1, 37): 2,
}

# The Karpenter releases whose modules can all be downloaded, with the replaces that takes. The core that 1.14.1 names, a
# commit, cannot be; the tag v1.14.1 is that same commit.
KARPENTER_RELEASES: Final[dict[Version, tuple[str, ...]]] = {
    Version(1, 0, 1): (),
    Version(1, 6, 3): (),
    Version(1, 8, 6): (),
    Version(1, 12, 1): (),
    Version(1, 14, 0): (),
    Version(1, 14, 1): ("sigs.k8s.io/karpenter => sigs.k8s.io/karpenter v1.14.1",),
    Version(1, 14, 3): (),
}

ETCD: Final = "3.6.16"
KWOK: Final = "0.8.0"
REGISTRY: Final = "0.22.1"
NODE_PACKAGES: Final = (
    ("aws-cdk", "2.1148.1"),
    ("@aws-sdk/client-eks", "3.1164.0"),
    ("@aws-sdk/client-lambda", "3.1164.0"),
    ("@aws-sdk/client-sfn", "3.1164.0"),
    ("@aws-sdk/credential-providers", "3.1164.0"),
)

# Minutes and MB, as in GoProgram: they share nearly all that they are compiled from, so the first takes the longest.
KUBERNETES_PROGRAMS: Final = {
    "kube-apiserver": (5, 2600),
    "kube-controller-manager": (2, 1000),
    "kube-scheduler": (0, 300),
}

_KARPENTER: Final = "github.com/aws/karpenter-provider-aws"
_BUILD: Final = ("build", "-mod=mod", "-modcacherw", "-trimpath", "-buildvcs=false")


def kubernetes_version(asked: str) -> str:
    """The Kubernetes to build: of a minor, the newest patch that can be had; a full version is taken by its word.

    Raises:
        NotBuilt: The minor is not in the table.
    """
    try:
        minor = Minor.parse(asked)
    except ValueError:
        return _full_version(asked)
    if minor not in KUBERNETES_PATCHES:
        known = ", ".join(map(str, KUBERNETES_PATCHES))
        raise NotBuilt(f"the rehearsal has no Kubernetes {asked}; it has {known}")
    return f"{minor}.{KUBERNETES_PATCHES[minor]}"


def _full_version(asked: str) -> str:
    try:
        return str(Version.parse(asked))
    except ValueError as error:
        raise NotBuilt(f"the version of Kubernetes {error}, nor of the form 1.36") from None


def nearest_karpenter(asked: Version) -> Version:
    """The release to build for a release.

    The same minor's nearest patch; failing that, the newest patch of the nearest minor. Of two as near, the newer
    patch but the older minor: a controller older than its charts finds the permissions and the CRDs it looks for.
    """
    in_line = [version for version in KARPENTER_RELEASES if version.line == asked.line]
    if in_line:
        return min(in_line, key=lambda version: (abs(version.patch - asked.patch), -version.patch))
    return min(KARPENTER_RELEASES, key=lambda version: (*_distance(version.line, asked.line), -version.patch))


def neighbouring_karpenter(asked: Version) -> Version | None:
    """Another release of the same minor that can be built: the next newer patch, else the next older; None without one.

    Another than the one that is built for `asked`, that is: only then does another program run.
    """
    built = nearest_karpenter(asked)
    others = (version for version in KARPENTER_RELEASES if version.line == asked.line and version != built)
    return min(others, key=lambda version: (version < asked, abs(version.patch - asked.patch)), default=None)


def _distance(one: Minor, other: Minor) -> tuple[int, Minor]:
    """How far apart two minors are, a major further than any of them; then the older first."""
    return abs((one.major - other.major) * 1000 + one.minor - other.minor), one


def _key(name: str, version: str, *how: object) -> str:
    digest = hashlib.sha256(repr(how).encode()).hexdigest()[:12]
    return f"{name}-{version}-{digest}"


@dataclass(frozen=True)
class GoProgram:
    """A program in a published Go module, built in a module of its own so that no two of them agree on versions.

    Args:
        name: What it is called, and its file.

        version: The module's, without the v.

        module: The module.

        package: The command in it.

        variables: What the linker sets.

        replaces: Lines for go.mod.

        minutes: How long it takes on two cores, the rows before it being built; 0 is less than one.

        room: What it then adds to what was downloaded and compiled, in MB.
    """

    name: str
    version: str
    module: str
    package: str
    variables: tuple[tuple[str, str], ...] = ()
    replaces: tuple[str, ...] = ()
    minutes: int = field(default=0, repr=False)
    room: int = field(default=0, repr=False)

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def key(self) -> str:
        return _key(self.name, self.version, self, _BUILD)

    @property
    def doing(self) -> str:
        return f"building, about {self.minutes} min" if self.minutes else "building, less than a minute"

    def make(self, bench: Bench, into: Path) -> None:
        """Build the command, with the module's own choice of Go version and of every dependency."""
        module = bench.download(self.module, self.version)
        work = bench.folder(self.name)
        described = json.loads(
            bench.go("mod", "edit", "-json", str(module.go_mod), cwd=work, task=f"read {module.go_mod}")
        )
        (work / "go.mod").write_text("\n".join(self._go_mod(described)) + "\n", encoding="utf-8")
        flags = " ".join(("-s -w", *(f"-X {name}={value}" for name, value in self.variables)))
        output = str(into / self.name)
        bench.build(self.title, _BUILD[1:], "-ldflags", flags, "-o", output, self.package, cwd=work)

    def _go_mod(self, described: dict[str, Any]) -> Iterator[str]:
        yield "module rehearsal"
        yield f"go {described['Go']}"
        for setting in described.get("Godebug") or ():
            yield f"godebug {setting['Key']}={setting['Value']}"
        yield f"require {self.module} v{self.version}"
        for replace in (*self.replaces, *self._staging(described)):
            yield f"replace {replace}"

    def _staging(self, described: dict[str, Any]) -> Iterator[str]:
        """Kubernetes' own libraries: in its repository they lie beside it, published they are v0 of the same minor."""
        for replace in described.get("Replace") or ():
            name = replace["Old"]["Path"]
            if replace["New"]["Path"].startswith("./staging/"):
                yield f"{name} => {name} v0.{self.version.split('.', 1)[1]}"


@dataclass(frozen=True)
class KarpenterCharts:
    """The charts karpenter and karpenter-crd, as upstream's release makes them out of its repository.

    A release writes its version into Chart.yaml and into the image's tag, and so does this copy; the image's digest,
    which only the release knows, is left out.

    Args:
        asked: The release they must say they are.

        built: The release to take them from if the one that is asked for is not available.
    """

    asked: str
    built: str
    room: int = field(default=60, repr=False)
    doing: str = field(default="downloading", repr=False)
    recipe: int = 2

    @property
    def title(self) -> str:
        return f"Karpenter charts {self.asked}"

    @property
    def key(self) -> str:
        return _key("karpenter-charts", self.asked, self)

    def make(self, bench: Bench, into: Path) -> None:
        source, module = self._module(bench)
        crds = sorted((module / "pkg" / "apis" / "crds").glob("*.yaml"))
        for chart, folder in (("karpenter", "crds"), ("karpenter-crd", "templates")):
            _copy(module / "charts" / chart, into / chart)
            _complete(into / chart / folder, crds)
            _set_values(into / chart / "Chart.yaml", {"version": self.asked, "appVersion": self.asked})
        _set_values(into / "karpenter" / "values.yaml", {"    tag": self.asked, "    digest": '""'})
        (into / "source").write_text(source, encoding="utf-8")

    def _module(self, bench: Bench) -> tuple[str, Path]:
        try:
            return self.asked, bench.download(_KARPENTER, self.asked).folder
        except Absent:
            if self.asked == self.built:
                raise
            return self.built, bench.download(_KARPENTER, self.built).folder

    @staticmethod
    def source(folder: Path) -> str:
        """The release that charts made before were taken from."""
        return (folder / "source").read_text(encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    """Copy what a tree holds, and not that it is read-only, as everything in Go's module cache is."""
    for file in source.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())


def _complete(folder: Path, crds: list[Path]) -> None:
    """Add the CRDs that are symbolic links in the repository, for a Go module has none."""
    folder.mkdir(parents=True, exist_ok=True)
    for crd in crds:
        if not (folder / crd.name).exists():
            (folder / crd.name).write_bytes(crd.read_bytes())


def _set_values(file: Path, values: dict[str, str]) -> None:
    """Set keys of a YAML file, each given with its indentation, and leave everything else as it is written."""
    text = file.read_text(encoding="utf-8")
    for key, value in values.items():
        text = re.sub(rf"(?m)^{key}:.*$", f"{key}: {value}", text)
    file.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class NodePackages:
    """Packages for Node.js in one node_modules, from whichever registry npm is set to use."""

    packages: tuple[tuple[str, str], ...]
    room: int = field(default=100, repr=False)
    doing: str = field(default="installing, less than a minute", repr=False)

    @property
    def title(self) -> str:
        name, version = self.packages[0]
        return f"{name} {version}"

    @property
    def key(self) -> str:
        return _key("node", self.packages[0][1], self)

    def make(self, bench: Bench, into: Path) -> None:
        package = {"private": True, "dependencies": dict(self.packages)}
        (into / "package.json").write_text(json.dumps(package), encoding="utf-8")
        names = ", ".join(f"{name} {version}" for name, version in self.packages)
        flags = ("--no-audit", "--no-fund", "--ignore-scripts")
        bench.npm("install", *flags, cwd=into, task=f"install {names}")


def registry() -> GoProgram:
    """A registry for charts and images."""
    module = "github.com/google/go-containerregistry"
    return GoProgram("registry", REGISTRY, module, f"{module}/cmd/registry", room=300)


def kwok() -> GoProgram:
    """What plays the kubelets."""
    module = "sigs.k8s.io/kwok"
    return GoProgram("kwok", KWOK, module, f"{module}/cmd/kwok", minutes=2, room=1000)


def etcd() -> GoProgram:
    """What the API server writes to."""
    module = "go.etcd.io/etcd/server/v3"
    return GoProgram("etcd", ETCD, module, module, minutes=1, room=500)


def kubernetes(name: str, version: str) -> GoProgram:
    """One of Kubernetes' own programs. Without its variables it says that it is v0.0.0-master, which charts refuse."""
    minutes, room = KUBERNETES_PROGRAMS[name]
    major, minor, _ = version.split(".")
    said = (("gitVersion", f"v{version}"), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean"))
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    variables = tuple((f"{package}.{variable}", value) for package in packages for variable, value in said)
    return GoProgram(
        name, version, "k8s.io/kubernetes", f"k8s.io/kubernetes/cmd/{name}", variables, minutes=minutes, room=room
    )


def karpenter(version: Version) -> GoProgram:
    """The controller, unmodified."""
    variables = (("sigs.k8s.io/karpenter/pkg/operator.Version", str(version)),)
    package = f"{_KARPENTER}/cmd/controller"
    replaces = KARPENTER_RELEASES[version]
    return GoProgram("karpenter", str(version), _KARPENTER, package, variables, replaces, minutes=4, room=2000)
