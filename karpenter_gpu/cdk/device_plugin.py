"""NVIDIA's device plugin on the cluster."""

from __future__ import annotations

from aws_cdk import aws_eks_v2 as eks
from constructs import Construct

from karpenter_gpu.manifests.device_plugin import device_plugin
from karpenter_gpu.settings import DevicePlugin


class DevicePluginDaemonSet(Construct):
    """The DaemonSet that makes a node's GPUs known to Kubernetes.

    Args:
        plugin: Version and image.

        cluster: With a kubectl provider.
    """

    def __init__(self, scope: Construct, id: str, *, plugin: DevicePlugin, cluster: eks.ICluster) -> None:
        super().__init__(scope, id)
        self.manifest = eks.KubernetesManifest(
            self, "DaemonSet", cluster=cluster, manifest=[device_plugin(plugin)], prune=False
        )
