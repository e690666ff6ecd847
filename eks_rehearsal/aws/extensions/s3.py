"""S3's bucket policies, which are decided with all others, in `authorization.py`.

moto reads one without its conditions and its principals, so that the CDK's own bucket, which denies what does not come over TLS,
would deny everything.
"""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket

from eks_rehearsal.aws.world import Operations


class S3:
    """Without moto's own opinion of bucket policies; moto answers every operation."""

    def __init__(self) -> None:
        FakeBucket.get_permission = _permission  # type: ignore[method-assign, assignment]

    @property
    def operations(self) -> Operations:
        return {}


def _permission(*_: Any) -> Any:
    return PermissionResult.NEUTRAL
