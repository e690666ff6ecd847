"""What a kubelet refuses before a container starts: kwok plays kubelets that would start anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from eks_rehearsal.cluster.kube import Document, Kube

# https://github.com/distribution/reference, reference.go and normalize.go.
_DOMAIN = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_DOMAIN}(?:\.{_DOMAIN})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})"
IMAGE = re.compile(rf"(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)(?::{_TAG})?(?:@{_DIGEST})?", re.ASCII)
ID = re.compile(r"[0-9a-f]{64}")
LONGEST_NAME = 255
KINDS = {"configMap": "configmaps", "secret": "secrets"}
# The controller manager publishes it into every namespace.
ROOT_CA = "kube-root-ca.crt"


class Refusal(NamedTuple):
    """Why a container waits: the reason in its state, and the kubelet's message."""

    reason: str
    message: str


class _Reference(NamedTuple):
    """What a pod takes from another object."""

    kind: str
    name: str
    reason: str


def is_image(reference: str) -> bool:
    """Whether a container runtime can read the name of an image."""
    match = IMAGE.fullmatch(reference)
    return match is not None and len(match["name"]) <= LONGEST_NAME and not ID.fullmatch(reference)


def refusal(pod: Document, kube: Kube) -> Refusal | None:
    """Why a kubelet does not start a pod's containers; None when it does."""
    spec = pod["spec"]
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        if not is_image(container["image"]):
            said = f"couldn't parse image name {container['image']!r}: invalid reference format"
            return Refusal("InvalidImageName", f"container {container['name']}: {said}")
    namespace = pod["metadata"]["namespace"]
    for kind, name, reason in _references(spec):
        if kube.find(f"/api/v1/namespaces/{namespace}/{KINDS[kind]}/{name}") is None:
            return Refusal(reason, f"{kind.lower()} {name!r} not found in namespace {namespace}")
    return None


def _references(spec: Document) -> Iterator[_Reference]:
    """The ConfigMaps and Secrets that a pod's containers cannot do without."""
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        for variable in container.get("env") or []:
            source = variable.get("valueFrom") or {}
            yield from _named(source, {kind: f"{kind}KeyRef" for kind in KINDS}, "CreateContainerConfigError")
        for source in container.get("envFrom") or []:
            yield from _named(source, {kind: f"{kind}Ref" for kind in KINDS}, "CreateContainerConfigError")
    for volume in spec.get("volumes") or []:
        for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
            yield from _named(source, {kind: kind for kind in KINDS}, "FailedMount")


def _named(source: Document, keys: dict[str, str], reason: str) -> Iterator[_Reference]:
    for kind, key in keys.items():
        named = source.get(key) or {}
        name = named.get("name") or named.get("secretName")
        if name and name != ROOT_CA and not named.get("optional"):
            yield _Reference(kind, name, reason)
