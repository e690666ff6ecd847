"""Service account tokens: JSON web tokens whose signature is checked against their issuer's public keys."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

Claims = dict[str, Any]


class BadToken(Exception):
    """Why a token is not to be believed."""


class Expired(BadToken):
    """It was good once."""


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")


def _verify_rs256(key: Mapping[str, str], signed: bytes, signature: bytes) -> None:
    rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key().verify(
        signature, signed, padding.PKCS1v15(), SHA256()
    )


def _verify_es256(key: Mapping[str, str], signed: bytes, signature: bytes) -> None:
    half = len(signature) // 2
    pair = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    public = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), ec.SECP256R1()).public_key()
    public.verify(encode_dss_signature(*pair), signed, ec.ECDSA(SHA256()))


_VERIFIERS = {"RS256": ("RSA", _verify_rs256), "ES256": ("EC", _verify_es256)}


def claims_of(token: str) -> Claims:
    """What a token says of itself, not yet believed.

    Raises:
        BadToken: It is no token.
    """
    try:
        return dict(json.loads(_bytes(token.split(".")[1])))
    except (IndexError, ValueError, TypeError, binascii.Error) as error:
        raise BadToken("the token is not a JSON web token") from error


def verified(token: str, jwks: Callable[[str], Mapping[str, Any]]) -> Claims:
    """The claims of a token that its issuer signed and that has not run out.

    Raises:
        BadToken: Anything else, and what.
    """
    claims = claims_of(token)
    head, _, signature = token.rpartition(".")
    header = json.loads(_bytes(token.split(".", maxsplit=1)[0]))
    kind, verify = _VERIFIERS.get(header.get("alg", ""), ("", None))
    if verify is None:
        raise BadToken(f"the token is signed with {header.get('alg')}, not RS256 or ES256")
    keys = [
        key
        for key in jwks(str(claims.get("iss", ""))).get("keys", ())
        if key.get("kty") == kind and key.get("kid") in (None, header.get("kid"))
    ]
    if not any(_signs(verify, key, head.encode(), _bytes(signature)) for key in keys):
        raise BadToken(f"no key of {claims.get('iss')} signed the token (key id {header.get('kid')})")
    if float(claims.get("exp", 0)) < time.time():
        raise Expired("Token expired: current date/time must be before the expiration date/time")
    return claims


def _signs(
    verify: Callable[[Mapping[str, str], bytes, bytes], None], key: Mapping[str, str], signed: bytes, signature: bytes
) -> bool:
    try:
        verify(key, signed, signature)
    except InvalidSignature:
        return False
    return True


def audiences(claims: Claims) -> tuple[str, ...]:
    """The `aud` claim, which may be one or many."""
    named = claims.get("aud", ())
    return (named,) if isinstance(named, str) else tuple(named)
