"""Functions and layers; their code comes from S3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, chosen, known, rolled_back_on_failure, tried, until
from eks_rehearsal.cloudformation.types.tags import Tagging, tags_of
from eks_rehearsal.errors import RehearsalError

TAGS = Tagging("lambda", "Resource", form=dict)
IN_S3 = ("S3Bucket", "S3Key", "S3ObjectVersion")
# What each setting is again when its property goes.
SETTINGS: Mapping[str, Any] = {
    "DeadLetterConfig": {},
    "Description": "",
    "Environment": {"Variables": {}},
    "EphemeralStorage": {"Size": 512},
    "FileSystemConfigs": [],
    "Handler": None,
    "Layers": [],
    "LoggingConfig": {},
    "MemorySize": 128,
    "Role": None,
    "Runtime": None,
    "Timeout": 3,
    "TracingConfig": {"Mode": "PassThrough"},
    "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
}
CODE = ("Architectures", "Code")
LAYER = frozenset(
    {"CompatibleArchitectures", "CompatibleRuntimes", "Content", "Description", "LayerName", "LicenseInfo"}
)


def _create(context: Context, properties: Properties) -> Made:
    known(context, "Code", properties["Code"], IN_S3)
    name = properties.get("FunctionName") or context.name(64)
    given = chosen(properties, (*SETTINGS, *CODE))
    made = call(context, "lambda", "create_function", FunctionName=name, Tags=tags_of(context, properties), **given)
    with rolled_back_on_failure(name):
        _settle(context, name)
    return Made(name, {"Arn": made["FunctionArn"]})


def _settle(context: Context, name: str) -> None:
    """Wait until the function can be called.

    Raises:
        RehearsalError: Lambda says that it failed.
    """

    def settled() -> bool:
        told = call(context, "lambda", "get_function_configuration", FunctionName=name)
        states = {told.get("State", "Active"), told.get("LastUpdateStatus", "Successful")}
        if "Failed" in states:
            reason = told.get("StateReason") or told.get("LastUpdateStatusReason")
            raise RehearsalError(f"{context.logical_id} (AWS::Lambda::Function): {name} failed: {reason}")
        return states <= {"Active", "Successful"}

    until(settled, f"{context.logical_id} (AWS::Lambda::Function) {name} to be active")


def _update(context: Context, name: str, old: Properties, new: Properties) -> Made:
    if chosen(old, CODE) != chosen(new, CODE):
        known(context, "Code", new["Code"], IN_S3)
        architectures = chosen(new, ("Architectures",))
        call(context, "lambda", "update_function_code", FunctionName=name, **new["Code"], **architectures)
        _settle(context, name)
    changed = {key: new.get(key, default) for key, default in SETTINGS.items() if old.get(key) != new.get(key)}
    if changed:
        call(context, "lambda", "update_function_configuration", FunctionName=name, **changed)
        _settle(context, name)
    arn = call(context, "lambda", "get_function_configuration", FunctionName=name)["FunctionArn"]
    TAGS.change(context, arn, old, new)
    return Made(name, {"Arn": arn})


def _delete(context: Context, name: str, _properties: Properties) -> None:
    tried(context, "lambda", "delete_function", FunctionName=name)


def _publish(context: Context, properties: Properties) -> Made:
    known(context, "Content", properties["Content"], IN_S3)
    given = {"LayerName": context.name(140), **properties}
    arn = call(context, "lambda", "publish_layer_version", **given)["LayerVersionArn"]
    return Made(arn, {"LayerVersionArn": arn})


def _unpublish(context: Context, arn: str, _properties: Properties) -> None:
    name, version = arn.split(":")[-2:]
    tried(context, "lambda", "delete_layer_version", LayerName=name, VersionNumber=version)


ROWS = (
    ResourceType(
        "AWS::Lambda::Function",
        frozenset({*SETTINGS, *CODE, "FunctionName", "Tags"}),
        _create,
        _delete,
        _update,
        frozenset({"FunctionName"}),
    ),
    ResourceType("AWS::Lambda::LayerVersion", LAYER, _publish, _unpublish, replaced_by=LAYER),
)
