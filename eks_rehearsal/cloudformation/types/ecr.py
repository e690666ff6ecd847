"""Image repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, chosen, document, known, rolled_back_on_failure, tried
from eks_rehearsal.cloudformation.types.tags import Tagging, pairs, tags_of

TAGS = Tagging("ecr", "ResourceArn")
CREATED = ("EncryptionConfiguration", "ImageScanningConfiguration", "ImageTagMutability")


def _create(context: Context, properties: Properties) -> Made:
    name = properties.get("RepositoryName") or context.name(256, lower=True)
    given = chosen(properties, CREATED)
    tags = pairs(tags_of(context, properties))
    made = call(context, "ecr", "create_repository", RepositoryName=name, Tags=tags, **given)["repository"]
    with rolled_back_on_failure(name):
        _configure(context, name, {}, properties)
    return _made(made)


def _made(repository: Mapping[str, Any]) -> Made:
    attributes = {"Arn": repository["repositoryArn"], "RepositoryUri": repository["repositoryUri"]}
    return Made(repository["repositoryName"], attributes)


def _configure(context: Context, name: str, old: Properties, new: Properties) -> None:
    """What creation does not take: who may pull, and what expires."""
    policy, lifecycle = document(new.get("RepositoryPolicyText")), _lifecycle(context, new)
    if policy and policy != document(old.get("RepositoryPolicyText")):
        call(context, "ecr", "set_repository_policy", RepositoryName=name, PolicyText=policy)
    elif not policy and "RepositoryPolicyText" in old:
        tried(context, "ecr", "delete_repository_policy", RepositoryName=name)
    if lifecycle and lifecycle != _lifecycle(context, old):
        call(context, "ecr", "put_lifecycle_policy", RepositoryName=name, LifecyclePolicyText=lifecycle)
    elif not lifecycle and "LifecyclePolicy" in old:
        tried(context, "ecr", "delete_lifecycle_policy", RepositoryName=name)


def _lifecycle(context: Context, properties: Properties) -> Any:
    policy = properties.get("LifecyclePolicy") or {}
    known(context, "LifecyclePolicy", policy, ("LifecyclePolicyText",))
    return policy.get("LifecyclePolicyText")


def _update(context: Context, name: str, old: Properties, new: Properties) -> Made:
    _configure(context, name, old, new)
    mutability = new.get("ImageTagMutability", "MUTABLE")
    if mutability != old.get("ImageTagMutability", "MUTABLE"):
        call(context, "ecr", "put_image_tag_mutability", RepositoryName=name, ImageTagMutability=mutability)
    scanning = new.get("ImageScanningConfiguration", {"ScanOnPush": False})
    if scanning != old.get("ImageScanningConfiguration", {"ScanOnPush": False}):
        call(
            context, "ecr", "put_image_scanning_configuration", RepositoryName=name, ImageScanningConfiguration=scanning
        )
    (repository,) = call(context, "ecr", "describe_repositories", RepositoryNames=[name])["repositories"]
    TAGS.change(context, repository["repositoryArn"], old, new)
    return _made(repository)


def _delete(context: Context, name: str, properties: Properties) -> None:
    tried(context, "ecr", "delete_repository", RepositoryName=name, Force=properties.get("EmptyOnDelete"))


ROWS = (
    ResourceType(
        "AWS::ECR::Repository",
        frozenset({*CREATED, "EmptyOnDelete", "LifecyclePolicy", "RepositoryName", "RepositoryPolicyText", "Tags"}),
        _create,
        _delete,
        _update,
        frozenset({"EncryptionConfiguration", "RepositoryName"}),
    ),
)
