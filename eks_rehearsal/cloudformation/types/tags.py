"""Tags, as each service takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Properties
from eks_rehearsal.cloudformation.types.calls import call, known, text

Tags = dict[str, str]


def tags_of(context: Context, properties: Properties) -> Tags:
    """A resource's own tags over those of its stack."""
    return context.stack_tags | own_tags(context, properties)


def own_tags(context: Context, properties: Properties) -> Tags:
    """The tags of the template, which has them as a list or, for some types, as a map."""
    given = properties.get("Tags") or {}
    if isinstance(given, Mapping):
        return {str(key): text(value) for key, value in given.items()}
    for index, tag in enumerate(given):
        known(context, f"Tags[{index}]", tag, ("Key", "Value"))
    return {str(tag["Key"]): text(tag["Value"]) for tag in given}


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The form of most services."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def kms_pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The form of KMS."""
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


@dataclass(frozen=True)
class Tagging:
    """How a service tags what stands already.

    Args:
        service: The service.

        id: The parameter that names the resource.

        tag: The operation that adds and changes tags.

        untag: The one that takes them away.

        form: What it takes them as.

        also: What both operations are given besides.
    """

    service: str
    id: str
    tag: str = "tag_resource"
    untag: str = "untag_resource"
    form: Callable[[Tags], Any] = pairs
    also: Mapping[str, Any] = field(default_factory=dict)

    def change(self, context: Context, id: Any, old: Properties, new: Properties) -> None:
        """From the old properties' tags to the new ones'; the stack's stay."""
        before, after = own_tags(context, old), own_tags(context, new)
        changed = dict(after.items() - before.items())
        removed = sorted(before.keys() - after.keys())
        named = {self.id: id, **self.also}
        if changed:
            call(context, self.service, self.tag, **named, Tags=self.form(changed))
        if removed:
            call(context, self.service, self.untag, **named, TagKeys=removed)
