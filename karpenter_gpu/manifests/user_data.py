"""User data: what a pool's settings tell the image at boot, merged with what the user tells it."""

from __future__ import annotations

from typing import Any

from karpenter_gpu.settings import GpuPool, MigSharing
from karpenter_gpu.settings.chart import merged
from karpenter_gpu.settings.sharing import MPS, mig_model
from karpenter_gpu.settings.user_data import bottlerocket_settings


def user_data(pool: GpuPool) -> str | None:
    """The user data of an EC2NodeClass, to which Karpenter adds its own; None when there is nothing to say."""
    if pool.ami.family == "Bottlerocket":
        return _toml(pool)
    return pool.user_data


def _toml(pool: GpuPool) -> str | None:
    ours = merged(_shared(pool), {})
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
