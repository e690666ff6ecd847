"""Nested stacks: a template of the assembly's assets, deployed as one resource of another stack."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eks_rehearsal.cloudformation.api import CloudFormation
from eks_rehearsal.cloudformation.engine import Stack
from eks_rehearsal.cloudformation.resource import Context, HalfMade, Made, Properties, ResourceType
from eks_rehearsal.errors import RehearsalError

TYPE = "AWS::CloudFormation::Stack"


@dataclass(frozen=True)
class NestedStacks:
    """Makes stacks in stacks.

    Args:
        cloudformation: The stacks of the account.
    """

    cloudformation: Callable[[], CloudFormation]

    @property
    def type(self) -> ResourceType:
        """The resource type."""
        return ResourceType(
            name=TYPE,
            properties=frozenset({"TemplateURL", "Parameters", "Tags"}),
            create=self._create,
            update=self._update,
            delete=self._delete,
            without_effect={
                "NotificationARNs": "nobody is notified",
                "TimeoutInMinutes": "each resource has a time of its own",
            },
        )

    def _create(self, context: Context, properties: Properties) -> Made:
        stacks = self.cloudformation()
        stack = stacks.nested(context.name(128), role=context.role, **_asked(properties))
        stacks.engine.create(stack)
        if stack.status != "CREATE_COMPLETE":
            why = f"Embedded stack {stack.id} was not successfully created: {_first_failure(stack)}"
            raise HalfMade(stack.id, RehearsalError(why))
        return _made(stack)

    def _update(self, context: Context, id: str, _: Properties, properties: Properties) -> Made:
        stacks = self.cloudformation()
        stack = stacks.stack(id)
        before = copy.copy(stack)
        stacks.nested(stack.name, stack=stack, role=context.role, **_asked(properties))
        stacks.engine.update(stack, before)
        if stack.status != "UPDATE_COMPLETE":
            raise RehearsalError(f"Embedded stack {id} was not successfully updated: {_first_failure(stack)}")
        return _made(stack)

    def _delete(self, _: Context, id: str, __: Properties) -> None:
        stacks = self.cloudformation()
        stack = stacks.stack(id)
        if stack.deleted is None:
            stacks.engine.delete(stack)
        if stack.deleted is None:
            raise RehearsalError(f"Embedded stack {id} was not successfully deleted: {_first_failure(stack)}")


def _asked(properties: Properties) -> dict[str, Any]:
    tags = {tag["Key"]: str(tag["Value"]) for tag in properties.get("Tags", [])}
    given: Mapping[str, Any] = properties.get("Parameters", {})
    return {
        "address": str(properties["TemplateURL"]),
        "given": {name: str(value) for name, value in given.items()},
        "tags": tags,
    }


def _made(stack: Stack) -> Made:
    return Made(stack.id, {f"Outputs.{name}": value for name, value in stack.outputs.items()})


def _first_failure(stack: Stack) -> str:
    """What went wrong first, since the stack last began."""
    begun = max(place for place, event in enumerate(stack.events) if event.reason == "User Initiated")
    failures = [one for one in stack.events[begun:] if one.status.endswith("_FAILED") and one.logical_id != stack.name]
    return f"{failures[0].logical_id}: {failures[0].reason}" if failures else stack.reason
