"""Statements of the user's own for a role that is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import aws_iam as iam

from karpenter_gpu.cdk.nag import acknowledge


def own_statements(role: iam.Role, said: str, statements: Sequence[Mapping[str, Any]]) -> iam.CfnManagedPolicy:
    """Attach them as a policy of their own.

    Args:
        role: Of this stack.

        said: The setting that has them.

        statements: As IAM has them.
    """
    document = {"Version": "2012-10-17", "Statement": [dict(statement) for statement in statements]}
    # The L1, because an L2 rewrites a document as the app's feature flags say.
    policy = iam.CfnManagedPolicy(
        role, "OwnStatements", description=f"From {said}", policy_document=document, roles=[role.role_name]
    )
    wild = {
        f"{kind}::{text}": None
        for statement in statements
        for kind in ("Action", "Resource")
        for text in _texts(statement.get(kind, ()))
        if "*" in text
    }
    if wild:
        acknowledge(policy, "IAM5", *wild, because=f"asked for by the user of this package, in {said}")
    return policy


def _texts(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
