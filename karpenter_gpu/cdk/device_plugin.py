"""NVIDIA's device plugin on the cluster."""

from __future__ import annotations

from constructs import Construct

from karpenter_gpu.cdk.target import Target, path_of
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
        self.paths: list[str] = []
        if plugin.enabled:
            document = device_plugin(plugin)
            self.paths.append(path_of(document))
            # One that an earlier stack or attempt left is as good as a new one.
            cluster.manifest(self, "DaemonSet", document, overwrite=True)
