"""ECR and ECR Public: the tokens with which `helm registry login` and docker log in.

moto has no ECR Public. The registry behind the proxy takes any user.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import Operations

_TOKEN: Final = base64.b64encode(b"AWS:rehearsal").decode()


class EcrPublic:
    """GetAuthorizationToken."""

    @property
    def operations(self) -> Operations:
        return {("ecr-public", "GetAuthorizationToken"): self.get_authorization_token}

    @staticmethod
    def get_authorization_token(_call: Call) -> dict[str, Any]:
        expires = utcnow() + timedelta(hours=12)
        return {"authorizationData": {"authorizationToken": _TOKEN, "expiresAt": expires}}
