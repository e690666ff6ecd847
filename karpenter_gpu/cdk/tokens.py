"""What is known at synthesis, and what only at deployment."""

from __future__ import annotations

from aws_cdk import Token


def known(value: str | None) -> str | None:
    """A text that synthesis knows; None for one that is not given, or that only deployment knows."""
    return None if value is None or Token.is_unresolved(value) else value
