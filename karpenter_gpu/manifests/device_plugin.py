"""NVIDIA's device plugin as a DaemonSet on exactly the nodes that need it."""

from __future__ import annotations

from typing import Any, Final

from karpenter_gpu import labels
from karpenter_gpu.settings import DevicePlugin

NAME: Final = "nvidia-device-plugin"
NAMESPACE: Final = "kube-system"
_SOCKETS: Final = "/var/lib/kubelet/device-plugins"


def device_plugin(plugin: DevicePlugin) -> dict[str, Any]:
    """The DaemonSet.

    It goes where our label is and nowhere else, and there it stays whatever taints a pool adds. A plugin that finds no
    GPU fails, so that it is seen: it would otherwise wait in silence on a node that bills and never becomes ready.

    Source: NVIDIA/k8s-device-plugin deployments/static/nvidia-device-plugin.yml, v0.16.1 to v0.20.0.
    """
    selector = {"app.kubernetes.io/name": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": selector},
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": selector},
                "spec": {
                    "nodeSelector": {labels.DEVICE_PLUGIN_LABEL: labels.DEVICE_PLUGIN_VALUE},
                    "tolerations": [{"operator": "Exists"}],
                    "priorityClassName": "system-node-critical",
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": NAME,
                            "image": f"{plugin.image}:v{plugin.version}",
                            "env": [{"name": "FAIL_ON_INIT_ERROR", "value": "true"}],
                            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                            "volumeMounts": [{"name": "device-plugins", "mountPath": _SOCKETS}],
                        }
                    ],
                    "volumes": [{"name": "device-plugins", "hostPath": {"path": _SOCKETS}}],
                },
            },
        },
    }
