"""How the pods of a pool share its GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field, Tag

from karpenter_gpu import gpus
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import case_by_key

TIME_SLICING: Final = "time-slicing"
MPS: Final = "mps"

_MPS_CLIENTS: Final = 48

SharingStrategy = Literal["time-slicing", "mps"]
MigProfile = Literal[
    "1g.5gb", "1g.10gb", "1g.18gb", "1g.20gb", "1g.35gb",
    "2g.10gb", "2g.20gb", "2g.35gb", "3g.20gb", "3g.40gb", "3g.71gb",
]  # fmt: skip


@setting
class Sharing:
    """Several pods on each GPU, which each see the whole of it. Every GPU of the pool is shared alike.

    A pod asks for `nvidia.com/gpu: 1` and gets a share; one that asks for 2 is refused, because it would get no more.

    Args:
        strategy: `time-slicing` gives pods turns, with nothing between their memories: one pod can take all of it. `mps`
            runs them at once, each with an equal part of memory and threads.

        replicas: Pods a GPU.

    Sources: NVIDIA/k8s-device-plugin README.md, "Shared Access to GPUs", v0.16.1 to v0.20.0; NVIDIA, Multi-Process Service,
    "Client-Server Connection Limits".
    """

    strategy: SharingStrategy
    # An EKS node takes no more pods.
    replicas: Annotated[int, Field(ge=2, le=250)]

    def check(self) -> Iterator[Fault]:
        if self.strategy == MPS and self.replicas > _MPS_CLIENTS:
            yield Fault(
                "replicas", f"{self.replicas} pods are more than MPS takes on a GPU, which is {_MPS_CLIENTS}; use fewer"
            )

    @property
    def profile(self) -> str:
        """What tells it from other ways of sharing, as a label's value."""
        return f"{self.strategy}-{self.replicas}"

    def shares_of(self, _: gpus.InstanceType) -> int:
        """The pods that one GPU takes."""
        return self.replicas


@setting
class MigSharing:
    """GPUs cut into instances by Multi-Instance GPU, each with memory and processors of its own; Bottlerocket alone.

    Args:
        mig_profile: The instance that each GPU is cut into, as often as it fits: `1g.10gb` is a seventh of an H100.
    """

    mig_profile: MigProfile

    @property
    def profile(self) -> str:
        """What tells it from other ways of sharing, as a label's value."""
        return f"mig-{self.mig_profile}"

    def shares_of(self, kind: gpus.InstanceType) -> int:
        """The instances that one GPU becomes; 0 where the GPU has no such profile."""
        model = mig_model(kind)
        return model.instances.get(self.mig_profile, 0) if model else 0


class MigModel(NamedTuple):
    """A GPU that Bottlerocket cuts into instances.

    Args:
        name: Bottlerocket's, in `settings.kubelet-device-plugins.nvidia.mig.profile`.

        instances: How many of a profile fit.
    """

    name: str
    instances: dict[str, int]


_OF_80_GB: Final = {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2}

# GPU and its memory in MiB -> how it is cut. Profiles that leave one instance a GPU share nothing.
# Sources: NVIDIA MIG user guide, "Supported MIG Profiles"; bottlerocket-core-kit sources/nvidia-migmanager, README.md.
_MIG_MODELS: Final = {
    ("a100", 40960): MigModel("a100.40gb", {"1g.5gb": 7, "1g.10gb": 4, "2g.10gb": 3, "3g.20gb": 2}),
    ("a100", 81920): MigModel("a100.80gb", _OF_80_GB),
    ("h100", 81920): MigModel("h100.80gb", _OF_80_GB),
    ("h200", 144384): MigModel("h200.141gb", {"1g.18gb": 7, "1g.35gb": 4, "2g.35gb": 3, "3g.71gb": 2}),
}


def mig_model(kind: gpus.InstanceType) -> MigModel | None:
    """How Bottlerocket cuts the GPUs of an instance type; None where it cannot."""
    return _MIG_MODELS.get((kind.gpu_name, kind.gpu_memory_mib))


_CASES: dict[str, type[Any]] = {"mig_profile": MigSharing}

AnySharing = Annotated[
    Annotated[Sharing, Tag("Sharing")] | Annotated[MigSharing, Tag("MigSharing")], case_by_key(_CASES, Sharing)
]


def sharing_faults(
    sharing: Sharing | MigSharing, types: Sequence[gpus.InstanceType], ami_family: str
) -> Iterator[Fault]:
    """What keeps GPUs of these types, under this image, from being shared."""
    fractional = [kind.name for kind in types if kind.is_fractional]
    if fractional:
        yield Fault(
            "sharing", f"{fractional[0]} has a part of a GPU already, and that is not shared again; leave it out"
        )
    if isinstance(sharing, Sharing):
        return
    if ami_family != "Bottlerocket":
        yield Fault(
            _MIG,
            f"{sharing.mig_profile!r} must be made at boot, and {ami_family} has nothing that makes it; use a bottlerocket "
            f"alias, or sharing with the strategy {TIME_SLICING!r}",
        )
        return
    yield from _mig_faults(sharing, types)


_MIG: Final = "sharing.mig_profile"


def _mig_faults(sharing: MigSharing, types: Sequence[gpus.InstanceType]) -> Iterator[Fault]:
    """GPUs that cannot be cut as asked: a fault for each kind of GPU, with one of its types."""
    for kind in {(kind.gpu_name, kind.gpu_memory_mib): kind for kind in types}.values():
        model = mig_model(kind)
        if model is None:
            known = ", ".join(dict.fromkeys(name for name, _ in _MIG_MODELS))
            yield Fault(_MIG, f"the GPU {kind.gpu_name} of {kind.name} is none that Bottlerocket cuts; use {known}")
        elif sharing.mig_profile not in model.instances:
            yield Fault(
                _MIG,
                f"{sharing.mig_profile!r} is no profile of {model.name}, which {kind.name} has; use one of "
                f"{', '.join(model.instances)}",
            )
    shares = {sharing.shares_of(kind): kind.name for kind in types if sharing.shares_of(kind)}
    if len(shares) > 1:
        each = " and ".join(f"{count} times on {name}" for count, name in shares.items())
        yield Fault(
            _MIG, f"{sharing.mig_profile!r} fits {each}, and a ceiling counts one kind of GPU; make a pool of each"
        )
