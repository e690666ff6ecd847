"""The types that settings share: names, durations, lists, and unions told apart by a key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field

from karpenter_gpu import compat

T = TypeVar("T")

NEVER: Final = "Never"
ROLE_ARN: Final = r"arn:[A-Za-z0-9_-]+:iam::[0-9]{12}:role/.+"

Never = Literal["Never"]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_CLUSTER_NAME = re.compile(r"[0-9A-Za-z][-0-9A-Za-z_]*")
_LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def _dns_label(text: str) -> str:
    if len(text) > 63 or not _LABEL.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a DNS label, which Kubernetes needs for this name; use at most 63 lower-case letters, "
            "digits and '-', beginning and ending with a letter or digit"
        )
    return text


def cluster_name_problem(text: str) -> str | None:
    """What is wrong with a cluster's name, or None."""
    if "${Token[" in text:
        return (
            "the cluster name is a token, and it stands inside IAM condition keys, where CloudFormation cannot put a "
            "value; give the name as literal text"
        )
    if not text:
        return "the cluster name is empty; give the cluster a name"
    if len(text) > 100 or not _CLUSTER_NAME.fullmatch(text):
        return (
            f"{text!r} is not a name EKS takes for a cluster; use at most 100 letters, digits, '-' and '_', beginning "
            "with a letter or digit"
        )
    return None


def _cluster_name(text: str) -> str:
    if problem := cluster_name_problem(text):
        raise ValueError(problem)
    return text


def is_ec2_id(kind: str, text: str) -> bool:
    """True for an id of EC2's: the kind, and eight or seventeen hexadecimal digits."""
    return bool(re.fullmatch(rf"{kind}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", text))


def _label_key(text: str) -> str:
    if len(text) > 316 or not _LABEL_KEY.fullmatch(text):
        raise ValueError(f"{text!r} is not a Kubernetes label key; use [prefix/]name, as in example.com/team")
    return text


def _label_value(text: str) -> str:
    if not _LABEL_VALUE.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a Kubernetes label value; use at most 63 letters, digits, '-', '_' and '.', beginning "
            "and ending with a letter or digit"
        )
    return text


def _no_repeats(values: tuple[T, ...]) -> tuple[T, ...]:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} is given more than once; give each once")
    return values


# A list in JSON, a list or tuple in Python.
Listed: TypeAlias = list[T] | tuple[T, ...]


def _account(text: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", text):
        raise ValueError(f"{text!r} is not an AWS account; accounts have twelve digits")
    return text


def _region(text: str) -> str:
    if text in compat.PARTITION_OF or re.fullmatch(compat.LATER_REGION, text):
        return text
    near = difflib.get_close_matches(text, compat.PARTITION_OF, n=2)
    way_out = f"did you mean {' or '.join(near)}?" if near else "write it as in eu-west-1"
    raise ValueError(f"{text!r} is not a region of aws, aws-cn or aws-us-gov; {way_out}")


def _stack_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][-A-Za-z0-9]{0,127}", text):
        raise ValueError(
            f"{text!r} is not a stack name; use at most 128 letters, digits and '-', beginning with a letter"
        )
    return text


def _managed_policy(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_+=,.@-]{1,128}|arn:[A-Za-z0-9_-]+:iam::([0-9]{12}|aws):policy/.+", text):
        raise ValueError(
            f"{text!r} is not the name or ARN of a managed policy, as in arn:aws:iam::111122223333:policy/edge"
        )
    return text


AccountId = Annotated[str, AfterValidator(_account)]
Region = Annotated[str, AfterValidator(_region)]
StackName = Annotated[str, AfterValidator(_stack_name)]
ManagedPolicy = Annotated[str, AfterValidator(_managed_policy)]
DnsLabel = Annotated[str, AfterValidator(_dns_label)]
ClusterName = Annotated[str, AfterValidator(_cluster_name)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
_UNITS: Final = {"h": 3600, "m": 60, "s": 1}
_LONGEST: Final = (2**63 - 1) // 10**9


def _duration(value: object) -> object:
    """Karpenter's own way of writing a duration, or Python's."""
    if isinstance(value, timedelta):
        if value < timedelta(0) or value.microseconds:
            raise ValueError(f"{value} is not a duration Karpenter takes; use whole seconds, zero or more")
        return value
    if isinstance(value, str):
        if not re.fullmatch(r"([0-9]+[smh])+", value):
            raise ValueError(
                f"{value!r} is not a duration Karpenter takes; use numbers with s, m or h, as in 30s, 1m or 1h30m "
                "(a day is 24h)"
            )
        seconds = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9]+)([smh])", value))
        if seconds > _LONGEST:
            raise ValueError(f"{value!r} is longer than Go can count, which is 292 years; use a shorter one")
        return timedelta(seconds=seconds)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LONGEST:
        raise ValueError(f"{value} has no unit; write '{value}s' for seconds, or '{value}m' for minutes")
    if value is None:
        raise ValueError("has no value (null, or None in Python); give one, or leave it out")
    raise ValueError(f"{value!r} is not a duration; use text like '1m', or a timedelta in Python")


def _duration_or_never(value: object) -> object:
    if value == NEVER:
        return value
    try:
        return _duration(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {NEVER!r}") from None


def default(value: Any) -> Any:
    """The default of a setting that takes more than it holds; its type is the setting's own."""
    return value


if TYPE_CHECKING:
    Taken = TypeVar("Taken")
    Held = TypeVar("Held")

    class _Setting(Generic[Taken, Held]):
        """What a constructor takes, and what is then read: PEP 681 gives a field with a descriptor's type both."""

        def __get__(self, of: object, owner: type[object]) -> Held: ...
        def __set__(self, of: object, given: Taken) -> None: ...

    Many: TypeAlias = _Setting[Listed[T], tuple[T, ...]]
    Distinct: TypeAlias = _Setting[Listed[T], tuple[T, ...]]
    Duration: TypeAlias = _Setting[timedelta | str, timedelta]
    OptionalDuration: TypeAlias = _Setting[timedelta | str | None, timedelta | None]
    DurationOrNever: TypeAlias = _Setting[timedelta | str, timedelta | Never]
else:
    # What is in a list stays strict.
    Many = Annotated[tuple[T, ...], Field(strict=False)]
    Distinct = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(_no_repeats)]
    Duration = Annotated[timedelta, BeforeValidator(_duration)]
    OptionalDuration = Duration | None
    DurationOrNever = Annotated[timedelta | Never, BeforeValidator(_duration_or_never)]


def karpenter_duration(value: timedelta | Never) -> str:
    """A duration as Karpenter writes it: `1m`, `1h30m`, `0s`, `Never`."""
    if isinstance(value, str):
        return value
    seconds = int(value.total_seconds())
    parts = []
    for unit, size in _UNITS.items():
        amount, seconds = divmod(seconds, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def case_by_key(cases: Mapping[str, type[Any]], default: type[Any]) -> Discriminator:
    """Tell the cases of a union apart by a key that only one of them has."""

    def choose(value: object) -> str:
        for key, case in cases.items():
            if isinstance(value, case) or (isinstance(value, Mapping) and key in value):
                return case.__name__
        return default.__name__

    _UNIONS.append({**cases, **({} if default in cases.values() else {"": default})})
    return Discriminator(choose)


# The cases of every union, each by the key that chooses it; the default that no key chooses is under none.
_UNIONS: Final[list[dict[str, type[Any]]]] = []


def other_cases(case: type[Any]) -> dict[str, type[Any]]:
    """The cases beside one in its union, by the keys that choose them."""
    union = next((union for union in _UNIONS if case in union.values()), {})
    return {key: other for key, other in union.items() if other is not case}


def key_of(case: type[Any]) -> tuple[str, ...]:
    """The keys that choose a case."""
    return tuple(key for union in _UNIONS for key, one in union.items() if one is case and key)
