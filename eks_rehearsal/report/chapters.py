"""The moments of a rehearsal, act by act."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from eks_rehearsal.report.units import seconds
from eks_rehearsal.result import FAILED, Outcome, Result
from eks_rehearsal.timeline import Moment

# What a reader calls the lanes.
SOURCES: Mapping[str, str] = {
    "stack": "CloudFormation",
    "event": "Kubernetes event",
    "nodeclaim": "NodeClaim",
    "karpenter": "Karpenter's log",
}


@dataclass(frozen=True)
class Line:
    """A moment, as it is told.

    Args:
        since_start: Since the rehearsal began, with its unit.

        since_act: Since the act began, with its unit; empty before the first act.

        lane: Its lane, which decides how it looks.

        source: The lane, in words.

        about: The name of what it happened to.

        what: What happened.

        detail: The message behind it; a log line's fields as words.

        bad: Whether it tells of an error.
    """

    since_start: str
    since_act: str
    lane: str
    source: str
    about: str
    what: str
    detail: str
    bad: bool


@dataclass(frozen=True)
class Chapter:
    """An act and what happened until the next one began, its clearing up with it.

    Args:
        act: The act; None for what came before the first.

        lines: Its moments, in order.
    """

    act: Outcome | None
    lines: tuple[Line, ...]

    @property
    def open(self) -> bool:
        """Whether a reader wants to see it at once."""
        return self.act is not None and self.act.verdict == FAILED


def chapters(result: Result) -> list[Chapter]:
    """Every act with its moments; before them, if there is any, what came before the first."""
    acts = sorted(result.outcomes, key=lambda one: one.began)
    begins = [one.began for one in acts]
    told: list[list[Moment]] = [[] for _ in range(len(acts) + 1)]
    for moment in sorted(result.moments, key=lambda one: one.seconds):
        told[bisect_right(begins, moment.seconds)].append(moment)
    pairs = [(None, told[0]), *zip(acts, told[1:], strict=True)]
    return [Chapter(act, tuple(_line(one, act) for one in moments)) for act, moments in pairs if act or moments]


def _line(moment: Moment, act: Outcome | None) -> Line:
    return Line(
        since_start=seconds(moment.seconds),
        since_act=f"+{seconds(moment.seconds - act.began)}" if act else "",
        lane=moment.lane,
        source=SOURCES.get(moment.lane, moment.lane),
        about=moment.about,
        what=moment.what,
        detail=_plain(moment.detail) if moment.lane == "karpenter" else moment.detail,
        bad=moment.lane == "karpenter" and moment.about not in ("info", "debug"),
    )


def _plain(detail: str) -> str:
    """A log line's fields without JSON's marks; every other message as it is."""
    try:
        fields = json.loads(detail)
    except ValueError:
        return detail
    if not isinstance(fields, dict):
        return detail
    return ", ".join(f"{key}: {value}" for key, value in fields.items())
