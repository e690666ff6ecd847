"""Events that AWS itself sends, through the default bus's rules to their queues.

PutEvents refuses a source that begins with `aws.`, so the rehearsal hands such events to moto's rules itself.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import Caller, refusal


class AwsEvents:
    """The sender."""

    def __init__(self, world: World) -> None:
        self._world = world

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
        refused = len(rule.targets) - len(allowed)
        if refused:
            self._world.failures.append(f"rule {rule.name}: {refused} of its targets let no event in")
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
        queue = self._world.backend("sqs").queues.get(target.rpartition(":")[2])
        policy = queue.attributes.get("Policy") if queue else None
        if not policy:
            return False
        context = {
            "aws:sourcearn": (rule.arn,),
            "aws:sourceaccount": (self._world.account,),
            "aws:securetransport": ("true",),
        }
        caller = Caller({"Service": frozenset({"events.amazonaws.com"})}, context)
        document = json.loads(policy) if isinstance(policy, str) else policy
        return not refusal(document, "sqs:SendMessage", caller, target)
