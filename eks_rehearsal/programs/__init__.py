"""The programs that the rehearsal runs: built from their published modules once, and kept in the person's cache folder.

Nothing is downloaded or built for what is there already, and then this takes milliseconds and starts no process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from eks_rehearsal.errors import NotBuilt
from eks_rehearsal.processes import run_captured
from eks_rehearsal.programs import recipes
from eks_rehearsal.programs.workshop import Progress, Run, provide
from eks_rehearsal.versions import Version

__all__ = ["Neighbour", "Programs", "Progress", "Run", "cache_folder", "programs"]


@dataclass(frozen=True)
class Neighbour:
    """Another patch of the template's Karpenter, to be deployed over it.

    Args:
        version: Its version.

        controller: The controller.

        charts: The folder with its charts, as in `Programs`.
    """

    version: str
    controller: Path
    charts: Path


@dataclass(frozen=True)
class Programs:
    """Where everything is.

    Args:
        charts: The folder with the charts `karpenter` and `karpenter-crd`, both saying they are the version asked for.

        node_modules: The folder with `aws-cdk` and the AWS SDK clients.

        kubernetes: The version of the three programs of Kubernetes, patch included.

        karpenter_asked: The Karpenter of the template.

        karpenter_built: The Karpenter whose controller this is.

        notes: What a report must say about the versions, a sentence each.

        neighbour: Another patch of that Karpenter; None when nobody asked for it, or none can be built.
    """

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    karpenter: Path
    kwok: Path
    registry: Path
    charts: Path
    node_modules: Path
    kubernetes: str
    karpenter_asked: str
    karpenter_built: str
    notes: tuple[str, ...]
    neighbour: Neighbour | None = None

    @property
    def controllers(self) -> dict[str, Path]:
        """Karpenter's controllers, by the version that the tag of their image says."""
        own = {self.karpenter_asked: self.karpenter}
        return {**own, self.neighbour.version: self.neighbour.controller} if self.neighbour else own


def cache_folder() -> Path:
    """Where programs are kept: `eks-rehearsal` in the person's cache folder, which XDG_CACHE_HOME moves."""
    return user_cache_path("eks-rehearsal")


def programs(
    *,
    kubernetes: str,
    karpenter: str,
    progress: Progress,
    neighbour: bool = False,
    cache: Path | None = None,
    run: Run = run_captured,
) -> Programs:
    """Provide every program, building those that are not there.

    Args:
        kubernetes: A minor, `1.36`, or a full version, `1.36.4`.

        karpenter: The version of the template. If it cannot be built, the nearest that can is, and `notes` says so.

        progress: Is told what takes its time.

        neighbour: Whether another patch of that Karpenter is wanted, too.

        cache: Where they are kept; `cache_folder()` if not said.

        run: Runs a command, `run(args, cwd=..., env=..., heard=...)`, with its output captured as text; `heard`, when
            given, is told each line of its errors as it comes.

    Raises:
        NotBuilt: One of them is not available; those that were built before it are kept.
    """
    version = recipes.kubernetes_version(kubernetes)
    asked = _karpenter_version(karpenter)
    built = recipes.nearest_karpenter(asked)
    charts = recipes.KarpenterCharts(str(asked), str(built))
    node = recipes.NodePackages(recipes.NODE_PACKAGES)
    servers = [recipes.kubernetes(name, version) for name in recipes.KUBERNETES_PROGRAMS]
    binaries = [recipes.registry(), recipes.kwok(), recipes.etcd(), recipes.karpenter(built), *servers]
    other = recipes.neighbouring_karpenter(asked) if neighbour else None
    beside = (recipes.KarpenterCharts(str(other), str(other)), recipes.karpenter(other)) if other else ()
    found = provide([node, charts, *binaries, *beside], cache=cache or cache_folder(), run=run, progress=progress)
    paths = {program.name.replace("-", "_"): found[program.key] / program.name for program in binaries}
    source = recipes.KarpenterCharts.source(found[charts.key])
    return Programs(
        **paths,
        charts=found[charts.key],
        node_modules=found[node.key] / "node_modules",
        kubernetes=version,
        karpenter_asked=str(asked),
        karpenter_built=str(built),
        notes=tuple(_notes(str(asked), str(built), source)),
        neighbour=Neighbour(str(other), found[beside[1].key] / "karpenter", found[beside[0].key]) if beside else None,
    )


def _karpenter_version(asked: str) -> Version:
    try:
        return Version.parse(asked)
    except ValueError as error:
        raise NotBuilt(f"the version of Karpenter {error}") from None


def _notes(asked: str, built: str, charts: str) -> Iterator[str]:
    if built != asked:
        yield (
            f"Karpenter {asked} is rehearsed with the controller of {built}, the nearest release that is known to build "
            "from its published modules"
        )
    if charts != asked:
        yield f"the charts of Karpenter {asked} are not available: they are those of {charts}, with {asked} as their version"
