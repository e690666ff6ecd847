"""User data of one's own: what the image of a family can read of it, and what is not there to be set."""

from __future__ import annotations

import email
import sys
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any, Final

from karpenter_gpu.errors import Fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NODE_CONFIG: Final = "application/node.eks.aws"
SHELL_SCRIPT: Final = "text/x-shellscript"

# The limit before base64, of which Karpenter's part with the cluster's certificate, labels and taints needs up to a quarter, and
# what this package adds less than 1 KiB. Source: EC2 API reference, RunInstances.
_EC2_BYTES: Final = 16 * 1024
MOST_BYTES: Final = _EC2_BYTES - 4 * 1024 - 1024
# What cloud-init and nodeadm take. Source: cloud-init docs/explanation/format; amazon-eks-ami nodeadm/internal/configprovider.
_PARTS: Final = (NODE_CONFIG, SHELL_SCRIPT, "text/cloud-config", "text/cloud-boothook")

_Path = tuple[str, ...]

# Source: karpenter-provider-aws pkg/providers/amifamily/bootstrap/bottlerocket.go.
_KARPENTERS_TOML: Final[Mapping[_Path, str]] = {
    ("settings", "kubernetes", "cluster-name"): "leave it out: Karpenter sets it",
    ("settings", "kubernetes", "api-server"): "leave it out: Karpenter sets it",
    ("settings", "kubernetes", "cluster-certificate"): "leave it out: Karpenter sets it",
    ("settings", "kubernetes", "node-labels"): "use labels",
    ("settings", "kubernetes", "node-taints"): "use taints",
}
# Source: karpenter-provider-aws pkg/providers/amifamily/bootstrap/nodeadm.go.
_KARPENTERS_NODE_CONFIG: Final[Mapping[_Path, str]] = {
    ("spec", "cluster"): "leave it out: Karpenter sets it",
}
# Setting -> what is then not there to be set, in either form.
_OF_SETTINGS: Final[Mapping[str, tuple[_Path, ...]]] = {
    "sharing": (("settings", "kubelet-device-plugins"),),
    "fast_start": (
        ("settings", "container-runtime", "snapshotter"),
        ("settings", "container-runtime-plugins"),
        ("spec", "featureGates", "FastImagePull"),
    ),
}


def user_data_faults(text: str, ami_family: str, settings: Mapping[str, object]) -> Iterator[Fault]:
    """What keeps an image of a family from taking user data as it is meant.

    Args:
        text: As the user gave it.

        settings: Those of the pool that write user data themselves, by name.
    """
    size = len(text.encode(errors="replace"))
    if size > MOST_BYTES:
        yield Fault(
            "",
            f"has {size} bytes and may have {MOST_BYTES}: EC2 takes {_EC2_BYTES} with what Karpenter and karpenter-gpu add; let it "
            "fetch the rest when it runs",
        )
        return
    owned = {path: f"use {name}" for name, paths in _OF_SETTINGS.items() if settings.get(name) for path in paths}
    if ami_family == "Bottlerocket":
        yield from _toml_faults(text, owned)
        return
    try:
        found = parts(text)
    except ValueError as error:
        yield Fault("", str(error))
        return
    for kind, content in found:
        yield from _part_faults(kind, content, ami_family, owned)


def parts(text: str) -> list[tuple[str, str]]:
    """The parts of user data for Amazon Linux, each with its type.

    Raises:
        ValueError: It is of no form that Karpenter takes.
    """
    if text.startswith("#!"):
        return [(SHELL_SCRIPT, text)]
    if "kind: NodeConfig" in text and not text.lower().startswith(("mime-version:", "content-type:")):
        return [(NODE_CONFIG, text)]
    message = email.message_from_string(text)
    found = [(part.get_content_type(), _content(part)) for part in message.walk() if not part.is_multipart()]
    if not message.is_multipart() or not found:
        raise ValueError(
            "is neither a multipart MIME document, nor a shell script with #! in its first line, nor a NodeConfig of AL2023; "
            "write it as one of them"
        )
    return found


def _content(part: Message) -> str:
    content = part.get_payload(decode=True)
    return content.decode(errors="replace") if isinstance(content, bytes) else ""


def _part_faults(kind: str, content: str, ami_family: str, owned: Mapping[_Path, str]) -> Iterator[Fault]:
    if kind not in _PARTS:
        yield Fault("", f"has a part of the type {kind}, which nothing reads at boot; use {', '.join(_PARTS)}")
    elif kind == SHELL_SCRIPT and not content.startswith("#!"):
        yield Fault(
            "", "has a shell script without #! in its first line, which cloud-init does not run; begin with #!/bin/bash"
        )
    elif kind == NODE_CONFIG and ami_family != "AL2023":
        yield Fault("", f"has a NodeConfig, which AL2023 reads and {ami_family} does not; use a shell script")
    elif kind == NODE_CONFIG:
        yield from _node_config_faults(content, owned)


def _node_config_faults(content: str, owned: Mapping[_Path, str]) -> Iterator[Fault]:
    import yaml  # noqa: PLC0415 - slow, and seldom needed

    try:
        documents = list(yaml.safe_load_all(content))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        yield Fault("", f"has a NodeConfig that is not YAML: {' '.join(str(error).split())}; correct it")
        return
    if len(documents) > 1:
        yield Fault(
            "",
            f"has {len(documents)} NodeConfigs in one part, of which nodeadm reads the first; make each a part of a MIME document",
        )
        return
    for document in documents:
        kind = document.get("kind") if isinstance(document, Mapping) else None
        if kind != "NodeConfig" or document.get("apiVersion") != "node.eks.aws/v1alpha1":
            yield Fault(
                "",
                "has a NodeConfig without apiVersion: node.eks.aws/v1alpha1 and kind: NodeConfig; begin it with these",
            )
        else:
            yield from _owned_faults(document, {**_KARPENTERS_NODE_CONFIG, **owned})


def _toml_faults(text: str, owned: Mapping[_Path, str]) -> Iterator[Fault]:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        yield Fault("", f"is not TOML, which Bottlerocket reads: {' '.join(str(error).split())}; correct it")
        return
    for key in document:
        if key != "settings":
            yield Fault("", f"{key!r} is not a table that Bottlerocket reads; put it under [settings]")
    yield from _owned_faults(document, {**_KARPENTERS_TOML, **owned})


def _owned_faults(document: Any, owned: Mapping[_Path, str]) -> Iterator[Fault]:
    for path, why in owned.items():
        found = document
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is not None:
            yield Fault("", f"{'.'.join(path)} is managed by karpenter-gpu; {why}")


def bottlerocket_settings(text: str) -> dict[str, Any]:
    """User data of Bottlerocket, read."""
    return tomllib.loads(text)
