"""What watches the GPU nodes, on the cluster."""

from __future__ import annotations

from typing import Any, Final

from aws_cdk import Validations
from constructs import Construct

from karpenter_gpu import gpus, labels
from karpenter_gpu.cdk.target import Target, path_of
from karpenter_gpu.manifests.metrics import dcgm_exporter
from karpenter_gpu.settings import GpuPool, Health, Metrics, rules


def _node_selector_terms() -> list[dict[str, Any]]:
    """GPU nodes of Karpenter, whatever their type, and those of node groups."""
    amd64 = {"key": labels.ARCH, "operator": "In", "values": ["amd64"]}
    nvidia = {"key": labels.INSTANCE_GPU_MANUFACTURER, "operator": "In", "values": ["nvidia"]}
    named = {"key": labels.INSTANCE_TYPE, "operator": "In", "values": sorted(gpus.BY_NAME)}
    elsewhere = [
        {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["auto", "fargate", "hybrid"]},
        {"key": "sagemaker.amazonaws.com/compute-type", "operator": "NotIn", "values": ["hyperpod"]},
    ]
    return [{"matchExpressions": [nvidia, amd64]}, {"matchExpressions": [named, amd64, *elsewhere]}]


# Where its part that speaks with the GPUs is missing, the other part calls the hardware broken. By itself that part tolerates
# no taint, and goes to the instance types of a list that is as old as the add-on.
# Source: aws/eks-node-monitoring-agent charts/eks-node-monitoring-agent/values.yaml, v1.7.0.
EVERYWHERE: Final = {
    "dcgmAgent": {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": _node_selector_terms()}
            }
        },
        "tolerations": [{"operator": "Exists"}],
    }
}


class Monitoring(Construct):
    """The node monitoring agent and the metrics exporter, where they are asked for.

    Args:
        cluster: Where to.

        health: The agent.

        metrics: The exporter.
    """

    def __init__(
        self, scope: Construct, id: str, *, cluster: Target, health: Health | None, metrics: Metrics | None
    ) -> None:
        super().__init__(scope, id)
        self.paths: list[str] = []
        self._health, self._metrics = health, metrics
        if health is not None:
            cluster.addon(self, "NodeMonitoringAgent", "eks-node-monitoring-agent", health.version, EVERYWHERE)
        for document in dcgm_exporter(metrics) if metrics is not None else ():
            self.paths.append(path_of(document))
            cluster.manifest(self, document["kind"], document, overwrite=True)

    def warn(self, pool: GpuPool) -> None:
        """Say what of a pool is not watched."""
        for about, warning in rules.health_warnings(pool, self._health, self._metrics):
            Validations.of(self).add_warning(f"karpenter-gpu:{about}", warning)
