"""A pool of nodes without GPUs: for everything that runs beside the models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, Tag

from karpenter_gpu import gpus, instance_types
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import NEVER, Distinct, DurationOrNever, Many, OptionalDuration, case_by_key, default
from karpenter_gpu.settings.pool import Budget, CapacityType, GpuPool, Pool, Taint

InstanceCategory = Literal["a", "c", "d", "h", "i", "m", "r", "t", "x", "z"]

# As Karpenter's own examples have it: what came before runs on Xen.
FIRST_GENERATION: Final = 3

# Families with GPUs, Inferentia, Trainium, Gaudi, Qualcomm's, FPGAs or transcoders. Source: as in instance_types.py.
_ACCELERATED: Final = ("g", "gr", "p", "inf", "trn", "dl", "vt", "f")


def _without_accelerator(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        family = name.partition(".")[0]
        letters = re.match(r"[a-z]*", family)
        if family in gpus.FAMILIES or (letters and letters[0] in _ACCELERATED):
            raise ValueError(
                f"{name!r} has GPUs or other accelerators, which nothing would use here; give it to a GpuPool"
            )
    return names


def _types_exist(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if instance_types.is_one(name) is False or "." not in name:
            near = " or ".join(instance_types.near(name)) or "m7i.xlarge"
            raise ValueError(f"{name!r} is not an instance type of EC2; did you mean {near}?")
    return names


def _families(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise ValueError(f"{name!r} is not an instance family; families are written as in m7i")
    return names


def is_arm64(name: str) -> bool:
    """Whether a type or family has Graviton processors, which the `g` behind the generation says."""
    return bool(re.match(r"a1\b|[a-z]+\d+g", name))


@setting
class CpuPool(Pool):
    """Nodes without GPUs, under a ceiling of vCPUs. No taint keeps pods away, and no device plugin runs.

    What Karpenter may launch is what meets every one of `instance_categories`, `instance_families`, `instance_types`,
    `architecture`, `capacity_types` and `zones`.

    Args:
        vcpu_limit: The most vCPUs that its nodes may have together. Karpenter checks it before a launch. 0 retires the pool.

        instance_categories: The first letters of families, of the third generation and later. Default: c, m and r, where no
            families or types are given.

        instance_families: m7i, c7g and so on. Default: any.

        instance_types: m7i.xlarge and so on. Default: any.

    The rest is [every pool](#pool)'s.
    """

    vcpu_limit: Annotated[int, Field(ge=0, le=1_000_000)]
    instance_categories: Distinct[InstanceCategory] = default(())
    instance_families: Annotated[Distinct[str], AfterValidator(_families), AfterValidator(_without_accelerator)] = (
        default(())
    )
    instance_types: Annotated[Distinct[str], AfterValidator(_without_accelerator), AfterValidator(_types_exist)] = (
        default(())
    )

    if TYPE_CHECKING:
        # Of settings that take more than they hold, mypy knows in a subclass only what they take.
        capacity_types: Distinct[CapacityType] = default(())
        zones: Distinct[str] = default(())
        taints: Many[Taint] = default(())
        startup_taints: Many[Taint] = default(())
        subnet_ids: Distinct[str] = default(())
        budgets: Many[Budget] = default(())
        consolidate_after: DurationOrNever = default(timedelta(minutes=1))
        expire_after: DurationOrNever = default(NEVER)
        termination_grace_period: OptionalDuration = default(None)

    def check(self) -> Iterator[Fault]:
        yield from Pool.check(self)
        if "reserved" in self.capacity_types:
            yield Fault(
                "capacity_types", "'reserved' is what GPU pools have settings for, and this one has none; leave it out"
            )
        if self.instance_categories and (self.instance_families or self.instance_types):
            yield Fault("instance_categories", "say nothing beside families or types; leave one of the two out")
        for category in self.instance_categories:
            yield from self._category_faults(category)
        for where in ("instance_families", "instance_types"):
            for name in getattr(self, where):
                if is_arm64(name) != (self.architecture == "arm64"):
                    yield Fault(
                        where,
                        f"{name} is not of architecture {self.architecture}, so it could never launch; leave it out, or change "
                        "architecture",
                    )
        for name in self.instance_types if self.instance_families else ():
            if name.partition(".")[0] not in self.instance_families:
                yield Fault(
                    "instance_types", f"{name} is of none of instance_families; leave it out, or add its family"
                )

    def _category_faults(self, category: str) -> Iterator[Fault]:
        found = instance_types.generations(category)
        fits = {family: found[family] for family in found if is_arm64(family) == (self.architecture == "arm64")}
        if max(fits.values(), default=0) < FIRST_GENERATION:
            yield Fault(
                "instance_categories",
                f"{category!r} has {', '.join(fits) or 'nothing'} of architecture {self.architecture}, and categories are of the "
                "third generation and later; leave it out, or name families",
            )

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories it may launch; none where families or types say it."""
        return self.instance_categories or (() if self.instance_families or self.instance_types else ("c", "m", "r"))

    @property
    def own_spec(self) -> Mapping[tuple[str, ...], str]:
        return {("limits", "cpu"): "use vcpu_limit"}

    @property
    def type_names(self) -> frozenset[str] | None:
        return frozenset(self.instance_types) or None


_CASES: Final[Mapping[str, type[Any]]] = {"vcpu_limit": CpuPool}

AnyPool = Annotated[
    Annotated[GpuPool, Tag("GpuPool")] | Annotated[CpuPool, Tag("CpuPool")], case_by_key(_CASES, GpuPool)
]
