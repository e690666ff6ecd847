"""Buckets and their policies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, document, known, refusal, rolled_back_on_failure, tried
from eks_rehearsal.cloudformation.types.tags import own_tags, pairs

# Where S3's API has another word for what CloudFormation calls so.
WORDS = {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault", "Id": "ID"}
WITHOUT_LOCATION = "us-east-1"


def _worded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {WORDS.get(key, key): _worded(part) for key, part in value.items()}
    return [_worded(part) for part in value] if isinstance(value, list) else value


def _encryption(context: Context, value: Any) -> dict[str, Any]:
    known(context, "BucketEncryption", value, ("ServerSideEncryptionConfiguration",))
    rules = _worded(value["ServerSideEncryptionConfiguration"])
    return {"ServerSideEncryptionConfiguration": {"Rules": rules}}


def _lifecycle(context: Context, value: Any) -> dict[str, Any]:
    known(context, "LifecycleConfiguration", value, ("Rules",))
    # The API wants to be told that a rule is for every object.
    rules = [{"Filter": {"Prefix": ""}, **rule} for rule in _worded(value["Rules"])]
    return {"LifecycleConfiguration": {"Rules": rules}}


def _tagging(context: Context, value: Any) -> dict[str, Any]:
    return {"Tagging": {"TagSet": pairs(own_tags(context, {"Tags": value}))}}


@dataclass(frozen=True)
class BucketConfiguration:
    """A configuration of a bucket.

    Args:
        put: The operation that sets it.

        given: Its parameters, from the property.

        drop: The operation that removes it, and what that is given besides the bucket.
    """

    put: str
    given: Callable[[Context, Any], dict[str, Any]]
    drop: tuple[str, Mapping[str, Any]]


CONFIGURATIONS = {
    "AccessControl": BucketConfiguration(
        "put_bucket_acl",
        lambda _context, value: {"ACL": re.sub(r"(?<=[a-z])(?=[A-Z])", "-", value).lower()},
        ("put_bucket_acl", {"ACL": "private"}),
    ),
    "BucketEncryption": BucketConfiguration("put_bucket_encryption", _encryption, ("delete_bucket_encryption", {})),
    "LifecycleConfiguration": BucketConfiguration(
        "put_bucket_lifecycle_configuration", _lifecycle, ("delete_bucket_lifecycle", {})
    ),
    "PublicAccessBlockConfiguration": BucketConfiguration(
        "put_public_access_block",
        lambda _context, value: {"PublicAccessBlockConfiguration": value},
        ("delete_public_access_block", {}),
    ),
    # moto, as S3, refuses tags that start with aws: here, so the stack's are left out.
    "Tags": BucketConfiguration("put_bucket_tagging", _tagging, ("delete_bucket_tagging", {})),
    "VersioningConfiguration": BucketConfiguration(
        "put_bucket_versioning",
        lambda _context, value: {"VersioningConfiguration": value},
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Suspended"}}),
    ),
}


def _configure(context: Context, bucket: str, old: Properties, new: Properties) -> None:
    for name, part in CONFIGURATIONS.items():
        if name in new and old.get(name) != new[name]:
            call(context, "s3", part.put, Bucket=bucket, **part.given(context, new[name]))
        elif name in old and name not in new:
            operation, given = part.drop
            call(context, "s3", operation, Bucket=bucket, **given)


def _create(context: Context, properties: Properties) -> Made:
    bucket = properties.get("BucketName") or context.name(63, lower=True)
    where = None if context.region == WITHOUT_LOCATION else {"LocationConstraint": context.region}
    call(context, "s3", "create_bucket", Bucket=bucket, CreateBucketConfiguration=where)
    with rolled_back_on_failure(bucket):
        _configure(context, bucket, {}, properties)
    return _made(context, bucket)


def _made(context: Context, bucket: str) -> Made:
    domain = "amazonaws.com.cn" if context.partition == "aws-cn" else "amazonaws.com"
    return Made(
        bucket,
        {
            "Arn": f"arn:{context.partition}:s3:::{bucket}",
            "DomainName": f"{bucket}.s3.{domain}",
            "DualStackDomainName": f"{bucket}.s3.dualstack.{context.region}.{domain}",
            "RegionalDomainName": f"{bucket}.s3.{context.region}.{domain}",
        },
    )


def _update(context: Context, bucket: str, old: Properties, new: Properties) -> Made:
    _configure(context, bucket, old, new)
    return _made(context, bucket)


def _delete(context: Context, bucket: str, _properties: Properties) -> None:
    listed = tried(context, "s3", "list_object_versions", Bucket=bucket, MaxKeys=1)
    if listed is None:
        return
    if listed.get("Versions") or listed.get("DeleteMarkers"):
        # moto lets a bucket go whose objects are all behind delete markers.
        sentence = "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
        raise refusal("BucketNotEmpty", "DeleteBucket", sentence)
    tried(context, "s3", "delete_bucket", Bucket=bucket)


def _put_policy(context: Context, properties: Properties) -> Made:
    policy = document(properties["PolicyDocument"])
    call(context, "s3", "put_bucket_policy", Bucket=properties["Bucket"], Policy=policy)
    return Made(properties["Bucket"])


def _update_policy(context: Context, _id: str, _old: Properties, new: Properties) -> Made:
    return _put_policy(context, new)


def _delete_policy(context: Context, id: str, _properties: Properties) -> None:
    tried(context, "s3", "delete_bucket_policy", Bucket=id)


ROWS = (
    ResourceType(
        "AWS::S3::Bucket",
        frozenset({"BucketName", *CONFIGURATIONS}),
        _create,
        _delete,
        _update,
        frozenset({"BucketName"}),
    ),
    ResourceType(
        "AWS::S3::BucketPolicy",
        frozenset({"Bucket", "PolicyDocument"}),
        _put_policy,
        _delete_policy,
        _update_policy,
        frozenset({"Bucket"}),
    ),
)
