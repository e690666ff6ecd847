"""NVIDIA's DCGM exporter, beside the device plugin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from karpenter_gpu import labels
from karpenter_gpu.settings import Metrics

NAME: Final = "dcgm-exporter"
NAMESPACE: Final = "kube-system"
_PORT: Final = 9400
_PODS: Final = "/var/lib/kubelet/pod-resources"
_SELECTOR: Final = {"app.kubernetes.io/name": NAME}


def dcgm_exporter(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The DaemonSet, and what tells Prometheus's operator of it.

    It goes where a device plugin of ours goes, however GPUs are shared there, and whatever taints a pool adds.

    Source: NVIDIA/dcgm-exporter dcgm-exporter.yaml and service-monitor.yaml, 4.5.3-4.8.2.
    """
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": _SELECTOR}
    yield {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": _SELECTOR},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": _SELECTOR}, "spec": _pod(metrics)},
        },
    }
    if metrics.service_monitor:
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": _SELECTOR, "ports": [{"name": "metrics", "port": _PORT}]},
        }
        yield {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": {**metadata, "labels": {**_SELECTOR, **metrics.service_monitor_labels}},
            "spec": {
                "selector": {"matchLabels": _SELECTOR},
                "endpoints": [{"port": "metrics", "path": "/metrics"}],
            },
        }


def _pod(metrics: Metrics) -> dict[str, Any]:
    label = {"key": labels.DEVICE_PLUGIN_LABEL, "operator": "Exists"}
    told = {
        "DCGM_EXPORTER_LISTEN": f":{_PORT}",
        "DCGM_EXPORTER_KUBERNETES": "true",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    return {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [label]}]}
            }
        },
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-node-critical",
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": NAME,
                "image": f"{metrics.image}:{metrics.version}",
                "env": [
                    *({"name": name, "value": value} for name, value in told.items()),
                    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                ],
                "ports": [{"name": "metrics", "containerPort": _PORT}],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"cpu": "200m", "memory": "256Mi"},
                },
                # Upstream's: the counters of the processors need it.
                "securityContext": {
                    "runAsNonRoot": False,
                    "runAsUser": 0,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "pods", "mountPath": _PODS, "readOnly": True}],
            }
        ],
        "volumes": [{"name": "pods", "hostPath": {"path": _PODS}}],
    }
