"""NVIDIA's device plugin on the cluster."""

from __future__ import annotations

from constructs import Construct

from karpenter_gpu.cdk.target import Target
from karpenter_gpu.manifests.device_plugin import device_plugin
from karpenter_gpu.settings import DevicePlugin


class DevicePluginDaemonSet(Construct):
    """The DaemonSet that makes a node's GPUs known to Kubernetes.

    Args:
        plugin: Version and image; nothing is made where it is off.

        cluster: Where to.
    """

    def __init__(self, scope: Construct, id: str, *, plugin: DevicePlugin, cluster: Target) -> None:
        super().__init__(scope, id)
        if plugin.enabled:
            cluster.manifest(self, "DaemonSet", device_plugin(plugin))
