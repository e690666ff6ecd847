"""From the context of `cdk.json` and `-c` to a platform.

`profiles` holds whole platforms by name, `profile` chooses one, and any other plain key is the dotted path of one
setting in it: `cluster.name`, `pools.inference.gpu_limit`. Keys with a `:` or a leading `@` are the CDK's own.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.settings import rules
from karpenter_gpu.settings._setting import settings_in, unknown, validated
from karpenter_gpu.settings.cluster import NewCluster
from karpenter_gpu.settings.karpenter import KarpenterSettings
from karpenter_gpu.settings.platform import Platform, faults_between
from karpenter_gpu.settings.pool import GpuPool

PROFILE = "profile"
PROFILES = "profiles"

# The CLI keeps its own choices in the context too.
_CDK_KEYS = frozenset({"cli-telemetry", "acknowledged-issue-numbers"})


def platform_from_context(context: Mapping[str, Any]) -> Platform:
    """The platform that a context describes.

    Raises:
        InvalidSettings: With every fault of the chosen profile and of every `-c`, all together.
    """
    document, faults = _document(context)
    try:
        platform = validated(Platform, document)
    except InvalidSettings as error:
        faults += (*error.faults, *_faults_between_sound_parts(document))
    if faults:
        raise InvalidSettings(dict.fromkeys(faults))
    return platform


def _document(context: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    profiles = context.get(PROFILES)
    if not isinstance(profiles, Mapping) or not profiles:
        raise InvalidSettings(
            [Fault(PROFILES, "is missing from the context of cdk.json; it holds the settings by name")]
        )
    profile = context.get(PROFILE, next(iter(profiles)))
    if profile not in profiles:
        raise InvalidSettings(
            [Fault(PROFILE, f"{profile!r} is not a profile of cdk.json; there are {', '.join(profiles)}")]
        )
    if not isinstance(profiles[profile], Mapping):
        raise InvalidSettings([Fault(f"{PROFILES}.{profile}", f"{profiles[profile]!r} is not a mapping of settings")])
    document: dict[str, Any] = copy.deepcopy(dict(profiles[profile]))
    faults: list[Fault] = []
    for key, value in context.items():
        if key not in {PROFILE, PROFILES} | _CDK_KEYS and ":" not in key and not key.startswith("@"):
            faults.extend(_override(document, key, value))
    return document, tuple(faults)


def _override(document: dict[str, Any], key: str, value: object) -> Iterator[Fault]:
    """Put one value at its dotted path, as the type it has there."""
    *path, last = key.split(".")
    top = [*(f.name for f in fields(Platform)), PROFILE, PROFILES]
    if key.split(".", maxsplit=1)[0] not in top:
        yield Fault(key, unknown(key.split(".", maxsplit=1)[0], top))
        return
    inside: Any = document
    hints: list[Any] = [Platform]
    for part in path:
        hints = _hints_below(hints, part)
        if isinstance(inside, list):
            names = [str(item.get("name")) for item in inside if isinstance(item, Mapping)]
            if part not in names:
                near = difflib.get_close_matches(part, names, n=1)
                way_out = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
                yield Fault(key, f"nothing here is named {part!r}; {way_out}")
                return
            inside = inside[names.index(part)]
        else:
            inside = inside.setdefault(part, {})
        if not isinstance(inside, (dict, list)):
            yield Fault(key, f"{part!r} is a single value, with no settings inside it")
            return
    if isinstance(inside, list):
        yield Fault(key, f"{'.'.join(path)} is a list; name one of its members and a setting of that")
        return
    inside[last] = _as_typed(_hints_below(hints, last), value)


def _hints_below(hints: list[Any], part: str) -> list[Any]:
    """The types a name can have inside any of these types; a name of a list's member goes through it."""
    found = []
    for hint in hints:
        if get_origin(hint) is not None:
            if get_origin(hint) is tuple:
                found.append(get_args(hint)[0])
            elif part not in {f.name for holder in settings_in(hint) for f in fields(holder)}:
                found.extend(arg for arg in get_args(hint)[1:] if arg is Any)
        for holder in settings_in(hint) if get_origin(hint) is not tuple else ():
            found.extend(inner for name, inner in get_type_hints(holder).items() if name == part)
    return found


def _as_typed(hints: list[Any], value: object) -> object:
    """Text from the command line as the type its setting has; what does not fit is left for validation to name."""
    if not isinstance(value, str):
        return value
    leaves = {leaf for hint in hints for leaf in _leaves(hint)}
    structured = value.startswith(("[", "{")) or (value == "null" and type(None) in leaves)
    if tuple in leaves and not structured:
        inner = [leaf for leaf in leaves if leaf is not tuple]
        return [_as_typed(inner, item.strip()) for item in value.split(",") if item.strip()]
    if str in leaves and not structured:
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _leaves(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is tuple:
        yield tuple
    for arg in get_args(hint) or (hint,):
        if arg is hint:
            yield hint
        elif arg is not Ellipsis:
            yield from _leaves(arg)


def _faults_between_sound_parts(document: Mapping[str, Any]) -> Iterator[Fault]:
    """What can be said between settings when others are wrong, so that one run shows everything."""

    def sound(cls: type[Any], part: object) -> Any:
        try:
            return validated(cls, part)
        except InvalidSettings:
            return None

    pools = document.get("pools")
    region = document.get("region")
    yield from faults_between(
        cluster=sound(NewCluster, document.get("cluster")),
        karpenter=sound(KarpenterSettings, document.get("karpenter", {})),
        pools=tuple(filter(None, (sound(GpuPool, pool) for pool in pools))) if isinstance(pools, list) else (),
        region=region if isinstance(region, str) else None,
        today=rules.today(),
    )
