"""The nodes that Karpenter's controller runs on, which must outlast the nodes that it removes."""

from __future__ import annotations

from typing import Final

import jsii
from aws_cdk import Aspects, IAspect, Stack, Validations
from aws_cdk import aws_eks as eks_v1
from aws_cdk import aws_eks_v2 as eks_v2
from constructs import Construct, IConstruct, IDependable

from karpenter_gpu.cdk.drain import Drain
from karpenter_gpu.cdk.target import Target

# The labels of pods that a Fargate profile may select. Sources: EKS's coredns add-on; Karpenter's chart.
_COREDNS: Final = {"k8s-app": "kube-dns"}
_CONTROLLER: Final = {"app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter"}
_ADDONS: Final = (eks_v1.CfnAddon, eks_v2.CfnAddon, eks_v2.Addon)


@jsii.implements(IAspect)
class SystemNodeOrder:
    """Lets Karpenter wait for every node group and Fargate profile of the cluster, also those that come after it.

    An aspect, because it is visited when the app is complete and dependencies may still be added.

    Args:
        karpenter: The construct with all that needs the controller.

        cluster: Whose nodes.

        first: What is installed first, and so waits.

        drain: Removes the network interfaces that these nodes leave, which hold the cluster's security group and the VPC.

        namespace: The controller's.
    """

    def __init__(
        self, karpenter: Construct, cluster: Target, first: tuple[IConstruct, ...], drain: Drain, namespace: str
    ) -> None:
        self._karpenter, self._cluster, self._first, self._namespace = karpenter, cluster, first, namespace
        self._swept: Construct | None = None
        if cluster.is_made and Stack.of(cluster.cluster) is Stack.of(karpenter):
            self._swept = drain.sweep_system_nodes(karpenter, "SystemSweep")
        self.named: list[IDependable] = []
        # On a construct without children, so that it is visited once.
        Aspects.of(Construct(karpenter, "SystemNodes")).add(self)

    def visit(self, _: IConstruct) -> None:
        nodes = self._cluster.nodes()
        for group in nodes:
            if why := self._goes_first(group):
                Validations.of(self._karpenter).add_warning(
                    "karpenter-gpu:nodes-go-first",
                    f"{group.node.path} {why}, so a destroy deletes it before the GPU nodes are gone; the controller must have "
                    "other nodes to run on until then",
                )
                continue
            for one in self._first:
                one.node.add_dependency(group)
            if self._swept and Stack.of(group) is Stack.of(self._karpenter):
                for each in self._cluster.resources_of(group):
                    each.node.add_dependency(self._swept)
        self._warn_of_fargate(nodes)
        if self._cluster.is_made and not nodes and not self.named:
            Validations.of(self._karpenter).add_warning(
                "karpenter-gpu:no-system-nodes",
                f"the app has no node group or Fargate profile of cluster {self._cluster.name} on which the controller could run "
                "and that a destroy would keep until the GPU nodes are gone; name what makes its nodes with start_after",
            )

    def _warn_of_fargate(self, nodes: list[Construct]) -> None:
        """CoreDNS and the controller cannot wait for GPU nodes: these need them to come, and to be of use."""
        if not nodes or any(not isinstance(one, _ADDONS) for one in self.named):
            return
        for what, namespace, marks, way_out in (
            ("CoreDNS", "kube-system", _COREDNS, "give its add-on the configuration computeType Fargate"),
            ("Karpenter's controller", self._namespace, _CONTROLLER, "set on_fargate"),
        ):
            if not self._cluster.selected_on_fargate(nodes, namespace, marks):
                Validations.of(self._karpenter).add_warning(
                    f"karpenter-gpu:no-place-for-{what.rpartition(' ')[2].lower()}",
                    f"the nodes of cluster {self._cluster.name} are Fargate profiles, and none selects {what} (namespace "
                    f"{namespace}, {', '.join(f'{key}={value}' for key, value in marks.items())}), which runs on no GPU node; add a "
                    f"selector for it and {way_out}, as examples/fargate_cluster_v1.py does, or name what makes other nodes with "
                    "start_after",
                )

    def _goes_first(self, group: Construct) -> str:
        """Why nodes cannot be waited for; empty when they can."""
        here, there = Stack.of(self._karpenter), Stack.of(group)
        if here is there:
            ours = {one.node.path for one in self._karpenter.node.find_all()}
            needs = [one.node.path for one in group.node.dependencies]
            return "depends on Karpenter" if ours & set(needs) else ""
        is_above = self._cluster.is_made and Stack.of(self._cluster.cluster) is here
        return (
            f"is in stack {there.stack_name}, which depends on this one"
            if is_above or here in there.dependencies
            else ""
        )
