"""The headline: what a rehearsal found, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from eks_rehearsal.report.units import count
from eks_rehearsal.result import FAILED, NOT_PLAYED, PASSED, Outcome, Result


@dataclass(frozen=True)
class Verdict:
    """What stands at the top of the page.

    Args:
        word: `passed`, `failed` or `not played`, as of an act.

        sentence: The whole of it; of a failure, the first reason in full.
    """

    word: str
    sentence: str


def verdict(result: Result) -> Verdict:
    """Say how a rehearsal went; what was not played or not looked for is never counted as passed."""
    if not result.passed:
        return Verdict(FAILED, _failure(result))
    if not _of(result, PASSED):
        return Verdict(NOT_PLAYED, "Nothing was played, so nothing is shown.")
    return Verdict(PASSED, _success(result))


def _failure(result: Result) -> str:
    failed, left = _of(result, FAILED), result.left or ()
    if not failed and result.denied:
        return _closed(f"Every act that was played passed, but {result.denied[0]}")
    if not failed:
        return _closed(f"Every act that was played passed, but the account still had {_listed(left)} after destroy")
    acts = f"{len(failed)} of {count(len(result.outcomes), 'act')} failed"
    first = f"{failed[0].name} ({failed[0].title}): {failed[0].reason.strip().rstrip('.') or 'no reason is known'}"
    also = f"; then {_listed(one.name for one in failed[1:])}" if failed[1:] else ""
    there = f"; and {count(len(left), 'thing')} stayed in the account after destroy" if left else ""
    return _closed(f"{acts}: {first}{also}{there}")


def _success(result: Result) -> str:
    passed, skipped = _of(result, PASSED), _of(result, NOT_PLAYED)
    played = f"All {count(len(passed), 'act')} passed"
    if skipped:
        played = f"{len(passed)} of {count(len(result.outcomes), 'act')} passed ({_listed(one.name for one in skipped)} not played)"
    after = "the stacks were not destroyed" if result.left is None else "nothing was left in the account"
    return f"{played}, and {after}."


def _of(result: Result, verdict: str) -> list[Outcome]:
    return [one for one in result.outcomes if one.verdict == verdict]


def _listed(names: Iterable[str]) -> str:
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _closed(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
