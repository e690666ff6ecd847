"""What finds a Karpenter that is on a cluster already."""

from __future__ import annotations

from typing import Final

from aws_cdk import CfnResource, Stack
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.function import DeployFunction
from karpenter_gpu.cdk.target import Target
from karpenter_gpu.settings import KarpenterSettings

RESOURCE_TYPE = "Custom::KarpenterGpuTakeover"

# To look takes less than to hand over. Source: EKS user guide, "Review access policy permissions".
_LOOK: Final = "AmazonEKSAdminViewPolicy"
_HAND_OVER: Final = "AmazonEKSClusterAdminPolicy"


class Takeover(DeployFunction):
    """Looks for a Karpenter before this stack's is installed: fails and says what is where, or takes it over.

    It looks for objects of other owners with the names of this stack's, too, before anything is installed, and before
    they are added later.

    It enters the cluster by an access entry of its own, from which it removes cluster-admin when it has taken over; where
    aws-auth alone decides, as the role that kubectl takes.

    Args:
        cluster: Where to look.

        settings: Version and namespace of what is to be installed, and whether to take over.

        queue_name: By which a controller is known as this stack's own.
    """

    def __init__(
        self, scope: Construct, id: str, *, cluster: Target, settings: KarpenterSettings, queue_name: str
    ) -> None:
        self._objects: list[str] = []
        super().__init__(
            scope,
            id,
            handler="takeover",
            description="Looks for a Karpenter that is on the cluster already, and takes it over if it is told to",
            statements=cluster.statements_to_enter("eks:ListPodIdentityAssociations"),
            wide={},
            resource_type=RESOURCE_TYPE,
            properties={
                # By reference, so that it waits for the cluster.
                "ClusterName": cluster.cluster_name,
                "Stack": Stack.of(scope).stack_name,
                "Version": settings.version,
                "Namespace": settings.namespace,
                "Identity": settings.identity,
                "Adopt": str(settings.adopt).lower(),
                "InterruptionQueue": queue_name,
                "Objects": [],
                **cluster.role_to_enter,
            },
            network=cluster.kubectl_network,
        )
        if not cluster.admit_as_kubectl(self.role):
            self._admit(cluster, hands_over=settings.adopt)

    def look_for(self, *paths: str) -> None:
        """Look for objects, by where the API server has them, that others made with the names of this stack's."""
        self._objects += paths
        resource = self.resource.node.default_child
        assert isinstance(resource, CfnResource)
        resource.add_property_override("Objects", self._objects)

    def _admit(self, cluster: Target, *, hands_over: bool) -> None:
        stack = Stack.of(self)
        arns = [
            f"arn:{stack.partition}:eks::aws:cluster-access-policy/{name}"
            for name in ((_LOOK, _HAND_OVER) if hands_over else (_LOOK,))
        ]
        scope = eks.CfnAccessEntry.AccessScopeProperty(type="cluster")
        entry = eks.CfnAccessEntry(
            self,
            "Access",
            cluster_name=cluster.cluster_name,
            principal_arn=self.role.role_arn,
            access_policies=[
                eks.CfnAccessEntry.AccessPolicyProperty(policy_arn=arn, access_scope=scope) for arn in arns
            ],
        )
        self.resource.node.add_dependency(entry)
        if hands_over:
            own = (
                f"arn:{stack.partition}:eks:{stack.region}:{stack.account}:access-entry/{cluster.name}/role/"
                f"{stack.account}/{self.role.role_name}/*"
            )
            self.allow(
                iam.PolicyStatement(actions=["eks:DisassociateAccessPolicy"], resources=[own]),
                wide={own: "its own access entry, whose ARN ends with an id that EKS chooses"},
            )
            resource = self.resource.node.default_child
            assert isinstance(resource, CfnResource)
            resource.add_property_override(
                "UntilHandedOver", {"PrincipalArn": self.role.role_arn, "PolicyArn": arns[-1]}
            )
