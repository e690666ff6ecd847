"""Looks at every kind at once, and says what is the cluster's and what could not be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from karpenter_gpu.labels import MADE_BY_TAG
from karpenter_gpu.leftovers import prices
from karpenter_gpu.leftovers.account import AT_ONCE, Account, sentence
from karpenter_gpu.leftovers.finding import Resource
from karpenter_gpu.leftovers.kinds import KINDS, Kind
from karpenter_gpu.leftovers.owner import STACK_TAG, Claim

# States in which a stack will not delete what it made by itself.
_ENDED_STACKS: Final = ("", "DELETE_COMPLETE", "DELETE_FAILED")
Key = tuple[str, str]


@dataclass(frozen=True)
class Leftover:
    """One thing that is the cluster's.

    Args:
        kind, thing: What it is.

        because: Why it is the cluster's.

        kept: Why it is not deleted from here; empty where it is.

        usd_per_day: None where no dated price is known.
    """

    kind: Kind
    thing: Resource
    because: str
    kept: str = ""
    usd_per_day: float | None = None

    @property
    def key(self) -> Key:
        """Names it, now and later."""
        return self.kind.name, self.thing.id

    @property
    def shown(self) -> str:
        """Its id, and its name beside it."""
        return (
            f"{self.thing.id} ({self.thing.name})"
            if self.thing.name not in ("", self.thing.id.rpartition("/")[2])
            else self.thing.id
        )

    @property
    def born(self) -> datetime | None:
        """When it was created, where AWS tells."""
        return self.thing.born


@dataclass(frozen=True)
class Unseen:
    """What could not be looked at, and why."""

    kinds: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Findings:
    """What a look found.

    Args:
        left: In the order of the kinds.

        unseen: One row a reason.
    """

    left: tuple[Leftover, ...]
    unseen: tuple[Unseen, ...]


def look(account: Account, advance: Callable[[], None] = lambda: None, kinds: Sequence[Kind] = KINDS) -> Findings:
    """Everything that is the cluster's.

    Args:
        account: Where.

        advance: Called after each kind.

        kinds: What for.
    """

    def one(kind: Kind) -> tuple[list[Leftover], str]:
        found = look_for(account, kind)
        advance()
        return found

    account.forget()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looks = list(pool.map(one, kinds))
    reasons: dict[str, list[str]] = {}
    for kind, (_, why) in zip(kinds, looks, strict=True):
        if why:
            reasons.setdefault(why, []).append(kind.name)
    left = tuple(item for found, _ in looks for item in found)
    return Findings(left, tuple(Unseen(tuple(names), why) for why, names in reasons.items()))


def look_for(account: Account, kind: Kind) -> tuple[list[Leftover], str]:
    """What of one kind is the cluster's, and why some of it could not be seen."""
    found: list[Leftover] = []
    try:
        for thing in kind.find(account):
            claim = _claim(account, kind, thing)
            if claim:
                price = kind.price(thing.about) if account.partition == prices.PARTITION else None
                found.append(Leftover(kind, thing, claim.because, _kept(account, kind, thing, claim), price))
    except Exception as error:  # noqa: BLE001 - whatever one kind fails at, the others are told, and that it was not seen
        return found, sentence(error)
    return found, ""


def _claim(account: Account, kind: Kind, thing: Resource) -> Claim | None:
    regions = thing.regions if kind.is_global else None
    claim = account.owner.claim(thing.tags, thing.name or thing.id, kind.names, regions=regions)
    return claim or (Claim(thing.belongs, "no tag of its cluster says so") if thing.belongs else None)


def _kept(account: Account, kind: Kind, thing: Resource, claim: Claim) -> str:
    """Why a thing is not deleted from here; what its kind says comes first, as the way out is there.

    CloudFormation puts its tag on some types alone, so ours, with the stack's name, is as good.
    """
    if kind.kept or claim.kept:
        return kind.kept.format(id=thing.id) or claim.kept
    stack = thing.tags.get(STACK_TAG) or thing.tags.get(MADE_BY_TAG)
    if stack and (state := account.stack_state(stack)) not in _ENDED_STACKS:
        name = stack.split("/")[1] if stack.startswith("arn:") else stack
        return f"stack {name} made it and is in {state}: delete that stack"
    return ""


def keeping_data(findings: Findings) -> Findings:
    """The same, with what holds data kept."""
    kept = tuple(
        replace(one, kept="it holds data; --with-data deletes it")
        if not one.kept and one.kind.holds_data(one.thing)
        else one
        for one in findings.left
    )
    return replace(findings, left=kept)
