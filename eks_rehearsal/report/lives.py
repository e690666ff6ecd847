"""What lived when: acts, pods, NodeClaims, nodes and instances, each in phases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from eks_rehearsal.report.units import dollars, duration, price, seconds
from eks_rehearsal.result import FAILED, PASSED, Billed, Outcome, Result
from eks_rehearsal.timeline import Moment

ENDS = ("gone", "terminated")
# From here on something does what it is for, and from there on no more; other states change nothing of it.
WORKS = re.compile(r"Running|initialized|ready, \d")
WORKS_NOT = re.compile(
    r"Pending|Failed|Succeeded|Unknown|created|launched|registered|joined|ready, no GPU|"
    r"being deleted|drained|instanceterminating"
)
# What a Deployment adds to its name: of its ReplicaSet, and of the pod.
POD_SUFFIX = re.compile(r"(-[a-z0-9]{5,10})?-[a-z0-9]{5}$")
SIGNS = {PASSED: "✓", FAILED: "✕"}


@dataclass(frozen=True)
class Phase:
    """A state, from the moment it was seen to the next.

    Args:
        began: Seconds of the timeline.

        ended: Seconds of the timeline.

        works: Whether the thing does what it is for.

        words: What a hover says.
    """

    began: float
    ended: float
    works: bool
    words: str


@dataclass(frozen=True)
class Life:
    """Something that was there for a while.

    Args:
        label: What is written beside it.

        looks: How it is drawn.

        phases: Its states, in order, at least one.
    """

    label: str
    looks: str
    phases: tuple[Phase, ...]

    @property
    def began(self) -> float:
        return self.phases[0].began

    @property
    def ended(self) -> float:
        return self.phases[-1].ended


def acts(result: Result) -> list[Life]:
    """Deployment, stories, destruction; those that were not played take no time, and are left out."""
    return [_act(one) for one in result.outcomes if one.ended > one.began]


def objects(result: Result, lane: str) -> list[Life]:
    """What was seen in a lane of the timeline, by when it was first seen."""
    found: dict[str, list[Moment]] = {}
    for moment in sorted(result.moments, key=lambda one: one.seconds):
        if moment.lane == lane:
            found.setdefault(moment.about, []).append(moment)
    lives = [_object(result, part) for moments in found.values() for part in _parts(moments)]
    return sorted(lives, key=lambda one: one.began)


def instances(result: Result) -> list[Life]:
    """The GPU instances, as they were billed."""
    return [_instance(one, result.seconds) for one in sorted(result.billed, key=lambda one: one.began)]


def _act(act: Outcome) -> Life:
    words = f"{act.name}: {act.title}; {act.verdict}, {_span(act.began, act.ended)}"
    phase = Phase(act.began, act.ended, works=True, words=f"{words}; {act.reason}" if act.reason else words)
    sign = SIGNS.get(act.verdict, "○")
    return Life(f"{sign} {act.name} {act.verdict}", act.verdict.replace(" ", "-"), (phase,))


def _instance(one: Billed, end: float) -> Life:
    ended = end if one.ended is None else one.ended
    bought = "spot" if one.spot else "on-demand"
    cost = f" on demand: {dollars(one.usd_per_hour * (ended - one.began) / 3600)}" if one.usd_per_hour else ""
    still = ", still running at the end" if one.ended is None else ""
    shown = f"{one.type} {bought}, pool {one.pool}"
    words = f"{one.id}: {shown}; {_span(one.began, ended)}{still}; {price(one.usd_per_hour)}{cost}"
    return Life(shown, bought, (Phase(one.began, ended, works=True, words=words),))


def _parts(moments: list[Moment]) -> Iterator[list[Moment]]:
    """The lives of one name, which may come back after it was gone."""
    part: list[Moment] = []
    for moment in moments:
        part.append(moment)
        if moment.what in ENDS:
            yield part
            part = []
    if part:
        yield part


def _object(result: Result, moments: list[Moment]) -> Life:
    first, last = moments[0], moments[-1]
    ended, after = (last.seconds, "gone") if last.what in ENDS else (_last_seen(result, last), "not seen to go")
    ends = [*(one.seconds for one in moments[1:]), ended]
    phases, works = [], False
    for moment, end in zip(moments, ends, strict=True):
        works = (works or bool(WORKS.match(moment.what))) and not WORKS_NOT.match(moment.what)
        phases.append(Phase(moment.seconds, end, works=works, words=_words(moment, end)))
    alive = phases[:-1] if last.what in ENDS and len(phases) > 1 else phases
    closing = Phase(alive[-1].began, alive[-1].ended, works=alive[-1].works, words=f"{alive[-1].words}, then {after}")
    return Life(_short(first), first.lane, (*alive[:-1], closing))


def _last_seen(result: Result, last: Moment) -> float:
    """When the act ended in which something was seen last without going: nobody knows how long it lived."""
    return max([last.seconds, *(one.ended for one in result.outcomes if one.began <= last.seconds <= one.ended)])


def _words(moment: Moment, ended: float) -> str:
    detail = f" ({moment.detail})" if moment.detail else ""
    return f"{moment.lane} {moment.about}: {moment.what}{detail}, {_span(moment.seconds, ended)}"


def _short(moment: Moment) -> str:
    if moment.lane == "pod":
        return POD_SUFFIX.sub("", moment.about)
    return moment.about.partition(".")[0] if moment.lane == "node" else moment.about


def _span(began: float, ended: float) -> str:
    return f"{seconds(began)} to {seconds(ended)}, {duration(ended - began)}"
