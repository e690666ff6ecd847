"""Answers to what cdk-nag finds: each on the narrowest construct, with a reason someone can check."""

from __future__ import annotations

import json
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, *findings: object, because: str) -> None:
    """Answer one AwsSolutions rule on one construct.

    Args:
        rule: As in `IAM5`.

        findings: What stands in the brackets of a granular rule, as in `Resource::*`, with the tokens that are in it;
            a pair of a prefix and an intrinsic for a value that CloudFormation decides; none for a rule without.

        because: Why it must be so, and where that can be read.
    """
    ids = [f"AwsSolutions::AwsSolutions-{rule}" + finding for finding in map(_bracketed(construct), findings or ("",))]
    Validations.of(construct).acknowledge(*(Acknowledgment(id=id, reason=because) for id in ids))


def managed_policy(name: str) -> str:
    """The finding for one of AWS's managed policies, whose ARN the CDK writes with a pseudo parameter."""
    return f"Policy::arn:<AWS::Partition>:iam::aws:policy/{name}"


def _bracketed(construct: IConstruct) -> Any:
    stack = Stack.of(construct)

    def bracketed(finding: Any) -> str:
        if not finding:
            return ""
        if isinstance(finding, tuple):
            prefix, intrinsic = finding
            return f"[{prefix}{json.dumps(intrinsic, separators=(',', ':'))}]"
        return f"[{_flat(stack.resolve(finding))}]"

    return bracketed


def _flat(resolved: Any) -> str:
    """Text as cdk-nag writes it: pseudo parameters and references in angle brackets."""
    if isinstance(resolved, str):
        return resolved
    if "Ref" in resolved:
        return f"<{resolved['Ref']}>"
    if "Fn::GetAtt" in resolved:
        return f"<{'.'.join(resolved['Fn::GetAtt'])}>"
    separator, parts = resolved["Fn::Join"]
    return str(separator).join(_flat(part) for part in parts)
