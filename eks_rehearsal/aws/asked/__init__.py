"""What a call asks IAM for: actions, resources and condition keys, by the service authorization reference.

What a rule does not say of a request (a condition key, or which resource) counts as unknown, and a decision that hangs on it
is not made.
"""

from __future__ import annotations

from eks_rehearsal.aws.asked import ec2, services
from eks_rehearsal.aws.asked.request import Asked
from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import World

__all__ = ["Asked", "asked_by"]


def asked_by(world: World, call: Call) -> list[Asked]:
    """Everything that must be allowed."""
    rule = ec2.rule_of(call) if call.service == "ec2" else services.rule_of(call)
    return list(rule(world, call))
