"""Faults in the words of a caller in Python: where a setting is, as `settings=KarpenterSettings(version=…)`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ParamSpec, TypeVar

from karpenter_gpu.errors import Fault, InvalidSettings

P = ParamSpec("P")
R = TypeVar("R")

_PATH = re.compile(r"\b[a-z_]+(?:\.[\w-]+)+")


def in_words_of_caller(**keywords: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let what a function raises name its own arguments.

    Args:
        keywords: The argument that has what faults are under, where it has another name; `pools` by `pool`, say.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def worded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except InvalidSettings as error:
                bound = inspect.signature(function).bind(*args, **kwargs)
                bound.apply_defaults()
                given = {name: (name, value) for name, value in {**bound.arguments, **kwargs}.items()}
                given |= {root: (name, bound.arguments[name]) for root, name in keywords.items()}
                raise InvalidSettings(error.faults, [sentence(fault, given) for fault in error.faults]) from None

        return worded

    return decorate


def sentence(fault: Fault, given: Mapping[str, tuple[str, object]]) -> str:
    """A fault with each path in it as the caller wrote it.

    Args:
        fault: Under a dotted path.

        given: By the first member of a path, the caller's keyword and what was given by it.
    """

    def form(path: str) -> str:
        root, _, rest = path.partition(".")
        return _form(*given[root], rest) if root in given else path

    def named(found: re.Match[str]) -> str:
        root, first = found[0].split(".")[:2]
        return form(found[0]) if root in given and first in _names(given[root][1]) else found[0]

    return str(Fault(form(fault.where), _PATH.sub(named, fault.problem)))


def constructor_sentence(fault: Fault, cls: type[Any], given: Mapping[str, object]) -> str:
    """A fault of one setting's own constructor: `GpuPool(gpu_limit=…): ...`."""
    keyword, _, rest = fault.where.partition(".")
    inner = _form(keyword, given.get(keyword), rest) if keyword else "…"
    return f"{cls.__name__}({inner}): {fault.problem}"


def _name(value: object) -> object:
    return value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)


def _names(value: object) -> frozenset[object]:
    """The settings in a value, or the names of the members of a list."""
    if is_dataclass(value):
        return frozenset(field.name for field in fields(value))
    return frozenset(map(_name, value)) if isinstance(value, (list, tuple)) else frozenset()


def _form(keyword: str, value: object, path: str) -> str:
    return f"{keyword}={_inside(value, path) if path else '…'}"


def _inside(value: object, path: str) -> str:
    """What of a value a path is about, as Python writes it; a member of a list goes by its name."""
    first, _, rest = path.partition(".")
    if is_dataclass(value):
        if _name(value) == first:
            return f"{type(value).__name__}(name={first!r}{f', {_field(value, rest)}' if rest else ''})"
        return f"{type(value).__name__}({_field(value, path)})"
    if isinstance(value, Mapping):
        if _name(value) == first:
            return f"{{'name': {first!r}{f', {_key(value, rest)}' if rest else ''}}}"
        return f"{{{_key(value, path)}}}"
    members = value if isinstance(value, (list, tuple)) else ()
    found = next((one for one in members if _name(one) == first or hasattr(one, first)), None)
    return f"[{_inside(found, path)}]" if found is not None else "…"


def _field(value: object, path: str) -> str:
    name, _, rest = path.partition(".")
    return _form(name, getattr(value, name, None), rest)


def _key(value: Mapping[str, object], path: str) -> str:
    """Of a mapping, whose keys may have dots."""
    key = next((key for key in value if path == key or path.startswith(f"{key}.")), path)
    rest = path[len(key) + 1 :]
    return f"{key!r}: {_inside(value[key], rest) if rest else '…'}"
