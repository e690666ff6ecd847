"""What holds a destroy until the GPU nodes are gone, and removes what they leave."""

from __future__ import annotations

from typing import Final

from aws_cdk import ArnFormat, CustomResource, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu import labels
from karpenter_gpu.cdk.function import DeployFunction
from karpenter_gpu.cdk.reasons import Reasons
from karpenter_gpu.cdk.target import Target
from karpenter_gpu.settings import KarpenterSettings
from karpenter_gpu.settings.karpenter import TERMINATE

RESOURCE_TYPE: Final = "Custom::KarpenterGpuDrain"
POOL_RESOURCE_TYPE: Final = "Custom::KarpenterGpuPoolDrain"
SWEEP_RESOURCE_TYPE: Final = "Custom::KarpenterGpuSweep"
SYSTEM_SWEEP_RESOURCE_TYPE: Final = "Custom::KarpenterGpuSystemSweep"

_TAKES_NO_RESOURCE: Final = "takes no resource: service authorization reference"


class Drain(DeployFunction):
    """A gate between the NodePools and all that their nodes need.

    It is created after what it guards and before the NodePools. When the stack is deleted, the NodePools go first,
    Karpenter starts to drain and terminate, and the gate stays until EC2 shows no instance of the cluster's pools, or
    until the time is up: then the deletion fails, says which instances are left and why, and nothing they need is gone.
    Or, if that was chosen, it terminates them.

    Each pool has a gate of its own, so that a pool that leaves the app is gone before its EC2NodeClass. Where the whole stack
    goes, those open at once, and this one waits for all.

    Args:
        cluster: Whose nodes.

        settings: How long it waits, and what it does then.
    """

    def __init__(self, scope: Construct, id: str, *, cluster: Target, settings: KarpenterSettings) -> None:
        self._cluster, self._settings = cluster, settings
        self._reasons = Reasons(scope, "Reasons", cluster=cluster)
        super().__init__(
            scope,
            id,
            handler="drain",
            description="Waits until no instance of the cluster's Karpenter pools is alive, and removes what they leave",
            statements=[*self._look(scope), *self._sweeps(scope), *self._terminates(scope)],
            wide={"*": f"what lists {_TAKES_NO_RESOURCE}, Amazon EC2", **self._wide(scope)},
            calls_itself=True,
            resource_type=RESOURCE_TYPE,
            properties=self._properties,
        )
        # Apart from the other policies, because a sweep must not wait for what asks the cluster: the cluster waits for one.
        self._ask = iam.Policy(self, "Ask", roles=[self.role])
        self._ask.add_statements(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self._reasons.function.function_arn])
        )
        self.resource.node.add_dependency(self._ask, *self._reasons.needed)

    def of_pool(self, scope: Construct, id: str, name: str) -> CustomResource:
        """The gate of one pool."""
        gate = self.call(scope, id, resource_type=POOL_RESOURCE_TYPE, properties={**self._properties, "NodePool": name})
        gate.node.add_dependency(self.resource)
        return gate

    def sweep(self, scope: Construct, id: str, *kinds: str) -> CustomResource:
        """What removes, when it is deleted itself, what is left of these kinds: `interfaces`, `templates`, `profiles`."""
        properties = {"ClusterName": self._cluster.name, "Sweep": id, "Kinds": list(kinds)}
        return self.call(scope, id, resource_type=SWEEP_RESOURCE_TYPE, properties=properties)

    def sweep_system_nodes(self, scope: Construct, id: str) -> CustomResource:
        """What removes the interfaces of the system nodes, between their deletion and the cluster's."""
        properties = {"ClusterName": self._cluster.cluster_name, "Sweep": id, "Kinds": ["interfaces"]}
        return self.call(scope, id, resource_type=SYSTEM_SWEEP_RESOURCE_TYPE, properties=properties)

    @property
    def follow(self) -> str:
        """The command that follows its log."""
        return f"aws logs tail {self.log.log_group_name} --follow --region {Stack.of(self).region}"

    @property
    def on_cluster(self) -> list[Construct]:
        """What lets it ask the cluster."""
        return self._reasons.on_cluster

    @property
    def _properties(self) -> dict[str, str | None]:
        return {
            "ClusterName": self._cluster.name,
            "TimeoutSeconds": str(int(self._settings.drain_timeout.total_seconds())),
            "OnTimeout": self._settings.on_drain_timeout,
            "Namespace": self._settings.namespace,
            "AskFunction": self._reasons.function.function_name,
            **self._reasons.properties,
        }

    def _look(self, scope: Construct) -> list[iam.PolicyStatement]:
        seen = [f"ec2:Describe{kind}" for kind in ("Instances", "LaunchTemplates", "NetworkInterfaces")]
        region = {"StringEquals": {"aws:RequestedRegion": Stack.of(scope).region}}
        return [
            iam.PolicyStatement(actions=seen, resources=["*"], conditions=region),
            iam.PolicyStatement(actions=["iam:ListInstanceProfiles"], resources=["*"]),
            iam.PolicyStatement(actions=["cloudformation:DescribeStacks"], resources=[Stack.of(scope).stack_id]),
        ]

    def _sweeps(self, scope: Construct) -> list[iam.PolicyStatement]:
        name = self._cluster.name
        tagged = [
            ("ec2:DeleteNetworkInterface", "network-interface", labels.CNI_CLUSTER_TAG),
            *(
                ("ec2:DeleteLaunchTemplate", "launch-template", tag)
                for tag in (labels.EKS_CLUSTER_TAG, labels.OLD_CLUSTER_TAG)
            ),
        ]
        owned = {
            f"aws:ResourceTag/{labels.cluster_tag(name)}": "owned",
            "aws:ResourceTag/topology.kubernetes.io/region": Stack.of(scope).region,
        }
        profiles = list(self._profiles(scope))
        return [
            *(
                iam.PolicyStatement(
                    actions=[action],
                    resources=[_any(scope, kind)],
                    conditions={"StringEquals": {f"aws:ResourceTag/{tag}": name}},
                )
                for action, kind, tag in tagged
            ),
            iam.PolicyStatement(actions=["iam:GetInstanceProfile"], resources=profiles),
            iam.PolicyStatement(
                actions=["iam:DeleteInstanceProfile", "iam:RemoveRoleFromInstanceProfile"],
                resources=profiles,
                conditions={"StringEquals": owned},
            ),
        ]

    def _terminates(self, scope: Construct) -> list[iam.PolicyStatement]:
        if self._settings.on_drain_timeout != TERMINATE:
            return []
        owned = {f"aws:ResourceTag/{labels.cluster_tag(self._cluster.name)}": "owned"}
        return [
            iam.PolicyStatement(
                actions=["ec2:TerminateInstances"],
                resources=[_any(scope, "instance")],
                conditions={"StringEquals": owned, "StringLike": {f"aws:ResourceTag/{labels.NODEPOOL}": "*"}},
            )
        ]

    def _profiles(self, scope: Construct) -> tuple[str, str]:
        """The ARNs of Karpenter's instance profiles, from 1.7 on and before."""
        stack, name = Stack.of(scope), self._cluster.name
        begin = f"arn:{stack.partition}:iam::{stack.account}:instance-profile"
        return f"{begin}/karpenter/{stack.region}/{name}/*", f"{begin}/{name}_*"

    def _wide(self, scope: Construct) -> dict[str, str]:
        kinds = ["network-interface", "launch-template"]
        kinds += ["instance"] if self._settings.on_drain_timeout == TERMINATE else []
        because = "their names are not known before, and a condition keeps it to those with the cluster's tags"
        return dict.fromkeys([*(_any(scope, kind) for kind in kinds), *self._profiles(scope)], because)


def _any(scope: Construct, kind: str) -> str:
    return Stack.of(scope).format_arn(
        service="ec2", resource=kind, resource_name="*", arn_format=ArnFormat.SLASH_RESOURCE_NAME
    )
