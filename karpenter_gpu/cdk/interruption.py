"""The queue that tells Karpenter which instances AWS is about to take."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from karpenter_gpu.policies.interruption import interruption_events
from karpenter_gpu.versions import Minor

# As upstream's template has it: a warning that is five minutes old is of no use.
_RETENTION = Duration.minutes(5)


class Interruption(Construct):
    """The queue and the event rules of one Karpenter minor.

    Encrypted by SQS, for TLS alone, and with a second queue for messages the controller took ten times and could not
    deal with, so that such a fault is seen.
    """

    def __init__(self, scope: Construct, id: str, *, karpenter: Minor) -> None:
        super().__init__(scope, id)
        failed = sqs.Queue(
            self,
            "Failed",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=_RETENTION,
            dead_letter_queue=sqs.DeadLetterQueue(max_receive_count=10, queue=failed),
        )
        for name, (source, detail_type) in interruption_events(karpenter).items():
            events.Rule(
                self,
                name,
                event_pattern=events.EventPattern(source=[source], detail_type=[detail_type]),
                targets=[targets.SqsQueue(self.queue)],
            )
