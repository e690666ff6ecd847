"""The lines by which a budget says when it holds."""

from __future__ import annotations

from typing import Final

_CRON_FIELDS: Final[tuple[tuple[str, int, int, tuple[str, ...]], ...]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_CRON_NAMES: Final = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def cron_problem(line: str) -> str | None:
    """What the parser that Karpenter uses would refuse in a schedule, or None.

    Source: robfig/cron v3 ParseStandard, parser.go: five fields, `*` or `?`, lists, ranges, steps, English names,
    days of the week 0 to 6.
    """
    if line.startswith("@"):
        return None if line in _CRON_NAMES else f"use one of {', '.join(_CRON_NAMES)}, or five fields"
    parts = line.split()
    if len(parts) != len(_CRON_FIELDS):
        return f"it has {len(parts)} fields and needs five: minute, hour, day of month, month, day of week"
    problems = (
        _term_problem(term, *field) for text, field in zip(parts, _CRON_FIELDS, strict=True) for term in text.split(",")
    )
    return next(filter(None, problems), None)


def _term_problem(term: str, name: str, least: int, most: int, words: tuple[str, ...]) -> str | None:
    span, slash, step = term.partition("/")
    low, dash, high = span.partition("-")
    numbers = [str(words.index(end.lower()) + least) if end.lower() in words else end for end in (low, high)]
    ends = [int(number) for number in numbers if number.isascii() and number.isdecimal()]
    if span not in {"*", "?"} and len(ends) != 1 + bool(dash):
        return f"{term!r} is no {name}"
    if any(not least <= end <= most for end in ends) or ends != sorted(ends):
        return f"{term!r} is no {name}, which runs from {least} to {most}"
    if slash and not (step.isascii() and step.isdecimal() and int(step)):
        return f"{term!r} has no step behind '/'"
    return None
