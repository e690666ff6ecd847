"""What watches the GPU nodes, on the cluster."""

from __future__ import annotations

from typing import Final

from aws_cdk import Validations
from constructs import Construct

from karpenter_gpu.cdk.target import Target, path_of
from karpenter_gpu.manifests.metrics import dcgm_exporter
from karpenter_gpu.settings import GpuPool, Health, Metrics, rules

# Its part that speaks with the GPUs tolerates nothing by itself; on a tainted node it is then missing, and the other part calls
# the hardware broken. Source: aws/eks-node-monitoring-agent charts/eks-node-monitoring-agent/values.yaml, v1.7.0.
TOLERANT: Final = {"dcgmAgent": {"tolerations": [{"operator": "Exists"}]}}


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
            cluster.addon(self, "NodeMonitoringAgent", "eks-node-monitoring-agent", TOLERANT)
        for document in dcgm_exporter(metrics) if metrics is not None else ():
            self.paths.append(path_of(document))
            cluster.manifest(self, document["kind"], document, overwrite=True)

    def warn(self, pool: GpuPool) -> None:
        """Say what of a pool is not watched."""
        for about, warning in rules.health_warnings(pool, self._health, self._metrics):
            Validations.of(self).add_warning(f"karpenter-gpu:{about}", warning)
