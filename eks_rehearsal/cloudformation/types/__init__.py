"""Every resource type that the stacks, the examples and the CDK's bootstrap stack are made of."""

from __future__ import annotations

from collections.abc import Mapping

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types import (
    ec2,
    ecr,
    eks,
    events,
    iam,
    kms,
    lambda_,
    logs,
    s3,
    sqs,
    ssm,
    stepfunctions,
)

__all__ = ["TYPES"]

SERVICES = (ec2, ecr, eks, events, iam, kms, lambda_, logs, s3, sqs, ssm, stepfunctions)


def _note(context: Context, _properties: Properties) -> Made:
    return Made(context.name(255))


def _forget(_context: Context, _id: str, _properties: Properties) -> None:
    """There is nothing to delete."""


METADATA = ResourceType(
    "AWS::CDK::Metadata",
    frozenset(),
    _note,
    _forget,
    without_effect={"Analytics": "it tells AWS which constructs are used"},
)

TYPES: Mapping[str, ResourceType] = {
    row.name: row
    for row in (
        METADATA,
        *(row for service in SERVICES for row in service.ROWS),
    )
}
