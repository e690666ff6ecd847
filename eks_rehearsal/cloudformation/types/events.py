"""EventBridge rules and their targets."""

from __future__ import annotations

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, chosen, document, refusal, rolled_back_on_failure, tried
from eks_rehearsal.cloudformation.types.tags import Tagging, pairs, tags_of

TAGS = Tagging("events", "ResourceARN")
RULE = ("Description", "EventBusName", "RoleArn", "ScheduleExpression", "State")
FIXED = frozenset({"EventBusName", "Name"})


def _bus(properties: Properties) -> dict[str, str]:
    return chosen(properties, ("EventBusName",))


def _id(name: str, properties: Properties) -> str:
    """The name, after the name of the bus where that is not the default one."""
    bus = properties.get("EventBusName", "default").rsplit("/", 1)[-1]
    return name if bus == "default" else f"{bus}|{name}"


def _name(id: str) -> str:
    return id.rsplit("|", 1)[-1]


def _put(context: Context, name: str, properties: Properties, **more: object) -> str:
    pattern = document(properties.get("EventPattern"))
    made = call(context, "events", "put_rule", Name=name, EventPattern=pattern, **chosen(properties, RULE), **more)
    return str(made["RuleArn"])


def _put_targets(context: Context, name: str, properties: Properties) -> None:
    targets = properties.get("Targets")
    if not targets:
        return
    answer = call(context, "events", "put_targets", Rule=name, Targets=targets, **_bus(properties))
    for failed in answer.get("FailedEntries", []):
        raise refusal(failed["ErrorCode"], "PutTargets", failed["ErrorMessage"])


def _create(context: Context, properties: Properties) -> Made:
    name = properties.get("Name") or context.name(64)
    arn = _put(context, name, properties, Tags=pairs(tags_of(context, properties)))
    id = _id(name, properties)
    with rolled_back_on_failure(id):
        _put_targets(context, name, properties)
    return Made(id, {"Arn": arn, "RuleName": name})


def _target_ids(properties: Properties) -> list[str]:
    return [target["Id"] for target in properties.get("Targets") or ()]


def _update(context: Context, id: str, old: Properties, new: Properties) -> Made:
    name = _name(id)
    arn = _put(context, name, new)
    gone = [target for target in _target_ids(old) if target not in _target_ids(new)]
    if gone:
        call(context, "events", "remove_targets", Rule=name, Ids=gone, **_bus(new))
    _put_targets(context, name, new)
    TAGS.change(context, arn, old, new)
    return Made(id, {"Arn": arn, "RuleName": name})


def _delete(context: Context, id: str, properties: Properties) -> None:
    name = _name(id)
    if _target_ids(properties):
        tried(context, "events", "remove_targets", Rule=name, Ids=_target_ids(properties), **_bus(properties))
    tried(context, "events", "delete_rule", Name=name, **_bus(properties))


ROWS = (
    ResourceType(
        "AWS::Events::Rule",
        frozenset({*RULE, "EventPattern", "Name", "Tags", "Targets"}),
        _create,
        _delete,
        _update,
        FIXED,
    ),
)
