"""Service account tokens: JSON web tokens whose signature is checked against their issuer's public keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

Claims = dict[str, Any]
ALGORITHMS = ["RS256", "ES256"]
CLOCK = jwt.JWTClaimsRegistry(exp={"essential": True})


class BadToken(Exception):
    """Why a token is not to be believed."""


class Expired(BadToken):
    """It was good once."""


def verified(token: str, jwks: Callable[[str], Mapping[str, Any]]) -> Claims:
    """The claims of a token that its issuer signed and that has not run out.

    Raises:
        BadToken: Anything else, and what.
    """
    try:
        unverified = extract_compact(token.encode())
        issuer = str(dict(json.loads(unverified.payload)).get("iss"))
    except (JoseError, ValueError, TypeError) as error:
        raise BadToken("the token is not a JSON web token") from error
    header = unverified.headers()
    if header.get("alg") not in ALGORITHMS:
        raise BadToken(f"the token is signed with {header.get('alg')}, not {' or '.join(ALGORITHMS)}")
    try:
        claims = jwt.decode(token, KeySet.import_key_set(cast("Any", jwks(issuer))), ALGORITHMS).claims
    except JoseError as error:
        raise BadToken(f"no key of {issuer} signed the token (key id {header.get('kid')})") from error
    try:
        CLOCK.validate(claims)
    except ExpiredTokenError as error:
        raise Expired("Token expired: current date/time must be before the expiration date/time") from error
    except JoseError as error:
        raise BadToken(f"the token's claims cannot be believed: {error}") from error
    return claims


def audiences(claims: Claims) -> tuple[str, ...]:
    """The `aud` claim, which may be one or many."""
    named = claims.get("aud", ())
    return (named,) if isinstance(named, str) else tuple(named)
