"""Which AWS events tell Karpenter that an instance is about to go."""

from __future__ import annotations

from typing import Final

from karpenter_gpu.versions import Minor

# Name -> source, detail-type, first Karpenter minor that reads it. Source: karpenter-provider-aws
# pkg/controllers/interruption/messages/*/parser.go and the getting-started cloudformation.yaml of every minor.
_RULES: Final = (
    ("ScheduledChange", "aws.health", "AWS Health Event", Minor(1, 0)),
    ("SpotInterruption", "aws.ec2", "EC2 Spot Instance Interruption Warning", Minor(1, 0)),
    ("Rebalance", "aws.ec2", "EC2 Instance Rebalance Recommendation", Minor(1, 0)),
    ("InstanceStateChange", "aws.ec2", "EC2 Instance State-change Notification", Minor(1, 0)),
    (
        "CapacityReservationInterruption",
        "aws.ec2",
        "EC2 Capacity Reservation Instance Interruption Warning",
        Minor(1, 10),
    ),
)


def interruption_events(karpenter: Minor) -> dict[str, tuple[str, str]]:
    """The events of one Karpenter minor: name -> (source, detail-type)."""
    return {name: (source, detail) for name, source, detail, since in _RULES if since <= karpenter}
