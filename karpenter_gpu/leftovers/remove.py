"""Deletes what a look found, kind by kind, and says what stays and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from karpenter_gpu.errors import CannotLook
from karpenter_gpu.leftovers.account import AT_ONCE, Account, code_of, is_gone, sentence
from karpenter_gpu.leftovers.kinds import KINDS, Kind
from karpenter_gpu.leftovers.look import Findings, Key, Leftover, look_for

# What an instance takes to be gone, at worst; a load balancer's interfaces take some minutes.
AWAITED_SECONDS: Final = 15 * 60
# How long something may still be held by what was just deleted.
HELD_SECONDS: Final = 3 * 60
LOOK_EVERY_SECONDS: Final = 5

_HELD: Final = ("DependencyViolation", "InUse", "DeleteConflict", "IncorrectState", "ScalingActivityInProgress")

Progress = Callable[[str], None]


def check_deletable(account: Account, findings: Findings) -> None:
    """Refuse to delete from under a cluster that exists, or may exist."""
    name, region = account.owner.cluster, account.owner.region
    blind = [unseen.why for unseen in findings.unseen if "cluster" in unseen.kinds]
    if blind:
        raise CannotLook(f"whether cluster {name} still exists could not be seen ({blind[0]}), so nothing is deleted")
    if account.cluster:
        raise CannotLook(
            f"cluster {name} exists in {region} and is {account.cluster['status']}, so nothing is deleted; delete it first, with what "
            f"made it: cdk destroy, eksctl delete cluster, terraform destroy, or aws eks delete-cluster --name {name}"
        )


def remove(account: Account, left: Sequence[Leftover], say: Progress = lambda _: None) -> dict[Key, str]:
    """Delete what may be deleted.

    Args:
        account: Where.

        left: What a look found; what is kept stays.

        say: Is told what goes on.

    Returns:
        Why each of those that could not be deleted was not.
    """
    failed: dict[Key, str] = {}
    for kind in KINDS:
        wanted = [one for one in left if one.kind is kind and not one.kept]
        if not wanted:
            continue
        say(f"{kind.name}: deleting {len(wanted)}")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            reasons = pool.map(lambda one: _delete(account, one), wanted)
            kept = {one.key: why for one, why in zip(wanted, reasons, strict=True) if why}
        failed |= kept
        if kind.is_awaited:
            failed |= _wait(account, kind, [one for one in wanted if one.key not in kept], say)
    return failed


def _delete(account: Account, one: Leftover) -> str:
    """Why it could not be deleted; what is held by something that is just going is tried again."""
    end = time.monotonic() + HELD_SECONDS
    while error := _failure(account, one):
        if is_gone(error):
            return ""
        if not any(word in code_of(error) for word in _HELD) or time.monotonic() >= end:
            return sentence(error) + _holders(account, one)
        time.sleep(LOOK_EVERY_SECONDS)
    return ""


def _holders(account: Account, one: Leftover) -> str:
    try:
        return one.kind.holders(account, one.thing)
    except Exception:  # noqa: BLE001 - why it is held is only more about a failure that is told
        return ""


def _failure(account: Account, one: Leftover) -> Exception | None:
    failed: Exception | None = None
    assert one.kind.delete
    try:
        one.kind.delete(account, one.thing)
    except Exception as error:  # noqa: BLE001 - whatever one fails at, the others are deleted, and it is told
        failed = error
    return failed


def _wait(account: Account, kind: Kind, wanted: Sequence[Leftover], say: Progress) -> dict[Key, str]:
    """Wait until they are gone; why those that are not are still there."""
    end = time.monotonic() + AWAITED_SECONDS
    while True:
        found, unseen = look_for(account, kind)
        there = {one.thing.id for one in found}
        left = [one for one in wanted if unseen or one.thing.id in there]
        if not left or time.monotonic() >= end:
            return dict.fromkeys(
                (one.key for one in left), unseen or f"still being deleted after {AWAITED_SECONDS // 60} minutes"
            )
        say(f"{kind.name}: waiting for {len(left)} to be gone")
        time.sleep(LOOK_EVERY_SECONDS)
