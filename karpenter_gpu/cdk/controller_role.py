"""The role of Karpenter's controller: who may take it, and what it may do."""

from __future__ import annotations

import json
from typing import Any

from aws_cdk import CfnResource, Fn, Stack
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.nag import acknowledge
from karpenter_gpu.cdk.own_statements import own_statements
from karpenter_gpu.cdk.target import Target
from karpenter_gpu.policies.controller import Names, controller_policies
from karpenter_gpu.policies.trust import irsa_trust
from karpenter_gpu.settings import IRSA, KarpenterSettings
from karpenter_gpu.settings.karpenter import SERVICE_ACCOUNT


class ControllerRole(Construct):
    """The controller's role, with the policies of the Karpenter version asked for.

    Args:
        settings: Version, identity and path.

        role_name: `KarpenterControllerRole-<cluster>`, say.

        cluster: Whose nodes it controls.

        oidc_provider_arn: Of the cluster's provider; for IRSA only.

        node_role_arn, queue_arn: What the controller passes on, and reads.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: KarpenterSettings,
        role_name: str,
        cluster: Target,
        oidc_provider_arn: str | None,
        node_role_arn: str,
        queue_arn: str,
    ) -> None:
        super().__init__(scope, id)
        stack = Stack.of(self)
        self.role = iam.Role(
            self,
            "Role",
            role_name=role_name,
            path=settings.role_path,
            assumed_by=_pods(),
            description="Karpenter's controller",
        )
        if oidc_provider_arn is not None:
            self._trust_service_account(settings.namespace, oidc_provider_arn)
        names = Names(
            cluster=cluster.name,
            partition=stack.partition,
            region=stack.region,
            account=stack.account,
            node_role_arn=node_role_arn,
            queue_arn=queue_arn,
            volume_key_arn=settings.volume_key_arn or "",
        )
        self.policies = [
            self._policy(part, document)
            for part, document in controller_policies(
                settings.release.line, names, reboots=settings.feature_gates.reboot_for_repair is True
            ).items()
        ]
        if settings.controller_statements:
            said = "karpenter.controller_statements"
            own_statements(self.role, said, settings.controller_statements)
        self.associations: list[Construct] = []
        if settings.identity != IRSA:
            association = eks.CfnPodIdentityAssociation(
                self,
                "PodIdentity",
                cluster_name=cluster.cluster_name,
                namespace=settings.namespace,
                service_account=SERVICE_ACCOUNT,
                role_arn=self.role.role_arn,
            )
            self.associations.append(association)

    def _trust_service_account(self, namespace: str, provider_arn: str) -> None:
        """Replace the trust by one whose keys name the issuer, which only text put together by `Fn::Sub` can."""
        resource = self.role.node.default_child
        assert isinstance(resource, CfnResource)
        issuer = Fn.select(1, Fn.split(":oidc-provider/", provider_arn))
        text = json.dumps(irsa_trust(namespace))
        resource.add_property_override(
            "AssumeRolePolicyDocument", {"Fn::Sub": [text, {"Provider": provider_arn, "Issuer": issuer}]}
        )

    def _policy(self, part: str, document: dict[str, Any]) -> iam.CfnManagedPolicy:
        # The L1, because an L2 rewrites a document as the app's feature flags say, and this one is upstream's.
        policy = iam.CfnManagedPolicy(
            self,
            part,
            description=f"Karpenter's controller: {part}",
            policy_document=document,
            roles=[self.role.role_name],
        )
        wild = dict.fromkeys(
            line for statement in document["Statement"] for line in statement["Resource"] if line.endswith("*")
        )
        acts = [f"Action::{action}" for one in document["Statement"] for action in one["Action"] if "*" in action]
        if wild or acts:
            acknowledge(
                policy,
                "IAM5",
                *(f"Resource::{line}" for line in wild),
                *acts,
                because="Karpenter's own policy for this version, narrowed by tag and region conditions where the action "
                "takes them: getting-started cloudformation.yaml of karpenter-provider-aws",
            )
        return policy


def _pods() -> iam.IPrincipal:
    """EKS Pod Identity's agent; with IRSA the trust is replaced."""
    return iam.SessionTagsPrincipal(iam.ServicePrincipal("pods.eks.amazonaws.com"))
