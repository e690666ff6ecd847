"""S3's bucket policies.

moto reads a bucket policy without its conditions, so that the CDK's own bucket, which denies what does not come over TLS,
denies everything. A rehearsal's TLS ends at its proxy: here a statement with conditions counts as one whose conditions do
not hold when it denies, and is left out when it allows.
"""

from __future__ import annotations

import json
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket

from eks_rehearsal.aws.world import Operations


class S3:
    """Bucket policies without conditions; moto answers every operation."""

    def __init__(self) -> None:
        FakeBucket.get_permission = _permission  # type: ignore[method-assign, assignment]

    @property
    def operations(self) -> Operations:
        return {}


def _permission(bucket: FakeBucket, action: str, resource: str) -> Any:
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(bucket.policy)
    statements = [one for one in policy["Statement"] if "Condition" not in one]
    if not statements:
        return PermissionResult.NEUTRAL
    return IAMPolicy(json.dumps({**policy, "Statement": statements})).is_action_permitted(action, resource)
