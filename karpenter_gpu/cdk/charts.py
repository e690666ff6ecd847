"""Karpenter's two Helm charts, in the one order that keeps its CRDs right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import CfnResource, CustomResource, Duration, RemovalPolicy, Stack
from constructs import Construct

from karpenter_gpu.cdk.target import Target
from karpenter_gpu.settings import KarpenterSettings


class Charts(Construct):
    """`karpenter-crd`, then `karpenter`.

    A chart's own `crds/` are never upgraded by Helm, and what exists already it leaves alone; so the chart whose
    templates are the CRDs goes first. (The CDK's handler reads `SkipCrds` and does not pass it on.)

    CRDs that were taken over stay when the stack lets go of them, also when a deployment is rolled back: with them would
    go every NodePool and NodeClaim of the cluster.

    Args:
        cluster: Where to.

        settings: Version, namespace and where the charts lie.

        crd_values, controller_values: Helm values.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: Target,
        settings: KarpenterSettings,
        crd_values: Mapping[str, Any],
        controller_values: Mapping[str, Any],
    ) -> None:
        super().__init__(scope, id)

        def chart(id: str, name: str, values: Mapping[str, Any]) -> Construct:
            return cluster.chart(
                self,
                id,
                chart=name,
                release=name,
                repository=f"{settings.charts}/{name}",
                version=settings.version,
                namespace=settings.namespace,
                create_namespace=settings.namespace != "kube-system",
                values=dict(values) or None,
                wait=True,
                # Less than the handler's 15 minutes, so that a chart which does not come up is Helm's failure, with
                # its reason, and not a function cut off in the middle of a release.
                timeout=Duration.minutes(10),
            )

        self.crds = chart("Crds", "karpenter-crd", crd_values)
        self.controller = chart("Controller", "karpenter", controller_values)
        self.controller.node.add_dependency(self.crds)
        if settings.adopt:
            resource = self.crds.node.find_child("Resource")
            assert isinstance(resource, CustomResource)
            resource.apply_removal_policy(RemovalPolicy.RETAIN)

    def renew(self, controller_values: Mapping[str, Any]) -> None:
        """Give the controller other values: what a pool needs of it is known when the pool is."""
        resource = self.controller.node.find_child("Resource").node.default_child
        assert isinstance(resource, CfnResource)
        resource.add_property_override("Values", Stack.of(self).to_json_string(dict(controller_values)))
