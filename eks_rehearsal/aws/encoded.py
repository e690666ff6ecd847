"""EC2's encoded message of a denial, and what `sts:DecodeAuthorizationMessage` makes of it.

Source: the STS API reference, DecodeAuthorizationMessage; AWS's own encoding is known to nobody, and this one is base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib

from eks_rehearsal.iam.matching import Context


def encoded(principal: str, action: str, resource: str, keys: Context) -> str:
    """The message of a denied request."""
    conditions = [{"key": key, "values": {"items": [{"value": one} for one in of]}} for key, of in keys.items()]
    said = {
        "allowed": False,
        "explicitDeny": False,
        "matchedStatements": {"items": []},
        "failures": {"items": []},
        "context": {
            "principal": {"arn": principal},
            "action": action,
            "resource": resource,
            "conditions": {"items": conditions},
        },
    }
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(said).encode())).decode().rstrip("=")


def decoded(message: str) -> str:
    """The JSON that was encoded.

    Raises:
        ValueError: It is no such message.
    """
    try:
        return zlib.decompress(base64.urlsafe_b64decode(message + "=" * (-len(message) % 4))).decode()
    except (binascii.Error, zlib.error) as error:
        raise ValueError(str(error)) from error
