"""How IAM compares names: wildcards, ARNs part by part, and policy variables.

Sources: the IAM user guide, `reference_policies_elements_resource`, `reference_policies_variables` and
`reference_policies_elements_condition_operators`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

# Condition keys in lower case, and their values.
Context = Mapping[str, tuple[str, ...]]

_VARIABLE: Final = re.compile(r"\$\{(?P<name>[^}]*)\}")
_DEFAULT: Final = re.compile(r"^(?P<name>[^,]+),\s*'(?P<default>[^']*)'$")
# `${*}` is a star that is none.
_ESCAPED: Final = ("*", "?", "$")
_ARN_PARTS: Final = 6


class Unresolved(Exception):
    """A policy variable that the request has no value for; nothing is equal to it."""


def as_list(value: Any) -> list[Any]:
    """An element of a policy that may be written without its brackets."""
    return value if isinstance(value, list) else [value]


def text(value: Any) -> str:
    """A value of a policy as IAM reads it: JSON's `true` and `1` are strings."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def resolved(pattern: str, context: Context | None) -> list[tuple[str, bool]]:
    """The pieces of a text, with its variables replaced; the flag says whether wildcards count in the piece.

    Args:
        context: None where the policy's version has no variables.

    Raises:
        Unresolved: A variable has neither a value nor a default.
    """
    if context is None:
        return [(pattern, True)]
    pieces, at = [], 0
    for found in _VARIABLE.finditer(pattern):
        pieces.append((pattern[at : found.start()], True))
        pieces.append((_variable(found["name"], context), False))
        at = found.end()
    return [*pieces, (pattern[at:], True)]


def _variable(name: str, context: Context) -> str:
    if name in _ESCAPED:
        return name
    default = _DEFAULT.match(name)
    values = context.get((default["name"] if default else name).strip().lower(), ())
    if len(values) == 1:
        return values[0]
    if default and not values:
        return default["default"]
    raise Unresolved(name)


def plain(pattern: str, context: Context | None) -> str:
    """A text with its variables replaced and no wildcards."""
    return "".join(piece for piece, _ in resolved(pattern, context))


def like(pattern: str, value: str, context: Context | None = None, *, ignore_case: bool = False) -> bool:
    """Whether a value is what a pattern with `*` and `?` says."""
    return _matches(tuple(resolved(pattern, context)), value, ignore_case)


def _matches(pieces: tuple[tuple[str, bool], ...], value: str, ignore_case: bool = False) -> bool:  # noqa: FBT001, FBT002 - of this file
    return _regex(pieces, ignore_case).fullmatch(value) is not None


@lru_cache(maxsize=8192)
def _regex(pieces: tuple[tuple[str, bool], ...], ignore_case: bool) -> re.Pattern[str]:  # noqa: FBT001 - a cache's key
    def translated(piece: str, wild: bool) -> Iterator[str]:  # noqa: FBT001 - of this function
        for letter in piece:
            yield {"*": ".*", "?": "."}.get(letter, re.escape(letter)) if wild else re.escape(letter)

    source = "".join(one for piece, wild in pieces for one in translated(piece, wild))
    return re.compile(source, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _parts(pieces: list[tuple[str, bool]]) -> list[tuple[tuple[str, bool], ...]]:
    """The parts of an ARN pattern; a colon in a variable's value separates nothing."""
    parts: list[list[tuple[str, bool]]] = [[]]
    for piece, wild in pieces:
        first, *rest = piece.split(":", _ARN_PARTS - len(parts)) if wild else [piece]
        parts[-1].append((first, wild))
        parts += [[(one, wild)] for one in rest]
    return [tuple(part) for part in parts]


def arn_like(pattern: str, value: str, context: Context | None = None) -> bool:
    """Whether an ARN is what a pattern says, each of its six parts for itself."""
    wanted, parts = _parts(resolved(pattern, context)), value.split(":", _ARN_PARTS - 1)
    if not len(wanted) == len(parts) == _ARN_PARTS:
        return False
    return all(_matches(one, part) for one, part in zip(wanted, parts, strict=True))


def resource_like(pattern: str, resource: str, context: Context | None = None) -> bool:
    """Whether a `Resource` of a policy means a resource; one that ends early is completed with wildcards."""
    if pattern == "*":
        return True
    if resource == "*":
        return False
    wanted, parts = _parts(resolved(pattern, context)), resource.split(":", _ARN_PARTS - 1)
    wanted += [(("*", True),)] * (_ARN_PARTS - len(wanted))
    return len(parts) == _ARN_PARTS and all(_matches(one, part) for one, part in zip(wanted, parts, strict=True))


def any_resolved(patterns: list[Any], matches: Callable[[str], bool], *, otherwise: bool) -> bool:
    """Whether any of these matches; `otherwise` is what one with an unresolved variable counts as."""

    def safely(pattern: str) -> bool:
        try:
            return matches(pattern)
        except Unresolved:
            return otherwise

    return any(safely(text(pattern)) for pattern in patterns)
