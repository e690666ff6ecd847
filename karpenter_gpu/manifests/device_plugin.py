"""NVIDIA's device plugin as a DaemonSet on exactly the nodes that need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from karpenter_gpu import labels
from karpenter_gpu.settings import MPS, DevicePlugin, Sharing

NAME: Final = "nvidia-device-plugin"
NAMESPACE: Final = "kube-system"
_SOCKETS: Final = "/var/lib/kubelet/device-plugins"
_CONFIG: Final = "config.json"
_MPS_ROOT: Final = "/run/nvidia/mps"


def device_plugin(plugin: DevicePlugin) -> dict[str, Any]:
    """The DaemonSet for nodes whose GPUs are not shared.

    It goes where our label is and nowhere else, and there it stays whatever taints a pool adds. A plugin that finds no
    GPU fails, so that it is seen: it would otherwise wait in silence on a node that bills and never becomes ready.

    Source: NVIDIA/k8s-device-plugin deployments/static/nvidia-device-plugin.yml, v0.16.1 to v0.20.0.
    """
    return _daemon_set(NAME, labels.DEVICE_PLUGIN_VALUE, _plugin_pod(plugin))


def sharing_plugin(plugin: DevicePlugin, sharing: Sharing) -> Iterator[dict[str, Any]]:
    """The configuration and the DaemonSets for nodes whose GPUs are shared in one way; with MPS its control daemon, too.

    Source: NVIDIA/k8s-device-plugin api/config/v1 and deployments/helm/nvidia-device-plugin, v0.16.1 to v0.20.0.
    """
    name = f"{NAME}-{sharing.profile}"
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {_CONFIG: json.dumps(_config(sharing))},
    }
    yield _daemon_set(name, sharing.profile, _configured(_plugin_pod(plugin), name, sharing))
    if sharing.strategy == MPS:
        daemon = f"nvidia-{sharing.profile}-daemon"
        # Pods lose the GPU when it restarts under them, so another version comes with the next node.
        yield _daemon_set(daemon, sharing.profile, _configured(_mps_pod(plugin), name, sharing), update="OnDelete")


def _config(sharing: Sharing) -> dict[str, Any]:
    # A pod that asks for two shares would get no more than for one.
    shared = {
        "failRequestsGreaterThanOne": True,
        "resources": [{"name": labels.GPU_RESOURCE, "replicas": sharing.replicas}],
    }
    return {"version": "v1", "sharing": {"mps" if sharing.strategy == MPS else "timeSlicing": shared}}


def _daemon_set(name: str, value: str, pod: dict[str, Any], *, update: str = "RollingUpdate") -> dict[str, Any]:
    selector = {"app.kubernetes.io/name": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": selector},
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": update},
            "template": {
                "metadata": {"labels": selector},
                "spec": {
                    "nodeSelector": {labels.DEVICE_PLUGIN_LABEL: value},
                    "tolerations": [{"operator": "Exists"}],
                    "priorityClassName": "system-node-critical",
                    "automountServiceAccountToken": False,
                    **pod,
                },
            },
        },
    }


def _plugin_pod(plugin: DevicePlugin) -> dict[str, Any]:
    return {
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
    }


def _mps_pod(plugin: DevicePlugin) -> dict[str, Any]:
    """The daemon through which pods reach a GPU at once; it must see the processes of the node."""
    image, privileged = f"{plugin.image}:v{plugin.version}", {"privileged": True}
    gpus = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    root = {"name": "mps-root", "mountPath": "/mps", "mountPropagation": "Bidirectional"}
    return {
        "hostPID": True,
        "initContainers": [
            {
                "name": "mounts",
                "image": image,
                "command": ["mps-control-daemon", "mount-shm"],
                "securityContext": privileged,
                "volumeMounts": [root],
            }
        ],
        "containers": [
            {
                "name": "mps-control-daemon",
                "image": image,
                "command": ["mps-control-daemon"],
                "env": [
                    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    *({"name": name, "value": value} for name, value in gpus.items()),
                ],
                "securityContext": privileged,
                "volumeMounts": [],
            }
        ],
        "volumes": [],
    }


def _configured(pod: dict[str, Any], config_map: str, sharing: Sharing) -> dict[str, Any]:
    """A pod whose program reads how GPUs are shared, and with MPS has its folders."""
    (container,) = pod["containers"]
    container.setdefault("env", []).append({"name": "CONFIG_FILE", "value": f"/config/{_CONFIG}"})
    container["volumeMounts"].append({"name": "config", "mountPath": "/config"})
    pod["volumes"].append({"name": "config", "configMap": {"name": config_map}})
    if sharing.strategy == MPS:
        container["env"].append({"name": "MPS_ROOT", "value": _MPS_ROOT})
        container["volumeMounts"] += [
            {"name": "mps-shm", "mountPath": "/dev/shm"},  # noqa: S108 - the container's
            {"name": "mps-root", "mountPath": "/mps"},
        ]
        pod["volumes"] += [
            {"name": "mps-root", "hostPath": {"path": _MPS_ROOT, "type": "DirectoryOrCreate"}},
            {"name": "mps-shm", "hostPath": {"path": f"{_MPS_ROOT}/shm"}},
        ]
    return pod
