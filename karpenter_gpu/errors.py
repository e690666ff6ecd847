"""What can go wrong, as a tree.

KarpenterGpuError
├── InvalidSettings (also a ValueError)   one or more `Fault`s in what a user said
└── RehearsalError                        a rehearsal that could not go on, or saw what must not be
    ├── NotBuilt                          a program of the rehearsal that could not be made or found
    ├── NotEmulated                       a resource, property or call that the emulated AWS does not know
    └── StoryFailed                       a story whose assertion did not hold

A `Fault` is one sentence: where it is, the value, the rule, and the way out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class KarpenterGpuError(Exception):
    """Base of every error this package raises on purpose."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a setting.

    Args:
        where: The dotted path of the setting, as `-c` takes it; empty for the whole.

        problem: The value, the rule and the way out, in one sentence without a full stop.
    """

    where: str
    problem: str

    def under(self, prefix: str) -> Fault:
        """The same fault, seen from one level further out."""
        return Fault(".".join(part for part in (prefix, self.where) if part), self.problem)

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" if self.where else self.problem


class InvalidSettings(KarpenterGpuError, ValueError):
    """Settings that cannot be built from; `faults` has every fault that was found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class RehearsalError(KarpenterGpuError):
    """A rehearsal that could not go on: what, why, and the way out, in one sentence."""


class NotBuilt(RehearsalError):
    """A program that the rehearsal runs could not be built, unpacked or found."""


class NotEmulated(RehearsalError):
    """The emulated AWS does not know a resource type, a property or a call; it never skips one."""


class StoryFailed(RehearsalError):
    """What a story asserts did not come true."""
