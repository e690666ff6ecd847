"""A pod that asks for one GPU, to see the whole story once."""

from __future__ import annotations

from typing import Any, Final

from karpenter_gpu import labels

NAME: Final = "ai-workload"
IMAGE: Final = "nvcr.io/nvidia/cuda:12.2.2-base-ubuntu22.04"


def ai_workload() -> dict[str, Any]:
    """A pod that any pool without taints of its own takes: it prints what GPU it got, works a minute, and ends."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME},
        "spec": {
            "restartPolicy": "Never",
            "tolerations": [{"key": labels.GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [
                {
                    "name": NAME,
                    "image": IMAGE,
                    "command": ["sh", "-c", "nvidia-smi && sleep 60"],
                    "resources": {"limits": {labels.GPU_RESOURCE: "1"}},
                }
            ],
        },
    }
