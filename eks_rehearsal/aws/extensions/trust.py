"""Who may assume a role: the role's trust policy, evaluated for one caller.

Only what trust policies use is known: principals, actions, and conditions on strings, ARNs, booleans and presence.
An operator that is not known denies, and the reason says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

_Compare = Callable[[str, str], bool]


@dataclass(frozen=True)
class Caller:
    """Who asks to assume a role.

    Args:
        principals: Every ARN, service or provider that names the caller, by the policy's kind of principal:
            an assumed role is meant by its own session, its role and its account.

        context: Condition keys in lower case and their values.
    """

    principals: Mapping[str, frozenset[str]]
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _like(wanted: str, value: str) -> bool:
    return fnmatchcase(value, wanted.replace("[", "[[]"))


_OPERATORS: Final[dict[str, _Compare]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
}
_NEGATIONS: Final = {
    "StringNotEquals": "StringEquals",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _principal_is(principal: Any, caller: Caller) -> bool:
    if principal == "*":
        return True
    kinds: Iterable[tuple[str, Any]] = principal.items() if isinstance(principal, dict) else ()
    return any(
        name == "*" or name in caller.principals.get(kind, frozenset())
        for kind, names in kinds
        for name in _list(names)
    )


def _holds(operator: str, wanted: list[str], values: tuple[str, ...]) -> bool:
    quantifier, _, plain = operator.rpartition(":")
    if_exists, plain = plain.endswith("IfExists"), plain.removesuffix("IfExists")
    if plain == "Null":
        return any((text.lower() == "true") == (not values) for text in wanted)
    negated = plain in _NEGATIONS
    compare = _OPERATORS.get(_NEGATIONS.get(plain, plain))
    if compare is None:
        return False
    if not values:
        return if_exists or negated or quantifier == "ForAllValues"
    met = [any(compare(text, value) for text in wanted) != negated for value in values]
    return all(met) if negated or quantifier == "ForAllValues" else any(met)


def _unmet(statement: Mapping[str, Any], caller: Caller) -> str:
    """The first condition that does not hold, in words; empty when all do."""
    for operator, keys in statement.get("Condition", {}).items():
        for key, wanted in keys.items():
            values = caller.context.get(key.lower(), ())
            texts = [str(text).lower() if isinstance(text, bool) else str(text) for text in _list(wanted)]
            if not _holds(operator, texts, values):
                said = ", ".join(values) or "nothing"
                return f"{operator} {key} {' or '.join(texts)} does not hold for {said}"
    return ""


def refusal(policy: str | Mapping[str, Any], action: str, caller: Caller) -> str:
    """Why a trust policy does not let the caller do `action`; empty when it does."""
    document = json.loads(policy) if isinstance(policy, str) else policy
    reasons: list[str] = []
    allowed = False
    for statement in _list(document.get("Statement", [])):
        if not any(_like(wanted.lower(), action.lower()) for wanted in _list(statement.get("Action", []))):
            continue
        if not _principal_is(statement.get("Principal"), caller):
            continue
        unmet = _unmet(statement, caller)
        if not unmet and statement.get("Effect") == "Deny":
            return "a statement denies it"
        if not unmet:
            allowed = True
        elif statement.get("Effect") == "Allow":
            reasons.append(unmet)
    if allowed:
        return ""
    return "; ".join(reasons) or f"no statement of the trust policy allows {action} to this principal"
