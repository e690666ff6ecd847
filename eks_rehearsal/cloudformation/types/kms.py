"""Keys and their aliases."""

from __future__ import annotations

from botocore.exceptions import ClientError

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, document, rolled_back_on_failure, text, tried
from eks_rehearsal.cloudformation.types.tags import Tagging, kms_pairs, tags_of

TAGS = Tagging("kms", "KeyId", form=kms_pairs)
SWITCHES = {
    ("EnableKeyRotation", True): "enable_key_rotation",
    ("EnableKeyRotation", False): "disable_key_rotation",
    ("Enabled", True): "enable_key",
    ("Enabled", False): "disable_key",
}
DEFAULTS = {"EnableKeyRotation": False, "Enabled": True}


def _switched(properties: Properties, name: str) -> bool:
    return text(properties.get(name, DEFAULTS[name])) == "true"


def _switch(context: Context, id: str, old: Properties, new: Properties) -> None:
    for name in DEFAULTS:
        if _switched(old, name) != _switched(new, name):
            call(context, "kms", SWITCHES[name, _switched(new, name)], KeyId=id)


def _create(context: Context, properties: Properties) -> Made:
    made = call(
        context,
        "kms",
        "create_key",
        Description=properties.get("Description"),
        Policy=document(properties.get("KeyPolicy")),
        Tags=kms_pairs(tags_of(context, properties)),
    )["KeyMetadata"]
    with rolled_back_on_failure(made["KeyId"]):
        _switch(context, made["KeyId"], {}, properties)
    return Made(made["KeyId"], {"Arn": made["Arn"], "KeyId": made["KeyId"]})


def _update(context: Context, id: str, old: Properties, new: Properties) -> Made:
    policy = document(new.get("KeyPolicy"))
    if policy and policy != document(old.get("KeyPolicy")):
        call(context, "kms", "put_key_policy", KeyId=id, PolicyName="default", Policy=policy)
    if old.get("Description") != new.get("Description"):
        call(context, "kms", "update_key_description", KeyId=id, Description=new.get("Description", ""))
    _switch(context, id, old, new)
    TAGS.change(context, id, old, new)
    made = call(context, "kms", "describe_key", KeyId=id)["KeyMetadata"]
    return Made(id, {"Arn": made["Arn"], "KeyId": id})


def _delete(context: Context, id: str, properties: Properties) -> None:
    """KMS only ever schedules it."""
    try:
        days = properties.get("PendingWindowInDays")
        tried(context, "kms", "schedule_key_deletion", KeyId=id, PendingWindowInDays=days)
    except ClientError as error:
        if error.response["Error"]["Code"] != "KMSInvalidStateException":
            raise


def _create_alias(context: Context, properties: Properties) -> Made:
    call(context, "kms", "create_alias", **properties)
    return Made(properties["AliasName"])


def _update_alias(context: Context, id: str, _old: Properties, new: Properties) -> Made:
    call(context, "kms", "update_alias", **new)
    return Made(id)


def _delete_alias(context: Context, id: str, _properties: Properties) -> None:
    tried(context, "kms", "delete_alias", AliasName=id)


ROWS = (
    ResourceType(
        "AWS::KMS::Key",
        frozenset({"Description", "EnableKeyRotation", "Enabled", "KeyPolicy", "PendingWindowInDays", "Tags"}),
        _create,
        _delete,
        _update,
    ),
    ResourceType(
        "AWS::KMS::Alias",
        frozenset({"AliasName", "TargetKeyId"}),
        _create_alias,
        _delete_alias,
        _update_alias,
        frozenset({"AliasName"}),
    ),
)
