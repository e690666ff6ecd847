"""NVIDIA's device plugin on the cluster."""

from __future__ import annotations

from typing import Any

from constructs import Construct

from karpenter_gpu.cdk.target import Target, path_of
from karpenter_gpu.manifests.device_plugin import device_plugin, sharing_plugin
from karpenter_gpu.settings import DevicePlugin, GpuPool, Sharing


class DevicePluginDaemonSet(Construct):
    """The DaemonSet that makes a node's GPUs known to Kubernetes, and one more for each way in which pools share theirs.

    Args:
        plugin: Version and image; nothing is made where it is off.

        cluster: Where to.
    """

    def __init__(self, scope: Construct, id: str, *, plugin: DevicePlugin, cluster: Target) -> None:
        super().__init__(scope, id)
        self.settings = plugin
        self._cluster = cluster
        self._shared: set[Sharing] = set()
        self.paths: list[str] = []
        if plugin.enabled:
            self._manifest("DaemonSet", device_plugin(plugin))

    def share(self, pool: GpuPool) -> list[str]:
        """What shows the shares of a pool's GPUs, where its image does not; the paths of what was made now."""
        sharing = pool.sharing
        if not isinstance(sharing, Sharing) or pool.ami.family == "Bottlerocket" or sharing in self._shared:
            return []
        self._shared.add(sharing)
        before = len(self.paths)
        for document in sharing_plugin(self.settings, sharing):
            self._manifest(f"{document['kind']}-{document['metadata']['name']}", document)
        return self.paths[before:]

    def _manifest(self, id: str, document: dict[str, Any]) -> None:
        self.paths.append(path_of(document))
        # One that an earlier stack or attempt left is as good as a new one.
        self._cluster.manifest(self, id, document, overwrite=True)
