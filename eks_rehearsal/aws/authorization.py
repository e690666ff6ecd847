"""Whether a role may make a call: its policies in the emulated IAM, asked about everything that the call asks for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eks_rehearsal.aws.asked import Asked, asked_by, refusal_of
from eks_rehearsal.aws.extensions.sts import Roles
from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import Caller, Decision, Policies, Policy, Request, decide

# AWS's own service control policy.
_FULL_ACCESS: Final = Policy("FullAWSAccess", {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})


@dataclass
class Authorization:
    """Decides calls of roles; the account's root and unsigned calls are not asked.

    Args:
        controls: Service control policies.

        decided: How many calls were decided.

        undecided: The calls for which nobody wrote down what they ask for, and how often.

        denied: What was denied, a sentence each, and how often.
    """

    world: World
    roles: Roles
    controls: Sequence[Policy] = ()
    decided: int = 0
    undecided: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)

    def check(self, call: Call) -> None:
        """Let a call pass.

        Raises:
            AwsError: The role may not.
        """
        session = self.roles.session_of(call.access_key)
        role = self.roles.find(session.role) if session else None
        if session is None or role is None:
            return
        asked = asked_by(self.world, call)
        if asked is None:
            self.undecided[f"{call.service}:{call.action}"] += 1
            return
        self.decided += 1
        for one in asked:
            said = self._decision(role, session.assumed.arn, call, one)
            if not said.allowed:
                self.denied[f"{role.arn} may not {one.action} on {one.resource}: {said.reason}"] += 1
                raise refusal_of(call, session.assumed.arn, one, said.reason)

    def notes(self) -> list[str]:
        """What a report must say of it."""
        skipped, denied = sum(self.undecided.values()), sum(self.denied.values())
        said = [f"IAM: {self.decided} calls of roles were decided, {denied} of them denied; {skipped} were not decided"]
        if self.undecided:
            said.append(f"not decided by IAM, for want of what they ask for: {', '.join(sorted(self.undecided))}")
        return [*said, *(f"denied {count} times: {what}" for what, count in self.denied.items())]

    def _decision(self, role: Any, session: str, call: Call, asked: Asked) -> Decision:
        now = time.time()
        keys = {
            "aws:principalarn": role.arn,
            "aws:principalaccount": self.world.account,
            "aws:principaltype": "AssumedRole",
            "aws:requestedregion": call.region,
            "aws:securetransport": "true",
            "aws:epochtime": f"{now:.0f}",
            "aws:currenttime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            **{f"aws:principaltag/{tag['Key']}".lower(): tag["Value"] for tag in role.tags or ()},
        }
        context = {key: (value,) for key, value in keys.items()}
        caller = Caller({"AWS": frozenset({role.arn})}, context, session, self.world.account)
        policies = Policies(
            identity=list(self._identity(role)),
            boundary=self._managed(role.permissions_boundary_arn) if role.permissions_boundary_arn else None,
            controls=[self._level] if self.controls else [],
            resource=self._of_queue(asked.resource) if asked.action.startswith("sqs:") else None,
        )
        return decide(policies, Request(asked.action, asked.resource, caller, asked.context))

    @property
    def _level(self) -> Sequence[Policy]:
        """The controls; AWS's own stands beside those that only deny, as it does unless it is removed."""
        allows = any(statement["Effect"] == "Allow" for one in self.controls for statement in one.statements)
        return self.controls if allows else [*self.controls, _FULL_ACCESS]

    def _identity(self, role: Any) -> Iterator[Policy]:
        for name, document in role.policies.items():
            yield Policy.read(name, document)
        for arn in role.managed_policies:
            yield self._managed(arn)

    def _managed(self, arn: str) -> Policy:
        found = self.world.backend("iam").get_policy(arn)
        version = next(one for one in found.versions if one.is_default)
        return Policy.read(found.name, version.document)

    def _of_queue(self, arn: str) -> Policy | None:
        queue = self.world.backend("sqs").queues.get(arn.rpartition(":")[2])
        document = queue.attributes.get("Policy") if queue else None
        return Policy.read(f"the policy of queue {queue.name}", document) if document else None
