"""The `Condition` of a statement: every operator of the IAM reference.

Source: the IAM user guide, `reference_policies_elements_condition_operators` and
`reference_policies_condition-single-vs-multi-valued-context-keys`.
"""

from __future__ import annotations

import operator
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network
from typing import Any, Final

from eks_rehearsal.iam.matching import Context, any_resolved, arn_like, as_list, like, plain, text

# What a policy wants, what the request has, and the values of variables.
_Compare = Callable[[str, str, "Context | None"], bool]


def _moment(said: str) -> float:
    """Seconds since 1970 of a date of the W3C's profile of ISO 8601, or of seconds."""
    try:
        return float(said)
    except ValueError:
        parsed = datetime.fromisoformat(said.replace("Z", "+00:00"))
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()


def _ordered(parse: Callable[[str], float], holds: Callable[[float, float], bool]) -> _Compare:
    def compare(wanted: str, value: str, _: Context | None) -> bool:
        try:
            return holds(parse(value), parse(wanted))
        except ValueError:
            return False

    return compare


def _address(wanted: str, value: str, _: Context | None) -> bool:
    try:
        return ip_address(value) in ip_network(wanted, strict=False)
    except ValueError:
        return False


def _truth(wanted: str, value: str, context: Context | None) -> bool:
    said = plain(wanted, context).lower()
    return said in {"true", "false"} and said == value.lower()


def _binary(wanted: str, value: str, _: Context | None) -> bool:
    try:
        return b64decode(wanted, validate=True) == b64decode(value, validate=True)
    except Base64Error:
        return False


_OPERATORS: Final[Mapping[str, _Compare]] = {
    "stringequals": lambda wanted, value, context: plain(wanted, context) == value,
    "stringequalsignorecase": lambda wanted, value, context: plain(wanted, context).lower() == value.lower(),
    "stringlike": like,
    "numericequals": _ordered(float, operator.eq),
    "numericlessthan": _ordered(float, operator.lt),
    "numericlessthanequals": _ordered(float, operator.le),
    "numericgreaterthan": _ordered(float, operator.gt),
    "numericgreaterthanequals": _ordered(float, operator.ge),
    "dateequals": _ordered(_moment, operator.eq),
    "datelessthan": _ordered(_moment, operator.lt),
    "datelessthanequals": _ordered(_moment, operator.le),
    "dategreaterthan": _ordered(_moment, operator.gt),
    "dategreaterthanequals": _ordered(_moment, operator.ge),
    "bool": _truth,
    "binaryequals": _binary,
    "ipaddress": _address,
    "arnequals": arn_like,
    "arnlike": arn_like,
}
_NEGATIONS: Final = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
    "notipaddress": "ipaddress",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
}


@dataclass(frozen=True)
class _Operator:
    """An operator's name, taken apart."""

    quantifier: str
    name: str
    if_exists: bool

    @classmethod
    def read(cls, said: str) -> _Operator:
        quantifier, _, name = said.lower().rpartition(":")
        return cls(quantifier, name.removesuffix("ifexists"), name.endswith("ifexists"))

    def holds(self, wanted: list[str], values: tuple[str, ...], context: Context | None) -> bool:
        if self.name == "null":
            return any((one.lower() == "true") == (not values) for one in wanted)
        negated = self.name in _NEGATIONS
        compare = _OPERATORS.get(_NEGATIONS.get(self.name, self.name))
        if compare is None:
            return False
        if not values:
            return self.if_exists or self.quantifier == "forallvalues" or (negated and not self.quantifier)

        def meets(value: str) -> bool:
            # With a variable that has no value, neither an operator nor its negation holds.
            return any_resolved(wanted, lambda one: compare(one, value, context), otherwise=negated)

        met = [meets(value) != negated for value in values]
        return all(met) if self.quantifier == "forallvalues" or (negated and not self.quantifier) else any(met)


def unmet(condition: Mapping[str, Any], context: Context, *, variables: bool = True) -> str:
    """The first condition that does not hold, in words; empty when all do.

    Args:
        variables: Whether the policy's version has policy variables.
    """
    for said, keys in condition.items():
        for key, of in keys.items():
            wanted, values = [text(one) for one in as_list(of)], context.get(key.lower(), ())
            if not _Operator.read(said).holds(wanted, values, context if variables else None):
                return f"{said} {key} {' or '.join(wanted)} does not hold for {', '.join(values) or 'nothing'}"
    return ""
