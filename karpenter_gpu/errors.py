"""What can go wrong, as a tree.

KarpenterGpuError
├── InvalidSettings (also a ValueError)   one or more `Fault`s in what a user said
├── NodeMissing (also an ImportError)      the CDK's Node.js cannot be found
└── CannotLook                            an account that cannot be looked at, or deleted from, as asked

A `Fault` is one sentence: where it is, the value, the rule, and the way out.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
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
    """Settings that cannot be built from.

    Attributes:
        faults: Every fault that was found, under its dotted path, as `cdk.json` has it.

        sentences: The same in the words of whoever wrote the settings: keywords and classes, where that was Python.
    """

    def __init__(self, faults: Iterable[Fault], sentences: Iterable[str] | None = None) -> None:
        self.faults = tuple(faults)
        self.sentences = tuple(map(str, self.faults) if sentences is None else sentences)
        super().__init__("\n".join(self.sentences))


class NodeMissing(KarpenterGpuError, ImportError):
    """The CDK cannot start without Node.js."""


class CannotLook(KarpenterGpuError):
    """An account that cannot be looked at, or deleted from: what is wrong, and the way out, in one sentence."""


@contextmanager
def plain_faults() -> Iterator[None]:
    """End an app whose settings cannot be used with their sentences alone, on stderr, and with status 1.

    For an app of your own, around all that makes stacks: `with plain_faults(): ...`.
    """
    try:
        yield
    except InvalidSettings as error:
        sys.stderr.write(faults_as_text(error.sentences))
        raise SystemExit(1) from None


def faults_as_text(faults: Collection[object]) -> str:
    """The faults, a line each, as a person reads them at a terminal."""
    head = f"{len(faults)} setting{'s' * (len(faults) > 1)} cannot be used:\n"
    return head + "".join(f"  {fault}\n" for fault in faults)
