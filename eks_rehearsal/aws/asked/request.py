"""One thing that a call asks IAM for, and what its rules are written with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import UNKNOWN
from eks_rehearsal.iam.matching import Context

# The condition keys of a call whose tags, and those of its resource, are looked up.
TAGS: Final = ("aws:requesttag/", "aws:resourcetag/", "aws:tagkeys", "ec2:resourcetag/", "iam:resourcetag/")


@dataclass(frozen=True)
class Asked:
    """One action on one resource, and the condition keys that the request adds.

    Args:
        action: `ec2:RunInstances`.

        resource: Its ARN; `*` for an action that has none, and nothing where it is not known.

        context: In lower case.

        complete: The beginnings of the condition keys that are in `context` where they are to be; of any other key nobody
            knows.

        role: The ARN of the role that must be allowed; the caller's own when empty.

        choice: One of those that have the same must be allowed, as when a fleet may take one of several instance types.
    """

    action: str
    resource: str = UNKNOWN
    context: Context = field(default_factory=dict)
    complete: tuple[str, ...] = ()
    role: str = ""
    choice: str = ""


Rule = Callable[[World, Call], Iterable[Asked]]


def tag_keys(kind: str, tags: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The condition keys of tags: of a `request`, or a `resource`."""
    keys = {f"aws:{kind}tag/{key}".lower(): (value,) for key, value in tags.items()}
    return {**keys, **({"aws:tagkeys": tuple(tags)} if kind == "request" and tags else {})}


def listed(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags that a service writes as a list."""
    return {one.get("Key", one.get("key", "")): one.get("Value", one.get("value", "")) for one in tags}


def passed(role: str, service: str) -> Asked:
    """A role is handed to a service; where the service has no name, that is not known."""
    if not service:
        return Asked("iam:PassRole", role)
    return Asked("iam:PassRole", role, {"iam:passedtoservice": (service,)}, ("iam:passedtoservice",))


def request_tags(call: Call) -> tuple[Context, tuple[str, ...]]:
    """The keys of the tags that a call gives, and which of them are known by that."""
    given = call.parameters.get("Tags") or call.parameters.get("tags") or {}
    tags = given if isinstance(given, Mapping) else listed(given)
    return tag_keys("request", tags), ("aws:requesttag/", "aws:tagkeys")


def key_arn(world: World, name: str) -> str:
    """The ARN of a key that is named by its id, its ARN or an alias."""
    kms = world.backend("kms")
    if "alias/" in name:
        name = kms.get_key_id_from_alias(f"alias/{name.partition('alias/')[2]}") or name
    key = kms.keys.get(kms.get_key_id(name))
    return str(key.arn) if key else UNKNOWN


def unscoped(_: World, call: Call) -> Iterator[Asked]:
    """An action that has no resources."""
    yield Asked(f"{call.service}:{call.action}", "*")
