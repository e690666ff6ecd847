"""Events that AWS itself sends, through the default bus's rules to their queues.

PutEvents refuses a source that begins with `aws.`, so the rehearsal hands such events to moto's rules itself.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from eks_rehearsal.aws.resource_policies import resource_policy
from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import Caller, refusal


class AwsEvents:
    """The sender."""

    def __init__(self, world: World) -> None:
        self._world = world
        # What a queue did not take, and why.
        self.refused: list[str] = []

    def put(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str]) -> int:
        """Deliver the event; how many queues took it."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": self._world.account,
            "time": time.time(),
            "region": self._world.region,
            "resources": list(resources),
            "detail": dict(detail),
            "ingestion-time": time.time(),
        }
        rules = self._world.backend("events").event_buses["default"].rules.values()
        matching = [rule for rule in rules if rule.state == "ENABLED" and rule.event_pattern.matches_event(event)]
        return sum(self._deliver(rule, event) for rule in matching)

    def _deliver(self, rule: Any, event: Mapping[str, Any]) -> int:
        allowed = [target for target in rule.targets if self._may_send(rule, target["Arn"])]
        everything, rule.targets = rule.targets, allowed
        try:
            rule.send_to_targets(dict(event))
        finally:
            rule.targets = everything
        return len(allowed)

    def _may_send(self, rule: Any, target: str) -> bool:
        """Whether a queue's own policy lets EventBridge in; other targets are taken to."""
        if ":sqs:" not in target:
            return True
        policy, _ = resource_policy(self._world, "sqs:SendMessage", target)
        context = {
            "aws:sourcearn": (rule.arn,),
            "aws:sourceaccount": (self._world.account,),
            "aws:securetransport": ("true",),
        }
        caller = Caller({"Service": frozenset({"events.amazonaws.com"})}, context)
        why = refusal(policy.document, "sqs:SendMessage", caller, target) if policy else "the queue has no policy"
        if why:
            said = f"events.amazonaws.com (rule {rule.name}) may not sqs:SendMessage on {target}: {why}"
            self.refused.append(said)
            self._world.failures.append(said)
        return not why
