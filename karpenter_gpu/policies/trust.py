"""Who may take the controller's role."""

from __future__ import annotations

from typing import Any

from karpenter_gpu.settings.karpenter import SERVICE_ACCOUNT


def irsa_trust(namespace: str) -> dict[str, Any]:
    """The trust of the controller's service account, and of no other, through the cluster's OIDC provider.

    `${Provider}` (its ARN) and `${Issuer}` (its URL without the scheme) are for CloudFormation's `Fn::Sub`: the issuer
    stands in a key, where no other function can put a value.
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": "${Provider}"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {
                        "${Issuer}:aud": "sts.amazonaws.com",
                        "${Issuer}:sub": f"system:serviceaccount:{namespace}:{SERVICE_ACCOUNT}",
                    }
                },
            }
        ],
    }
