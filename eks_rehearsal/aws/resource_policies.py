"""The policies that stand at resources: of queues, buckets, keys, repositories, and the trust of roles."""

from __future__ import annotations

from typing import Any

from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import Policy


def resource_policy(world: World, action: str, arn: str) -> tuple[Policy | None, bool]:
    """The policy of what an action is about; and whether nobody may anything that it does not allow."""
    service, name = action.partition(":")[0], arn.rpartition(":")[2]
    if service == "sqs":
        queue = world.backend("sqs").queues.get(name)
        return _policy(f"the policy of queue {name}", queue.attributes.get("Policy") if queue else None), False
    if service == "s3":
        bucket = world.backend("s3").buckets.get(name.partition("/")[0])
        return _policy(f"the policy of bucket {name.partition('/')[0]}", bucket.policy if bucket else None), False
    if service == "ecr":
        repository = world.backend("ecr").repositories.get(name.partition("/")[2])
        return _policy(f"the policy of {name}", repository.policy if repository else None), False
    if service == "kms":
        key = world.backend("kms").keys.get(name.partition("key/")[2])
        return _policy(f"the policy of {name}", key.policy if key else None), key is not None
    if action in ("sts:AssumeRole", "sts:TagSession"):
        role = next((one for one in world.backend("iam").get_roles() if one.arn == arn), None)
        return _policy("the trust policy", role.assume_role_policy_document if role else None), role is not None
    return None, False


def _policy(name: str, document: Any) -> Policy | None:
    if not document:
        return None
    return Policy.read(name, document.decode() if isinstance(document, bytes) else document)
