"""Whether IAM lets somebody do something: one decision over every policy that has a say.

Source: the IAM user guide, `reference_policies_evaluation-logic`: a denial anywhere wins; service control policies,
the permissions boundary and the session's policy each must allow; a resource's policy that names the caller allows by
itself, and one that names the caller's account leaves it to the caller's own policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import Any, Final

from eks_rehearsal.iam.conditions import unmet
from eks_rehearsal.iam.matching import Context, any_resolved, as_list, like, resource_like

# Resource of a request: nobody knows which.
UNKNOWN: Final = ""
# The beginnings of condition keys that are those of the caller and the session, whatever is asked for.
GLOBAL_KEYS: Final = (
    "aws:calledvia",
    "aws:currenttime",
    "aws:epochtime",
    "aws:multifactorauth",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principaltag/",
    "aws:principaltype",
    "aws:requestedregion",
    "aws:securetransport",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
)
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

        complete: The beginnings of the condition keys, in lower case, that are there where they are to be; of any other
            nobody knows. None where that is so of all.

        favour: `Allow` or `Deny`: whose statements are taken to mean what nobody knows of the request.
    """

    action: str
    resource: str
    caller: Caller
    context: Context = field(default_factory=dict)
    complete: tuple[str, ...] | None = None
    favour: str = ""

    @property
    def keys(self) -> Context:
        """Every condition key."""
        return {**self.caller.context, **self.context}

    def knows(self, key: str) -> bool:
        """Whether it is known of a condition key what value it has, or that it has none."""
        name = key.lower()
        return self.complete is None or name in self.keys or name.startswith((*GLOBAL_KEYS, *self.complete))


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


class Layer(str, Enum):
    """A kind of policy, as AWS's own errors call it."""

    RESOURCE = "resource-based policy"
    CONTROL = "service control policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"
    IDENTITY = "identity-based policy"


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

    @property
    def layers(self) -> Iterator[tuple[Layer, Sequence[Policy]]]:
        """Each kind of policy, in the order that IAM looks at them; of service control policies, each level."""
        yield Layer.RESOURCE, [self.resource] if self.resource else []
        for level in self.controls:
            yield Layer.CONTROL, level
        if self.boundary:
            yield Layer.BOUNDARY, [self.boundary]
        if self.session:
            yield Layer.SESSION, self.session
        yield Layer.IDENTITY, self.identity


@dataclass(frozen=True)
class Decision:
    """What IAM says.

    Args:
        allowed: Whether it may be done.

        statement: The statement that decided, `AllowX of policy P`; empty where none did.

        reason: Why it is denied, in words; empty when it is allowed.

        explicit: Whether a statement denies it.

        layer: The kind of policy that denies it, or allows nothing.
    """

    allowed: bool
    statement: str = ""
    reason: str = ""
    explicit: bool = False
    layer: Layer = Layer.IDENTITY

    def said_of(self, action: str) -> str:
        """Why it is denied, as AWS says it to the caller: IAM user guide, `troubleshoot_access-denied`."""
        if self.explicit:
            article = "an" if self.layer is Layer.IDENTITY else "a"
            return f"with an explicit deny in {article} {self.layer.value}"
        return f"because no {self.layer.value} allows the {action} action"


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


def _known(statement: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
    """The statement without what cannot be said of the request, where it is favoured; else one that is about nothing."""
    about = {"Resource", "NotResource"} if request.resource == UNKNOWN else set()
    whole: Mapping[str, Any] = statement.get("Condition", {})
    conditions = {
        operator: {key: of for key, of in keys.items() if request.knows(key)} for operator, keys in whole.items()
    }
    limited = any(statement.get(element, "*") not in ("*", ["*"]) for element in about)
    if statement["Effect"] == request.favour:
        return {**{key: of for key, of in statement.items() if key not in about}, "Condition": conditions}
    if limited or conditions != whole:
        return {**{key: of for key, of in statement.items() if key != "NotAction"}, "Action": []}
    return {key: of for key, of in statement.items() if key not in about}


def _match(policy: Policy, at: int, statement: Mapping[str, Any], request: Request) -> _Match:
    variables = policy.document.get("Version") == _WITH_VARIABLES
    keys, name = request.keys, _name(policy, at, statement)
    if request.favour:
        statement = _known(statement, request)
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


def _denial(policies: Policies, request: Request) -> tuple[Layer, _Match] | None:
    found = ((layer, one) for layer, own in policies.layers for one in _matches(own, "Deny", request) if one.complete)
    return next(found, None)


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
        return f"{denial[1].name} denies it"
    matches = _matches([own], "Allow", request)
    return "" if any(one.complete for one in matches) else _lack(f"statement of {own.name}", action, matches)


def decide(policies: Policies, request: Request) -> Decision:
    """Whether the request is allowed, and by what."""
    if denial := _denial(policies, request):
        layer, match = denial
        return Decision(False, match.name, f"{match.name} denies it", explicit=True, layer=layer)
    from_resource = _matches([policies.resource] if policies.resource else [], "Allow", request)
    granted = max((one for one in from_resource if one.complete), key=lambda one: one.grant, default=None)
    grant = granted.grant if granted else _Grant.NOBODY
    if policies.resource_decides and not granted:
        lack = _lack("statement of the resource's own policy", request.action, from_resource)
        return Decision(False, reason=lack, layer=Layer.RESOURCE)
    if not request.caller.account and granted:
        # A service, or a web identity: it has no policies of its own.
        return Decision(allowed=True, statement=granted.name)
    statement = granted.name if granted else ""
    for layer, own in policies.layers:
        if grant >= _SPARED_BY[layer]:
            continue
        matches = _matches(own, "Allow", request)
        allowing = next((one for one in matches if one.complete), None)
        if allowing is None:
            near = matches + (from_resource if layer is Layer.IDENTITY else [])
            return Decision(False, reason=_lack(_WORDS[layer], request.action, near), layer=layer)
        statement = allowing.name
    return Decision(allowed=True, statement=statement)


def decide_if_sure(policies: Policies, request: Request) -> Decision | None:
    """What IAM says, whatever it is that nobody knows of the request; None where it hangs on that."""
    worst = decide(policies, replace(request, favour="Deny"))
    if worst.allowed or (request.complete is None and request.resource != UNKNOWN):
        return worst
    best = decide(policies, replace(request, favour="Allow"))
    return None if best.allowed else best


# From which grant of a resource's policy on a layer need not allow, too; the resource's own was looked at before.
_SPARED_BY: Final[Mapping[Layer, int]] = {
    Layer.RESOURCE: _Grant.NOBODY,
    Layer.CONTROL: _Grant.SESSION + 1,
    Layer.BOUNDARY: _Grant.SESSION,
    Layer.SESSION: _Grant.SESSION,
    Layer.IDENTITY: _Grant.ROLE,
}
_WORDS: Final[Mapping[Layer, str]] = {
    Layer.CONTROL: "service control policy",
    Layer.BOUNDARY: "statement of the permissions boundary",
    Layer.SESSION: "statement of the session's policy",
    Layer.IDENTITY: "policy of the caller",
}
