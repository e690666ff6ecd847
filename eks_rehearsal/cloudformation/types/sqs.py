"""Queues and their policies."""

from __future__ import annotations

from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, document, text, tried
from eks_rehearsal.cloudformation.types.tags import Tagging, tags_of

TAGS = Tagging("sqs", "QueueUrl", "tag_queue", "untag_queue", dict)
# What the queue's attribute is again when its property goes.
DEFAULTS = {
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "DelaySeconds": "0",
    "FifoThroughputLimit": "perQueue",
    "KmsDataKeyReusePeriodSeconds": "300",
    "KmsMasterKeyId": "",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "RedriveAllowPolicy": "",
    "RedrivePolicy": "",
    "SqsManagedSseEnabled": "true",
    "VisibilityTimeout": "30",
}
FIXED = frozenset({"FifoQueue", "QueueName"})


def _attributes(properties: Properties) -> dict[str, str]:
    given = {key: value for key, value in properties.items() if key not in {"QueueName", "Tags"}}
    return {key: text(value) if isinstance(value, bool | int) else document(value) for key, value in given.items()}


def _name(context: Context, properties: Properties) -> str:
    fifo = text(properties.get("FifoQueue", False)) == "true"
    return properties.get("QueueName") or (context.name(75) + ".fifo" if fifo else context.name(80))


def _create(context: Context, properties: Properties) -> Made:
    made = call(
        context,
        "sqs",
        "create_queue",
        QueueName=_name(context, properties),
        Attributes=_attributes(properties),
        Tags=tags_of(context, properties),
    )
    return _made(context, made["QueueUrl"])


def _made(context: Context, url: str) -> Made:
    told = call(context, "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    return Made(url, {"Arn": told["QueueArn"], "QueueName": told["QueueArn"].rsplit(":", 1)[1], "QueueUrl": url})


def _update(context: Context, url: str, old: Properties, new: Properties) -> Made:
    before, after = _attributes(old), _attributes(new)
    back = {key: DEFAULTS[key] for key in before.keys() - after.keys()}
    changed = {key: value for key, value in after.items() if before.get(key) != value} | back
    if changed:
        call(context, "sqs", "set_queue_attributes", QueueUrl=url, Attributes=changed)
    TAGS.change(context, url, old, new)
    return _made(context, url)


def _delete(context: Context, url: str, _properties: Properties) -> None:
    tried(context, "sqs", "delete_queue", QueueUrl=url)


def _create_policy(context: Context, properties: Properties) -> Made:
    _put_policy(context, properties)
    id = context.name(80)
    return Made(id, {"Id": id})


def _put_policy(context: Context, properties: Properties) -> None:
    for url in properties["Queues"]:
        _set_policy(context, url, document(properties["PolicyDocument"]))


def _set_policy(context: Context, url: str, policy: Any) -> None:
    call(context, "sqs", "set_queue_attributes", QueueUrl=url, Attributes={"Policy": policy})


def _update_policy(context: Context, id: str, old: Properties, new: Properties) -> Made:
    _put_policy(context, new)
    _unset(context, [url for url in old.get("Queues", ()) if url not in new["Queues"]])
    return Made(id, {"Id": id})


def _delete_policy(context: Context, _id: str, properties: Properties) -> None:
    _unset(context, properties["Queues"])


def _unset(context: Context, urls: list[str]) -> None:
    for url in urls:
        tried(context, "sqs", "set_queue_attributes", QueueUrl=url, Attributes={"Policy": ""})


ROWS = (
    ResourceType("AWS::SQS::Queue", FIXED | {"Tags", *DEFAULTS}, _create, _delete, _update, FIXED),
    ResourceType(
        "AWS::SQS::QueuePolicy", frozenset({"PolicyDocument", "Queues"}), _create_policy, _delete_policy, _update_policy
    ),
)
