"""What NVIDIA's device plugin shows of a machine's GPUs: as many as its own configuration says, and under its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from eks_rehearsal.cluster.kube import Document, Kube
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.labels import GPU_RESOURCE

IMAGE = re.compile(r"k8s-device-plugin")
MPS_DAEMON = "mps-control-daemon"
SHARED = f"{GPU_RESOURCE}.shared"
PROFILE = re.compile(r"(?P<slices>[1-7])g\.(?P<gb>\d+)gb")
# How many of the parts that a GPU's processors are in.
SLICES = 7


def runs_plugin(spec: Document) -> bool:
    """Whether pods of a spec run the device plugin; the daemon of MPS is of the same image."""
    return _runs(spec) and not runs_mps_daemon(spec)


def runs_mps_daemon(spec: Document) -> bool:
    """Whether pods of a spec run the daemon through which processes share a GPU at once."""
    return _runs(spec) and any(MPS_DAEMON in (one.get("command") or []) for one in spec["containers"])


def _runs(spec: Document) -> bool:
    return any(IMAGE.search(container["image"]) for container in spec["containers"])


def gpu_count(kind: Mapping[str, Any]) -> int:
    """How many NVIDIA GPUs an instance type has; a part of one (g6f, gr6f) is one, where EC2 counts none."""
    gpus = kind.get("GpuInfo", {}).get("Gpus", [])
    return sum(gpu.get("LogicalGpuCount", gpu["Count"]) for gpu in gpus if gpu.get("Manufacturer") == "NVIDIA")


def shown(config: Mapping[str, Any], gpus: int) -> dict[str, str]:
    """The resources that a plugin with a configuration shows of so many GPUs.

    Source: NVIDIA/k8s-device-plugin api/config/v1/{config,replicas}.go.

    Raises:
        RehearsalError: The plugin would end with an error.
    """
    if not config:
        return {GPU_RESOURCE: str(gpus)}
    if config.get("version") != "v1":
        raise RehearsalError(f"unknown version of the device plugin's configuration: {config.get('version')!r}")
    shared = _shared(config)
    name = SHARED if shared.get("renameByDefault") else GPU_RESOURCE
    for one in shared.get("resources") or []:
        if one.get("replicas", 0) < 2:
            raise RehearsalError(
                f"the device plugin's configuration has {one.get('replicas')} replicas, and 2 are the least"
            )
        if one["name"] in {"gpu", GPU_RESOURCE}:
            return {name: str(gpus * one["replicas"])}
    return {GPU_RESOURCE: str(gpus)}


def uses_mps(config: Mapping[str, Any]) -> bool:
    """Whether a plugin waits for the daemon of MPS."""
    return bool((config.get("sharing") or {}).get("mps"))


def _shared(config: Mapping[str, Any]) -> Mapping[str, Any]:
    sharing = config.get("sharing") or {}
    shared: Mapping[str, Any] = sharing.get("mps") or sharing.get("timeSlicing") or {}
    return shared


def config_of(pod: Document, kube: Kube) -> Mapping[str, Any]:
    """The configuration that a plugin's pod reads of a ConfigMap; empty where it reads none.

    Raises:
        RehearsalError: It is not there, or cannot be read.
    """
    spec = pod["spec"]
    for container in spec["containers"]:
        file = next((one.get("value", "") for one in container.get("env") or [] if one["name"] == "CONFIG_FILE"), "")
        for mount in container.get("volumeMounts") or []:
            folder = mount["mountPath"].rstrip("/")
            volume: Document = next((one for one in spec.get("volumes") or [] if one["name"] == mount["name"]), {})
            if file.rpartition("/")[0] == folder and "configMap" in volume:
                return _read(kube, pod["metadata"]["namespace"], volume["configMap"]["name"], file.rpartition("/")[2])
    return {}


def _read(kube: Kube, namespace: str, name: str, key: str) -> Mapping[str, Any]:
    there = kube.find(f"/api/v1/namespaces/{namespace}/configmaps/{name}") or {}
    try:
        config = yaml.safe_load((there.get("data") or {})[key])
    except (KeyError, yaml.YAMLError) as error:
        raise RehearsalError(f"ConfigMap {name} has no configuration under {key!r}: {error}") from None
    if not isinstance(config, Mapping):
        raise RehearsalError(f"ConfigMap {name} has no configuration under {key!r}")
    return config


def shown_by_bottlerocket(settings: Mapping[str, Any], kind: Mapping[str, Any]) -> dict[str, str]:
    """What the plugin of Bottlerocket shows, by `settings.kubelet-device-plugins.nvidia`.

    Source: bottlerocket-core-kit packages/nvidia-k8s-device-plugin/nvidia-k8s-device-plugin-conf.in.
    """
    strategy = settings.get("device-sharing-strategy")
    said = settings.get(strategy, {}) if strategy in {"time-slicing", "mps"} else None
    config = {}
    if said is not None:
        shared = {
            "renameByDefault": said.get("rename-by-default", True),
            "resources": [{"name": GPU_RESOURCE, "replicas": said.get("replicas", 2)}],
        }
        config = {"version": "v1", "sharing": {"mps" if strategy == "mps" else "timeSlicing": shared}}
    gpus = gpu_count(kind)
    if settings.get("device-partitioning-strategy") == "mig":
        gpus *= mig_instances(settings.get("mig", {}).get("profile", {}), kind)
    return shown(config, gpus) if gpus else {}


def mig_instances(profiles: Mapping[str, str], kind: Mapping[str, Any]) -> int:
    """How many instances each GPU is cut into: as many as its processors and its memory make.

    Source: NVIDIA MIG user guide, "Partitioning".
    """
    gpu = kind["GpuInfo"]["Gpus"][0]
    memory = gpu["MemoryInfo"]["SizeInMiB"] / 1024
    match = PROFILE.fullmatch(profiles.get(f"{gpu['Name'].lower()}.{memory:.0f}gb", ""))
    # A profile leaves a little of the memory to nobody.
    return min(SLICES // int(match["slices"]), round(memory / int(match["gb"]))) if match else 1
