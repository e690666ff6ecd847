"""Parameters."""

from __future__ import annotations

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, chosen, tried
from eks_rehearsal.cloudformation.types.tags import Tagging, pairs, tags_of

TAGS = Tagging(
    "ssm",
    "ResourceId",
    "add_tags_to_resource",
    "remove_tags_from_resource",
    also={"ResourceType": "Parameter"},
)
PARAMETER = frozenset({"AllowedPattern", "DataType", "Description", "Policies", "Tier", "Type", "Value"})


def _made(name: str, properties: Properties) -> Made:
    return Made(name, chosen(properties, ("Type", "Value")))


def _create(context: Context, properties: Properties) -> Made:
    name = properties.get("Name") or f"CFN-{properties['Type']}-{context.name(512)}"
    tags = pairs(tags_of(context, properties))
    call(context, "ssm", "put_parameter", Name=name, Tags=tags, **chosen(properties, PARAMETER))
    return _made(name, properties)


def _update(context: Context, name: str, old: Properties, new: Properties) -> Made:
    call(context, "ssm", "put_parameter", Name=name, Overwrite=True, **chosen(new, PARAMETER))
    TAGS.change(context, name, old, new)
    return _made(name, new)


def _delete(context: Context, name: str, _properties: Properties) -> None:
    tried(context, "ssm", "delete_parameter", Name=name)


ROWS = (
    ResourceType("AWS::SSM::Parameter", PARAMETER | {"Name", "Tags"}, _create, _delete, _update, frozenset({"Name"})),
)
