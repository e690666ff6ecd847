"""What an instance's user data tells its kubelet, in each AMI family's own form."""

from __future__ import annotations

import email
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from eks_rehearsal.errors import NotEmulated

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NODE_CONFIG = "application/node.eks.aws"
BOOTSTRAP = re.compile(r"/etc/eks/bootstrap\.sh\s+(?P<rest>.*)")
TAINT = re.compile(r"^(?P<key>[^=:]+)(=(?P<value>[^:]*))?:(?P<effect>\w+)$")


@dataclass(frozen=True)
class Registration:
    """How a node is to register.

    Args:
        cluster: The cluster's name.

        endpoint: The API server's URL; empty where the user data leaves it to be looked up.

        labels: Its labels.

        taints: Its taints, as the Kubernetes API has them.

        brings_device_plugin: Whether the image runs NVIDIA's device plugin by itself.

        device_plugin: What that is told.
    """

    cluster: str
    endpoint: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    brings_device_plugin: bool = False
    device_plugin: Mapping[str, Any] = field(default_factory=dict)


def registration(user_data: str) -> Registration:
    """Read user data as the image that boots with it would.

    Raises:
        NotEmulated: It is of no family that the rehearsal knows.
    """
    if NODE_CONFIG in user_data or "kind: NodeConfig" in user_data:
        return _nodeadm(user_data)
    if match := BOOTSTRAP.search(_joined(user_data)):
        return _bootstrap(match["rest"])
    if "[settings.kubernetes]" in user_data or "[settings" in user_data:
        return _bottlerocket(user_data)
    raise NotEmulated(
        "the instance's user data is neither a NodeConfig (AL2023), a call of bootstrap.sh (AL2) nor Bottlerocket's "
        f"settings, so no node can come of it; it begins with {user_data[:60]!r}"
    )


def _nodeadm(user_data: str) -> Registration:
    parts = [part.get_payload(decode=True) for part in email.message_from_string(user_data).walk() if _is_config(part)]
    documents = [yaml.safe_load(part) for part in parts if isinstance(part, bytes)] or [yaml.safe_load(user_data)]
    cluster: dict[str, Any] = {}
    flags: list[str] = []
    config: dict[str, Any] = {}
    for document in documents:
        spec = document.get("spec") or {}
        kubelet = spec.get("kubelet") or {}
        cluster.update(spec.get("cluster") or {})
        # A shell's quotes are in them: nodeadm hands them to systemd, which takes the quotes away.
        flags += [word for flag in kubelet.get("flags") or [] for word in shlex.split(flag)]
        config.update(kubelet.get("config") or {})
    labels, taints = _from_flags(flags)
    taints += tuple(dict(taint) for taint in config.get("registerWithTaints") or [])
    return Registration(cluster.get("name", ""), cluster.get("apiServerEndpoint", ""), labels, taints)


def _is_config(part: Any) -> bool:
    return bool(part.get_content_type() == NODE_CONFIG)


def _bootstrap(rest: str) -> Registration:
    words = iter(shlex.split(rest))
    options: dict[str, str] = {}
    cluster = ""
    for word in words:
        # Each option of bootstrap.sh has a value, which may begin with dashes, too.
        if word.startswith("--"):
            options[word] = next(words, "")
        else:
            cluster = cluster or word
    labels, taints = _from_flags(shlex.split(options.get("--kubelet-extra-args", "")))
    return Registration(cluster, options.get("--apiserver-endpoint", ""), labels, taints)


def _bottlerocket(user_data: str) -> Registration:
    whole = tomllib.loads(user_data)["settings"]
    settings = whole["kubernetes"]
    taints = tuple(taint for key, said in settings.get("node-taints", {}).items() for taint in _spread(key, said))
    return Registration(
        settings["cluster-name"],
        settings.get("api-server", ""),
        settings.get("node-labels", {}),
        taints,
        brings_device_plugin=True,
        device_plugin=whole.get("kubelet-device-plugins", {}).get("nvidia", {}),
    )


def _spread(key: str, said: str | list[str]) -> list[Mapping[str, str]]:
    return [_taint(f"{key}={one}") for one in ([said] if isinstance(said, str) else said)]


def _from_flags(flags: list[str]) -> tuple[dict[str, str], tuple[Mapping[str, str], ...]]:
    labels: dict[str, str] = {}
    taints: tuple[Mapping[str, str], ...] = ()
    for flag in flags:
        name, _, said = flag.lstrip("-").partition("=")
        items = [item for item in said.split(",") if item]
        # The kubelet adds labels that are given again to those before, and of taints it takes the last.
        if name == "node-labels":
            labels.update((key, value) for key, _, value in (item.partition("=") for item in items))
        elif name == "register-with-taints":
            taints = tuple(_taint(item) for item in items)
    return labels, taints


def _taint(text: str) -> Mapping[str, str]:
    match = TAINT.match(text)
    if match is None:
        raise NotEmulated(f"the user data registers the node with the taint {text!r}, which is none")
    return {"key": match["key"], "effect": match["effect"], **({"value": match["value"]} if match["value"] else {})}


def _joined(text: str) -> str:
    """A shell script with its continued lines joined."""
    return text.replace("\\\n", " ")
