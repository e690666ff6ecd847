"""How a setting is made: frozen, strict, keyword-only, and every fault of it a sentence."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_args, get_type_hints

import pydantic
import pydantic_core
from pydantic import ConfigDict, ValidationError, model_validator
from typing_extensions import dataclass_transform

from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.settings._types import key_of, other_cases
from karpenter_gpu.settings._written import constructor_sentence

T = TypeVar("T")

_CONFIG = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Faults(ValueError):
    """Carries faults out of a pydantic validator, which can raise only one error."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__()


@dataclass_transform(kw_only_default=True, frozen_default=True)
def setting(cls: type[T]) -> type[T]:
    """Make `cls` a setting.

    A method `check(self)` that yields faults is called once every field has been found right by itself.

    Raises, from the constructor of the result:
        InvalidSettings: With every fault, when anything given is wrong.
    """
    check: Callable[[Any], Iterable[Fault]] = cls.__dict__.get("check", lambda _: ())

    def whole(inner: type[T], given: Any, build: Callable[[Any], T]) -> T:
        if isinstance(given, inner):
            return given
        try:
            if isinstance(given, Mapping):
                # A document's member, or in Python a dictionary where a setting belongs.
                return validated(inner, given)
            made = build(given)
        except InvalidSettings as error:
            raise Faults(error.faults) from None
        except ValidationError as error:
            raise Faults(_all_faults(error, inner, given, build)) from None
        if faults := tuple(check(made)):
            raise Faults(faults)
        return made

    cls._whole = model_validator(mode="wrap")(classmethod(whole))  # type: ignore[arg-type, attr-defined]
    made = pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=_CONFIG)
    build = made.__init__

    @functools.wraps(build)
    def init(self: T, *args: Any, **given: Any) -> None:
        try:
            build(self, *args, **given)
        except ValidationError as error:
            faults = tuple(faults_of(error, made, given))
            raise InvalidSettings(faults, [constructor_sentence(one, made, given) for one in faults]) from None

    made.__init__ = init  # type: ignore[assignment]
    return cast("type[T]", made)


def validated(cls: type[T], document: object) -> T:
    """Build a setting from a JSON document.

    Raises:
        InvalidSettings: With every fault, each under the dotted path of the value it is about.
    """
    if not isinstance(document, Mapping) or not all(isinstance(name, str) for name in document):
        raise InvalidSettings([Fault("", f"{shown(document)} is not a mapping of settings, as {cls.__name__} takes")])
    try:
        return cls(**document)
    except InvalidSettings as error:
        # Whoever wrote a document knows no constructor.
        raise InvalidSettings(error.faults) from None


_UNKNOWN = "unexpected_keyword_argument"

# What pydantic calls a fault -> our sentence, given the value as the user wrote it.
_SENTENCES: Mapping[str, str] = {
    "missing": "is required and was not given",
    "string_type": "{value} is not text",
    "int_type": "{value} is not a whole number",
    "int_parsing": "{value} is not a whole number",
    "int_from_float": "{value} is not a whole number",
    "float_type": "{value} is not a number",
    "bool_type": "{value} is not true or false",
    "tuple_type": "{value} is not a list; put it in one",
    "dict_type": "{value} is not a mapping of names to values",
    "mapping_type": "{value} is not a mapping of names to values",
    "dataclass_type": "{value} is not a mapping of settings, as {class_name} takes",
    "dataclass_exact_type": "{value} is not a mapping of settings, as {class_name} takes",
    "dataclass_args_type": "{value} is not a mapping of settings",
    "unexpected_positional_argument": "{value} is given without the name of its setting; name each, as in name={value}",
    "finite_number": "{value} must be finite",
    "too_long": "has {actual_length} members and may have {max_length}",
    "literal_error": "{value} is not one of {expected}",
    "greater_than_equal": "{value} is too small; the least is {ge}",
    "less_than_equal": "{value} is too large; the most is {le}",
    "greater_than": "{value} is too small; it must be more than {gt}",
    "too_short": "has {actual_length} members and needs {min_length} at least",
}


def _all_faults(error: ValidationError, cls: type[Any], given: Any, build: Callable[[Any], Any]) -> Iterator[Fault]:
    """The faults of a setting, and those that are found without the names that nothing here has.

    A setting that says `one_by_one` is also looked at without its wrong values, for each of its checks is about one.
    """
    yield from faults_of(error, cls, given)
    lines = error.errors(include_url=False)
    wrong = {line["loc"][0] for line in lines if line["loc"]}
    strangers = {line["loc"][0] for line in lines if line["type"] == _UNKNOWN and len(line["loc"]) == 1}
    one_by_one = getattr(cls, "one_by_one", False)
    if not wrong or (wrong != strangers and not one_by_one):
        return
    try:
        sound = build(pydantic_core.ArgsKwargs((), {k: v for k, v in _named(given).items() if k not in wrong}))
    except ValidationError as more:
        yield from faults_of(more, cls, given) if wrong == strangers else ()
    else:
        found: Iterable[Fault] = getattr(sound, "check", tuple)()
        yield from (fault for fault in found if fault.where.partition(".")[0] not in wrong)


def faults_of(error: ValidationError, cls: type[Any], given: Any) -> Iterator[Fault]:
    """Every fault of a pydantic error, in our words, under the path that `-c` takes."""
    for line in error.errors(include_url=False):
        loc = line["loc"] if line["type"] != "unexpected_positional_argument" else ()
        where = _path(loc, cls, _named(given))
        cause = line.get("ctx", {}).get("error")
        if isinstance(cause, Faults):
            yield from (fault.under(where) for fault in cause.faults)
        elif line["type"] == _UNKNOWN:
            yield Fault(where, _unfitting(str(line["loc"][-1]), cls, _named(given)))
        elif cause is not None:
            yield Fault(where, str(cause))
        elif line["input"] is None and line["type"] in _SENTENCES:
            yield Fault(where, "has no value (null, or None in Python); give one, or leave it out")
        elif line["type"] == "string_type" and isinstance(line["input"], (int, float)):
            yield Fault(where, f"{shown(line['input'])} is not text; write it in quotes")
        elif line["type"] == "literal_error" and line["ctx"]["expected"] == "True":
            yield Fault(where, f"{shown(line['input'])} is not true, which is all it can be; leave it out instead")
        else:
            sentence = _SENTENCES.get(line["type"], "{value} is not valid: " + line["msg"].lower())
            yield Fault(where, sentence.format(value=shown(line["input"]), **line.get("ctx", {})))


def _unfitting(name: str, cls: type[Any], given: Mapping[str, Any]) -> str:
    """The sentence for a name that a setting does not have: another case of a union has it, or none."""
    for key, other in other_cases(cls).items():
        if name in {field.name for field in fields(other)}:
            chosen = next((mine for mine in key_of(cls) if mine in given), None)
            if chosen:
                return f"{name!r} and {chosen!r} exclude each other, as {other.__name__} and {cls.__name__} do; leave one out"
            return f"{name!r} is a setting of {other.__name__}, which {key!r} chooses; say that too, or leave it out"
    return unknown(name, [field.name for field in fields(cls)])


def unknown(name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not a setting, with the nearest that is."""
    known = sorted(set(known))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    way_out = f"did you mean {near[0]!r}?" if near else f"the settings here are {', '.join(known)}"
    return f"{name!r} is not a setting; {way_out}"


def shown(value: object) -> str:
    """A value as it is named in a sentence: whole while it is short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _named(given: Any) -> Mapping[str, Any]:
    """What was given by name: a document's members, or a constructor's keywords."""
    if isinstance(given, pydantic_core.ArgsKwargs):
        return given.kwargs or {}
    return given if isinstance(given, Mapping) else {}


def _path(loc: tuple[int | str, ...], cls: type[Any], given: Mapping[str, Any]) -> str:
    """The dotted path of a pydantic location inside a setting.

    Members of a list go by their `name`, as `-c` names them; places in a list and cases of a union are left out.
    """
    if not loc:
        return ""
    field, *rest = loc
    cases = {case.__name__ for case in settings_in(hints_of(cls).get(str(field)))}
    path, inside = [str(field)], given.get(str(field))
    for part in rest:
        if part in cases or part == "[key]":
            continue
        inside = _member(inside, part)
        name = _member(inside, "name") if isinstance(part, int) else part
        path += [str(name)] if name is not None else []
    return ".".join(path)


def _member(of: object, part: object) -> object:
    if isinstance(of, Mapping):
        return of.get(part)
    if isinstance(of, (list, tuple)) and isinstance(part, int) and part < len(of):
        return of[part]
    return getattr(of, part, None) if isinstance(part, str) else None


_HINTS: dict[type[Any], dict[str, Any]] = {}


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The types of a setting's fields, which are slow to read and never change."""
    if cls not in _HINTS:
        _HINTS[cls] = get_type_hints(cls)
    return _HINTS[cls]


def settings_in(hint: Any) -> Iterator[type[Any]]:
    """Every setting that a type is, or that stands among its arguments."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from settings_in(inner)
