"""One value at the dotted path of a document, as the type that its setting has."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args, get_origin

from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import hints_of, settings_in, shown


def override(document: dict[str, Any], hint: Any, key: str, value: object) -> Iterator[Fault]:
    """Put a value where `key` says, and yield what keeps it from there.

    Args:
        document: What is changed; what is missing on the way is made.

        hint: The type of the document.

        key: `cluster.name`; a member of a list goes by its `name`, or by its place from 0.

        value: Text is read as the type it has there; anything else is taken as it is.
    """
    inside: Any = document
    hints: list[Any] = [hint]
    parts = key.split(".")
    while len(parts) > 1 and not any(map(_has_free_keys, hints)):
        part = parts.pop(0)
        below = _below(hints, part)
        if isinstance(inside, list):
            place = _place(inside, part)
            if place is None:
                yield Fault(key, f"nothing here is named {part!r}; {_way_out(inside, part)}")
                return
            inside = inside[place]
        else:
            if part not in inside and below and not any(map(_holds_more, below)):
                yield Fault(key, f"{part!r} is a single value, with no settings inside it")
                return
            inside = inside.setdefault(part, [] if any(get_origin(hint) is tuple for hint in below) else {})
        hints = below
        if not isinstance(inside, (dict, list)):
            yield Fault(key, f"{part!r} is a single value, with no settings inside it")
            return
    if isinstance(inside, list):
        yield Fault(key, "is in a list; name one of its members and a setting of that")
        return
    last = ".".join(parts)
    try:
        inside[last] = _as_typed(_below(hints, last), value)
    except (ValueError, RecursionError) as error:
        why = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
        yield Fault(key, f"{shown(value)} begins like JSON and is not: {why}; put text in double quotes")
        return
    for other in _of_other_cases(hints, last):
        inside.pop(other, None)


def _holds_more(hint: Any) -> bool:
    """True for a list, a mapping or a setting."""
    origin = get_origin(hint)
    return hint is Any or origin is tuple or _is_mapping(origin) or any(settings_in(hint))


def _has_free_keys(hint: Any) -> bool:
    """True for labels and tags, whose keys may have dots."""
    return _is_mapping(get_origin(hint)) and get_args(hint)[1] is not Any


def _is_mapping(origin: Any) -> bool:
    """True for the origin of a mapping type."""
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _place(members: list[Any], part: str) -> int | None:
    names = [member.get("name") if isinstance(member, Mapping) else None for member in members]
    places = [str(place) for place in range(len(members))]
    return next((ways.index(part) for ways in (names, places) if part in ways), None)


def _way_out(members: list[Any], part: str) -> str:
    names = [str(member["name"]) for member in members if isinstance(member, Mapping) and "name" in member]
    near = difflib.get_close_matches(part, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(names)}" if names else f"it has {len(members)} members, counted from 0"


def _of_other_cases(hints: list[Any], name: str) -> set[str]:
    """Settings that cannot stand beside one of this name, because only another case of a union has them."""
    cases = [{field.name for field in fields(case)} for hint in hints for case in settings_in(hint)]
    fitting = [names for names in cases if name in names]
    return set().union(*cases) - set().union(*fitting) if fitting else set()


def _below(hints: list[Any], part: str) -> list[Any]:
    """The types that what has this name can have; a list's member has the type of all its members."""
    found = []
    for hint in hints:
        origin, args = get_origin(hint), get_args(hint)
        if origin is tuple:
            found.append(args[0])
        elif _is_mapping(origin):
            found.append(args[1])
        elif hint is Any:
            found.append(hint)
        else:
            found += [hints_of(holder)[part] for holder in settings_in(hint) if part in hints_of(holder)]
    return found


def _as_typed(hints: list[Any], value: object) -> object:
    """Text as the type its setting has; what does not fit is left for validation to name."""
    if not isinstance(value, str):
        return value
    leaves = {leaf for hint in hints for leaf in _leaves(hint)}
    if value.startswith(("[", "{")):
        return json.loads(value, parse_constant=_no_number)
    if tuple in leaves:
        inner = [leaf for leaf in leaves if leaf is not tuple]
        return [_as_typed(inner, item.strip()) for item in value.split(",") if item.strip()]
    if str in leaves and not (value == "null" and type(None) in leaves):
        return value
    try:
        return json.loads(value.lower() if bool in leaves else value, parse_constant=_no_number)
    except ValueError:
        return value


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number in JSON")


def _leaves(hint: Any) -> Iterator[Any]:
    """The types at the ends of a type: text, numbers, and `tuple` itself for any list."""
    if get_origin(hint) is tuple:
        yield tuple
    for arg in get_args(hint) or (hint,):
        if arg is hint:
            yield hint
        elif arg is not Ellipsis:
            yield from _leaves(arg)
