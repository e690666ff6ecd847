"""Log groups."""

from __future__ import annotations

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, chosen, rolled_back_on_failure, tried
from eks_rehearsal.cloudformation.types.tags import Tagging, tags_of

TAGS = Tagging("logs", "ResourceArn", form=dict)


def _made(context: Context, name: str) -> Made:
    arn = f"arn:{context.partition}:logs:{context.region}:{context.account}:log-group:{name}"
    return Made(name, {"Arn": f"{arn}:*"})


def _keep(context: Context, name: str, days: object) -> None:
    if days:
        call(context, "logs", "put_retention_policy", LogGroupName=name, RetentionInDays=days)
    else:
        call(context, "logs", "delete_retention_policy", LogGroupName=name)


def _create(context: Context, properties: Properties) -> Made:
    name = properties.get("LogGroupName") or context.name(512)
    given = chosen(properties, ("KmsKeyId", "LogGroupClass"))
    call(context, "logs", "create_log_group", LogGroupName=name, Tags=tags_of(context, properties), **given)
    if "RetentionInDays" in properties:
        with rolled_back_on_failure(name):
            _keep(context, name, properties["RetentionInDays"])
    return _made(context, name)


def _encrypt(context: Context, name: str, key: str | None) -> None:
    if key:
        call(context, "logs", "associate_kms_key", LogGroupName=name, KmsKeyId=key)
    else:
        call(context, "logs", "disassociate_kms_key", LogGroupName=name)


def _update(context: Context, name: str, old: Properties, new: Properties) -> Made:
    if old.get("RetentionInDays") != new.get("RetentionInDays"):
        _keep(context, name, new.get("RetentionInDays"))
    if old.get("KmsKeyId") != new.get("KmsKeyId"):
        _encrypt(context, name, new.get("KmsKeyId"))
    made = _made(context, name)
    TAGS.change(context, made.attributes["Arn"].removesuffix(":*"), old, new)
    return made


def _delete(context: Context, name: str, _properties: Properties) -> None:
    tried(context, "logs", "delete_log_group", LogGroupName=name)


ROWS = (
    ResourceType(
        "AWS::Logs::LogGroup",
        frozenset({"KmsKeyId", "LogGroupClass", "LogGroupName", "RetentionInDays", "Tags"}),
        _create,
        _delete,
        _update,
        frozenset({"LogGroupClass", "LogGroupName"}),
    ),
)
