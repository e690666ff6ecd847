"""What says why an instance is alive, and removes Karpenter's finalizers where no controller would."""

from __future__ import annotations

from typing import Any, Final

from aws_cdk import aws_eks_v2 as eks
from constructs import Construct

from karpenter_gpu.cdk.function import PackageFunction
from karpenter_gpu.cdk.target import Target

# No access policy of EKS reads these and no secrets: EKS user guide, "Review access policy permissions".
_NAME: Final = "karpenter-gpu-drain"
_RULES: Final = (
    ("", ("pods", "nodes"), ("list",)),
    ("policy", ("poddisruptionbudgets",), ("list",)),
    ("storage.k8s.io", ("volumeattachments",), ("list",)),
    ("karpenter.sh", ("nodepools",), ("list",)),
    ("karpenter.sh", ("nodeclaims",), ("list", "patch")),
    ("karpenter.k8s.aws", ("ec2nodeclasses",), ("list", "patch")),
)


class Reasons(PackageFunction):
    """Reads what a drain waits for, when the drain asks.

    It runs where kubectl does and enters by an access entry of its own; where aws-auth alone decides, as the role that
    kubectl takes. Where it does not get in, the drain says what EC2 shows.

    Args:
        cluster: Where to look.
    """

    def __init__(self, scope: Construct, id: str, *, cluster: Target) -> None:
        super().__init__(
            scope,
            id,
            handler="reasons",
            description="Says what keeps instances of the cluster's Karpenter pools alive",
            statements=cluster.statements_to_enter(),
            wide={},
            network=cluster.kubectl_network,
        )
        self.on_cluster: list[Construct] = []
        self.properties = cluster.role_to_enter
        if not cluster.admit_as_kubectl(self.role):
            self._admit(cluster)

    def _admit(self, cluster: Target) -> None:
        entry = eks.CfnAccessEntry(
            self,
            "Access",
            cluster_name=cluster.cluster_name,
            principal_arn=self.role.role_arn,
            kubernetes_groups=[_NAME],
        )
        role, binding = (cluster.manifest(self, each["kind"], each, overwrite=True) for each in _documents())
        binding.node.add_dependency(role)
        self.on_cluster = [entry, role, binding]
        self.needed += self.on_cluster


def _documents() -> tuple[dict[str, Any], dict[str, Any]]:
    """The role that may do so, and who has it."""
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [group], "resources": list(kinds), "verbs": list(verbs)} for group, kinds, verbs in _RULES]
    return (
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": _NAME}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": _NAME},
            "subjects": [{"kind": "Group", "apiGroup": rbac, "name": _NAME}],
        },
    )
