"""User data: what a pool's settings tell the image at boot, merged with what the user tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from karpenter_gpu.settings import GpuPool, MigSharing, Pool
from karpenter_gpu.settings.chart import merged
from karpenter_gpu.settings.sharing import MPS, mig_model
from karpenter_gpu.settings.user_data import NODE_CONFIG, bottlerocket_settings, parts


def user_data(pool: Pool) -> str | None:
    """The user data of an EC2NodeClass, to which Karpenter adds its own; None when there is nothing to say."""
    if not isinstance(pool, GpuPool):
        return pool.user_data
    if pool.ami.family == "Bottlerocket":
        return _toml(pool)
    if pool.fast_start:
        theirs = parts(pool.user_data) if pool.user_data else []
        return _mime([(NODE_CONFIG, _PARALLEL), *theirs])
    return pool.user_data


# Source: amazon-eks-ami nodeadm/doc/examples.md.
_PARALLEL: Final = """\
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  featureGates:
    FastImagePull: true
"""
_BOUNDARY: Final = "KARPENTER-GPU"


def _mime(parts: Iterable[tuple[str, str]]) -> str:
    """Parts as one document; of NodeConfigs what a later one says counts."""
    head = f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="{_BOUNDARY}"\n\n'
    body = "".join(f"--{_BOUNDARY}\nContent-Type: {kind}\n\n{content.rstrip()}\n\n" for kind, content in parts)
    return f"{head}{body}--{_BOUNDARY}--\n"


def _toml(pool: GpuPool) -> str | None:
    ours = merged(_shared(pool), _pulled(pool))
    if not ours:
        return pool.user_data
    import tomli_w  # noqa: PLC0415 - seldom needed

    theirs = bottlerocket_settings(pool.user_data or "")
    return tomli_w.dumps(merged(theirs, {"settings": ours}))


def _shared(pool: GpuPool) -> dict[str, Any]:
    """How the image's own device plugin shares GPUs.

    Its name for a share is another unless it is told so, and Karpenter would wait for ever for the one that pods ask for.

    Source: bottlerocket-core-kit packages/nvidia-k8s-device-plugin/nvidia-k8s-device-plugin-conf.in.
    """
    sharing = pool.sharing
    if sharing is None:
        return {}
    if isinstance(sharing, MigSharing):
        models = sorted({model.name for kind in pool.types if (model := mig_model(kind))})
        told: dict[str, Any] = {
            "device-partitioning-strategy": "mig",
            "mig": {"profile": dict.fromkeys(models, sharing.mig_profile)},
        }
    else:
        shared = {"replicas": sharing.replicas, "rename-by-default": False}
        if sharing.strategy != MPS:
            shared["fail-requests-greater-than-one"] = True
        told = {"device-sharing-strategy": sharing.strategy, sharing.strategy: shared}
    return {"kubelet-device-plugins": {"nvidia": told}}


def _pulled(pool: GpuPool) -> dict[str, Any]:
    """Images pulled and unpacked in parallel, as widely as AL2023 does it by itself.

    Sources: bottlerocket.dev, container-runtime-plugins (1.60); amazon-eks-ami
    nodeadm/internal/containerd/snapshotter/soci-snapshotter.config.toml.
    """
    if not pool.fast_start:
        return {}
    parallel = {
        "max-concurrent-downloads-per-image": 20,
        "concurrent-download-chunk-size": "16mb",
        "max-concurrent-unpacks-per-image": 12,
        "discard-unpacked-layers": True,
    }
    return {
        "container-runtime": {"snapshotter": "soci"},
        "container-runtime-plugins": {
            "soci-snapshotter": {"pull-mode": "parallel-pull-unpack", "parallel-pull-unpack": parallel}
        },
    }
