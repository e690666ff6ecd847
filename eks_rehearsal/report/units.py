"""Numbers with their units."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A time on the timeline, `83.4 s`."""
    return f"{value:.1f} s"


def duration(value: float) -> str:
    """A length of time as one says it: `83.4 s`, `6 min 52 s`."""
    if value < 120:
        return seconds(value)
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def dollars(value: float) -> str:
    """An amount; a rehearsal's are mostly fractions of a cent."""
    return f"${value:,.2f}" if value == 0 or value >= 1 else f"${value:.4f}"


def price(usd_per_hour: float) -> str:
    """What an hour costs, where it is known."""
    return f"${usd_per_hour:,.2f} an hour" if usd_per_hour else "no price known"


def count(number: int, thing: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
