"""Whether IAM lets somebody do something: one decision over every policy that has a say.

Source: the IAM user guide, `reference_policies_evaluation-logic`: a denial anywhere wins; service control policies,
the permissions boundary and the session's policy each must allow; a resource's policy that names the caller allows by
itself, and one that names the caller's account leaves it to the caller's own policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from eks_rehearsal.iam.conditions import unmet
from eks_rehearsal.iam.matching import Context, any_resolved, as_list, like, resource_like

# The version that has policy variables.
_WITH_VARIABLES: Final = "2012-10-17"


class _Grant(IntEnum):
    """How a resource's policy means a caller; what is more exact is limited by less."""

    NOBODY = 0
    ACCOUNT = 1
    ROLE = 2
    SESSION = 3


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Args:
        principals: Every ARN, service or provider that names the caller, by the policy's kind of principal: `Service`,
            `Federated`, or `AWS` with the ARN of the role or user.

        context: Condition keys in lower case and their values.

        session: The ARN of the assumed role's session; empty for anybody else.

        account: The caller's account; empty for a service.
    """

    principals: Mapping[str, frozenset[str]]
    context: Context = field(default_factory=dict)
    session: str = ""
    account: str = ""

    def named(self, kind: str, name: str) -> _Grant:
        """How a principal of a policy means this caller."""
        if kind == "AWS" and self.account:
            if name == self.account or (name.endswith(":root") and f"::{self.account}:" in name):
                return _Grant.ACCOUNT
            if name in ("*", self.session):
                return _Grant.SESSION
        names = self.principals.get(kind, frozenset())
        if name in names or (name == "*" and names):
            return _Grant.ROLE if self.session else _Grant.SESSION
        return _Grant.NOBODY


@dataclass(frozen=True)
class Request:
    """One action on one resource.

    Args:
        action: `ec2:RunInstances`.

        resource: Its ARN; `*` for an action that has none.

        caller: Who asks.

        context: What the request adds to the caller's condition keys, in lower case.
    """

    action: str
    resource: str
    caller: Caller
    context: Context = field(default_factory=dict)

    @property
    def keys(self) -> Context:
        """Every condition key."""
        return {**self.caller.context, **self.context}


@dataclass(frozen=True)
class Policy:
    """A document, and what it is called where it is spoken of."""

    name: str
    document: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, document: str | Mapping[str, Any]) -> Policy:
        """A policy, from JSON or what it holds."""
        return cls(name, json.loads(document) if isinstance(document, str) else document)

    @property
    def statements(self) -> list[Mapping[str, Any]]:
        """Its statements, also where a single one stands without brackets."""
        return as_list(self.document.get("Statement", []))


@dataclass(frozen=True)
class Policies:
    """Everything that has a say.

    Args:
        identity: The caller's own.

        boundary: Its permissions boundary.

        session: What the session was made with.

        resource: The resource's own.

        resource_decides: Whether nobody may anything that the resource's policy does not allow, as for a role's trust
            and a key of KMS.

        controls: Service control policies, a list for each level of the organization.
    """

    identity: Sequence[Policy] = ()
    boundary: Policy | None = None
    session: Sequence[Policy] = ()
    resource: Policy | None = None
    resource_decides: bool = False
    controls: Sequence[Sequence[Policy]] = ()

    def of_caller(self) -> Iterator[Policy]:
        """All but the resource's."""
        yield from self.identity
        yield from (self.boundary,) if self.boundary else ()
        yield from self.session
        for level in self.controls:
            yield from level


@dataclass(frozen=True)
class Decision:
    """What IAM says.

    Args:
        allowed: Whether it may be done.

        statement: The statement that decided, `AllowX of policy P`; empty where none did.

        reason: Why it is denied, in words; empty when it is allowed.

        explicit: Whether a statement denies it.
    """

    allowed: bool
    statement: str = ""
    reason: str = ""
    explicit: bool = False


@dataclass(frozen=True)
class _Match:
    """How far a statement is about a request."""

    score: int
    name: str
    missing: str
    grant: _Grant = _Grant.SESSION

    @property
    def complete(self) -> bool:
        return not self.missing


def _name(policy: Policy, at: int, statement: Mapping[str, Any]) -> str:
    said = str(statement.get("Sid") or f"statement {at + 1}")
    return f"{said} of {policy.name}"


def _principal(statement: Mapping[str, Any], caller: Caller) -> _Grant:
    """How a statement means the caller; one of an identity's policy means whoever has it."""
    named, excluded = statement.get("Principal"), statement.get("NotPrincipal")
    if named is None and excluded is None:
        return _Grant.SESSION
    grants = [caller.named(kind, name) for kind, name in _pairs(named if excluded is None else excluded)]
    grant = max(grants, default=_Grant.NOBODY)
    if excluded is None:
        return grant
    return _Grant.NOBODY if grant else _Grant.SESSION


def _pairs(principal: Any) -> Iterator[tuple[str, str]]:
    kinds = {"AWS": "*", "Service": "*", "Federated": "*"} if principal == "*" else principal
    for kind, names in kinds.items():
        for name in as_list(names):
            yield kind, name


def _about(statement: Mapping[str, Any], request: Request, context: Context | None) -> Iterator[str]:
    """What of the request the statement does not speak of, the action first."""

    def names(element: str) -> bool:
        return any(like(one, request.action, ignore_case=True) for one in as_list(statement[element]))

    def means(element: str, *, unresolved: bool = False) -> bool:
        patterns = as_list(statement[element])
        return any_resolved(patterns, lambda one: resource_like(one, request.resource, context), otherwise=unresolved)

    if not (not names("NotAction") if "NotAction" in statement else names("Action")):
        yield f"does not have the action {request.action}"
    about = "Resource" in statement or "NotResource" in statement
    if about and not (not means("NotResource", unresolved=True) if "NotResource" in statement else means("Resource")):
        yield f"does not have the resource {request.resource}"


def _match(policy: Policy, at: int, statement: Mapping[str, Any], request: Request) -> _Match:
    variables = policy.document.get("Version") == _WITH_VARIABLES
    keys, name = request.keys, _name(policy, at, statement)
    grant = _principal(statement, request.caller)
    missing = list(_about(statement, request, keys if variables else None))
    if not grant:
        missing.append("does not name the caller")
    if why := unmet(statement.get("Condition", {}), keys, variables=variables):
        missing.append(why)
    score = 0 if missing and missing[0].startswith("does not have the action") else 10 - len(missing)
    return _Match(score, name, missing[0] if missing else "", grant)


def _matches(policies: Iterable[Policy], effect: str, request: Request) -> list[_Match]:
    return [
        _match(policy, at, statement, request)
        for policy in policies
        for at, statement in enumerate(policy.statements)
        if statement.get("Effect") == effect
    ]


def _denial(policies: Policies, request: Request) -> _Match | None:
    every = [*policies.of_caller(), *((policies.resource,) if policies.resource else ())]
    return next((one for one in _matches(every, "Deny", request) if one.complete), None)


def _lack(kind: str, action: str, matches: list[_Match]) -> str:
    nearest = max(matches, key=lambda one: one.score, default=None)
    if nearest is None or not nearest.score:
        return f"no {kind} allows {action}"
    return f"no {kind} allows it; the nearest statement, {nearest.name}, is not met: {nearest.missing}"


def refusal(policy: str | Mapping[str, Any], action: str, caller: Caller, resource: str = "*") -> str:
    """Why a role's trust policy, or a resource's own, does not let the caller do `action`; empty when it does."""
    own = Policy.read("the trust policy" if resource == "*" else "the resource's policy", policy)
    request = Request(action, resource, caller)
    if denial := _denial(Policies(resource=own), request):
        return f"{denial.name} denies it"
    matches = _matches([own], "Allow", request)
    return "" if any(one.complete for one in matches) else _lack(f"statement of {own.name}", action, matches)


def decide(policies: Policies, request: Request) -> Decision:
    """Whether the request is allowed, and by what."""
    if denial := _denial(policies, request):
        return Decision(allowed=False, statement=denial.name, reason=f"{denial.name} denies it", explicit=True)
    from_resource = _matches([policies.resource] if policies.resource else [], "Allow", request)
    granted = max((one for one in from_resource if one.complete), key=lambda one: one.grant, default=None)
    grant = granted.grant if granted else _Grant.NOBODY
    if policies.resource_decides and not granted:
        return Decision(
            allowed=False, reason=_lack("statement of the resource's own policy", request.action, from_resource)
        )
    if not request.caller.account and granted:
        # A service, or a web identity: it has no policies of its own.
        return Decision(allowed=True, statement=granted.name)
    statement = granted.name if granted else ""
    for kind, layer, spared_by in _layers(policies):
        if grant >= spared_by:
            continue
        matches = _matches(layer, "Allow", request)
        allowing = next((one for one in matches if one.complete), None)
        if allowing is None:
            return Decision(
                allowed=False,
                reason=_lack(kind, request.action, matches + (from_resource if kind == _IDENTITY else [])),
            )
        statement = allowing.name
    return Decision(allowed=True, statement=statement)


_IDENTITY: Final = "policy of the caller"


def _layers(policies: Policies) -> Iterator[tuple[str, Sequence[Policy], int]]:
    """Each that must allow, and from which grant of a resource's policy on it need not."""
    for level in policies.controls:
        yield "service control policy", level, _Grant.SESSION + 1
    if policies.boundary:
        yield "statement of the permissions boundary", [policies.boundary], _Grant.SESSION
    if policies.session:
        yield "statement of the session's policy", policies.session, _Grant.SESSION
    yield _IDENTITY, policies.identity, _Grant.ROLE
