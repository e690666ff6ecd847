"""State machines."""

from __future__ import annotations

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, tried
from eks_rehearsal.cloudformation.types.tags import Tagging, pairs, tags_of

TAGS = Tagging("stepfunctions", "ResourceArn")


def _create(context: Context, properties: Properties) -> Made:
    name = properties.get("StateMachineName") or context.name(80)
    arn = call(
        context,
        "stepfunctions",
        "create_state_machine",
        Name=name,
        Definition=properties["DefinitionString"],
        RoleArn=properties["RoleArn"],
        Type=properties.get("StateMachineType"),
        Tags=pairs(tags_of(context, properties)),
    )["stateMachineArn"]
    return _made(arn)


def _made(arn: str) -> Made:
    return Made(arn, {"Arn": arn, "Name": arn.rpartition(":")[2]})


def _update(context: Context, arn: str, old: Properties, new: Properties) -> Made:
    given = {"Definition": new["DefinitionString"], "RoleArn": new["RoleArn"]}
    call(context, "stepfunctions", "update_state_machine", StateMachineArn=arn, **given)
    TAGS.change(context, arn, old, new)
    return _made(arn)


def _delete(context: Context, arn: str, _properties: Properties) -> None:
    tried(context, "stepfunctions", "delete_state_machine", StateMachineArn=arn)


ROWS = (
    ResourceType(
        "AWS::StepFunctions::StateMachine",
        frozenset({"DefinitionString", "RoleArn", "StateMachineName", "StateMachineType", "Tags"}),
        _create,
        _delete,
        _update,
        frozenset({"StateMachineName", "StateMachineType"}),
    ),
)
