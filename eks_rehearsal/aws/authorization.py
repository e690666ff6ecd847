"""Whether a role or user may make a call: its policies in the emulated IAM, asked about everything that the call asks for."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from eks_rehearsal.aws.asked import Asked, asked_by
from eks_rehearsal.aws.encoded import encoded
from eks_rehearsal.aws.extensions.sts import Roles
from eks_rehearsal.aws.resource_policies import resource_policy
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import Caller, Decision, Policies, Policy, Request, decide_if_sure
from eks_rehearsal.iam.matching import Context

# AWS's own service control policy.
_FULL_ACCESS: Final = Policy("FullAWSAccess", {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
# What may be AWS's own, or somebody else's; all else that a call is about is the account's.
_OF_AWS: Final = (":image/", ":snapshot/", ":parameter/aws/service/")
_READING: Final = ("Get", "List", "Simulate", "Generate")
# Services that say AccessDenied and not AccessDeniedException, and those that answer it with 403.
_PLAIN: Final = frozenset({"cloudformation", "iam", "s3", "sqs", "sts"})
_REST: Final = frozenset({"eks", "lambda", "arc-zonal-shift"})


@dataclass(frozen=True)
class Own:
    """What is attached to a role or user."""

    identity: tuple[Policy, ...] = ()
    boundary: Policy | None = None


@dataclass(frozen=True)
class Principal:
    """Who asks, with the policies that the session was made with."""

    arn: str
    caller: Caller
    session: tuple[Policy, ...] = ()

    @property
    def shown(self) -> str:
        """As AWS's errors have it."""
        return self.caller.session or self.arn


@dataclass(frozen=True)
class Recorded:
    """A call that was allowed, once for each role, action, kind of resource and statement.

    Args:
        role: The role's ARN.

        statement: The statement that allowed it, `AllowX of policy P`.

        asked: What it asked for.
    """

    role: str
    statement: str
    asked: Asked


@dataclass
class Authorization:
    """Decides calls of roles and users; the account's root and unsigned calls are not asked.

    Args:
        controls: Service control policies.

        spread: For how many seconds a change of policies does not count yet.

        decided: How many calls were decided.

        undecided: The calls whose decision hangs on what nobody wrote down, and how often.

        denied: What was denied, a sentence each, and how often.

        late: What was denied for no other reason than that policies had not spread.

        recorded: What was allowed, and by what.
    """

    world: World
    roles: Roles
    controls: Sequence[Policy] = ()
    spread: float = 0.0
    decided: int = 0
    undecided: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    recorded: dict[tuple[str, str, str, str], Recorded] = field(default_factory=dict)
    _before: deque[tuple[float, Mapping[str, Own]]] = field(default_factory=deque)

    def check(self, call: Call) -> None:
        """Let a call pass.

        Raises:
            AwsError: The caller may not.
        """
        self._note_change(call)
        principal = self._principal(call)
        if principal is None:
            return
        said = [(one, self._decision(principal, call.region, one)) for one in self._asked(call)]
        self._count(call, [decision for _, decision in said])
        choices: defaultdict[str, list[tuple[Asked, Decision | None]]] = defaultdict(list)
        for place, (one, decision) in enumerate(said):
            choices[one.choice or str(place)].append((one, decision))
        for either in choices.values():
            if all(decision is not None and not decision.allowed for _, decision in either):
                one, decision = either[0]
                raise self._refused(call, principal, one, decision)

    def refusal(self, role: str, action: str, resource: str) -> str:
        """Why a role may not do what a service is about to do in its name; empty when it may."""
        principal, asked = self._role(role, f"{role}/service"), Asked(action, resource)
        if principal is None:
            return ""
        decision = self._decision(principal, self.world.region, asked)
        if decision is None or decision.allowed:
            return ""
        self._note(principal, asked, decision)
        return decision.reason

    # Who asks.

    def _principal(self, call: Call) -> Principal | None:
        if session := self.roles.session_of(call.access_key):
            if self.roles.find(session.role) is None:
                return None
            made = self._role(session.role, session.assumed.arn, session.assumed.user_id, session.tags)
            return made and replace(made, session=tuple(self._session_policies(session.policies)))
        user = self.world.backend("iam").get_user_from_access_key_id(call.access_key) if call.access_key else None
        if user is None:
            return None
        keys = {"aws:principaltype": "User", "aws:userid": user.id, "aws:username": user.name}
        return Principal(
            user.arn, Caller({"AWS": frozenset({user.arn})}, self._keys(user.arn, keys), "", self._account)
        )

    def _role(self, arn: str, session: str, id: str = "", tags: Mapping[str, str] | None = None) -> Principal | None:
        role = self.roles.find(arn)
        if role is None:
            return None
        of_role = {tag["Key"]: tag["Value"] for tag in role.tags or ()}
        keys = {
            "aws:principaltype": "AssumedRole",
            **({"aws:userid": id} if id else {}),
            **{f"aws:principaltag/{key}".lower(): value for key, value in {**of_role, **(tags or {})}.items()},
        }
        return Principal(arn, Caller({"AWS": frozenset({arn})}, self._keys(arn, keys), session, self._account))

    @property
    def _account(self) -> str:
        return self.world.account

    def _keys(self, arn: str, more: Mapping[str, str]) -> Context:
        now = time.time()
        keys = {
            "aws:principalarn": arn,
            "aws:principalaccount": self._account,
            "aws:principalisawsservice": "false",
            "aws:viaawsservice": "false",
            "aws:securetransport": "true",
            "aws:epochtime": f"{now:.0f}",
            "aws:currenttime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            **more,
        }
        return {key: (value,) for key, value in keys.items()}

    def _session_policies(self, policies: Iterable[str]) -> Iterator[Policy]:
        for one in policies:
            yield self._managed(one) if one.startswith("arn:") else _read("the session's policy", one)

    # What is decided.

    def _asked(self, call: Call) -> list[Asked]:
        try:
            return asked_by(self.world, call)
        except AwsError:
            raise
        except Exception:  # noqa: BLE001 - what the call is about is not there, and the service itself will say so
            return [Asked(f"{call.service}:{call.action}")]

    def _decision(self, principal: Principal, region: str, asked: Asked) -> Decision | None:
        if asked.role:
            other = self._role(asked.role, f"{asked.role}/service")
            if other is None:
                return None
            principal = other
        decision = self._by(principal, region, asked, self._own_then(principal.arn))
        if decision is not None and decision.allowed:
            key = (principal.arn, asked.action, asked.resource.partition("/")[0], decision.statement)
            self.recorded.setdefault(key, Recorded(principal.arn, decision.statement, asked))
        return decision

    def _by(self, principal: Principal, region: str, asked: Asked, own: Own) -> Decision | None:
        of_resource, decides = resource_policy(self.world, asked.action, asked.resource)
        policies = Policies(
            identity=own.identity,
            boundary=own.boundary,
            session=principal.session,
            controls=[self._level] if self.controls else [],
            resource=of_resource,
            resource_decides=decides,
        )
        context = {**asked.context, "aws:requestedregion": (region,), "ec2:region": (region,)}
        if not any(one in asked.resource for one in _OF_AWS):
            context["aws:resourceaccount"] = (self._account,)
        request = Request(asked.action, asked.resource, principal.caller, context, asked.complete)
        return decide_if_sure(policies, request)

    @property
    def _level(self) -> Sequence[Policy]:
        """The controls; AWS's own stands beside those that only deny, as it does unless it is removed."""
        allows = any(statement["Effect"] == "Allow" for one in self.controls for statement in one.statements)
        return self.controls if allows else [*self.controls, _FULL_ACCESS]

    def _count(self, call: Call, decisions: Sequence[Decision | None]) -> None:
        if None in decisions:
            self.undecided[f"{call.service}:{call.action}"] += 1
        else:
            self.decided += 1

    def _note(self, principal: Principal, asked: Asked, decision: Decision) -> None:
        arn = asked.role or principal.arn
        region = self.world.region
        now = self._by(principal, region, asked, self._own(arn)) if self.spread and not asked.role else None
        counted = self.late if now is not None and now.allowed else self.denied
        counted[f"{arn} may not {asked.action} on {asked.resource or 'it'}: {decision.reason}"] += 1

    def _refused(self, call: Call, principal: Principal, asked: Asked, decision: Decision | None) -> AwsError:
        """The service's own error, in AWS's words."""
        assert decision is not None
        self._note(principal, asked, decision)
        why = decision.said_of(asked.action)
        if asked.role:
            action = asked.action.partition(":")[2]
            message = f"The provided execution role does not have permissions to call {action} on EC2"
            return AwsError("InvalidParameterValueException", message, status=400)
        said = f"User: {principal.shown} is not authorized to perform: {asked.action} on resource: {asked.resource or '*'} {why}"
        if call.service == "ec2":
            message = encoded(
                principal.shown, asked.action, asked.resource, {**principal.caller.context, **asked.context}
            )
            whole = f"You are not authorized to perform this operation. {said}. Encoded authorization failure message: {message}"
            return AwsError("UnauthorizedOperation", whole, status=403)
        if call.service in _PLAIN:
            return AwsError("AccessDenied", said, status=403)
        return AwsError("AccessDeniedException", said, status=403 if call.service in _REST else 400)

    # What is attached to whom, and since when.

    def _note_change(self, call: Call) -> None:
        """Keep what was attached before a change, for as long as the change does not count."""
        if not self.spread or call.service != "iam" or call.action.startswith(_READING):
            return
        now, iam = time.monotonic(), self.world.backend("iam")
        while self._before and self._before[0][0] < now - self.spread:
            self._before.popleft()
        everybody = [*iam.get_roles(), *iam.users.values()]
        self._before.append((now, {one.arn: self._attached(one) for one in everybody}))

    def _own_then(self, arn: str) -> Own:
        """What counts of a principal's policies: those of a while ago."""
        since = time.monotonic() - self.spread
        for when, attached in self._before:
            if when >= since:
                return attached.get(arn, Own())
        return self._own(arn)

    def _own(self, arn: str) -> Own:
        found = self.roles.find(arn)
        if found is None:
            found = next((user for user in self.world.backend("iam").users.values() if user.arn == arn), None)
        return self._attached(found) if found else Own()

    def _attached(self, to: Any) -> Own:
        groups = self.world.backend("iam").get_groups_for_user(to.name) if ":user/" in to.arn else ()
        each = [to, *groups]
        identity = [_read(name, document) for one in each for name, document in one.policies.items()]
        identity += [self._managed(arn) for one in each for arn in one.managed_policies]
        boundary = getattr(to, "permissions_boundary_arn", None)
        return Own(tuple(identity), self._managed(boundary) if boundary else None)

    def _managed(self, arn: str) -> Policy:
        found = self.world.backend("iam").get_policy(arn)
        version = next(one for one in found.versions if one.is_default)
        return _read(found.name, version.document)


@lru_cache(maxsize=1024)
def _text_read(name: str, document: str) -> Policy:
    return Policy.read(name, document)


def _read(name: str, document: str | Mapping[str, Any]) -> Policy:
    return _text_read(name, document if isinstance(document, str) else json.dumps(document))
