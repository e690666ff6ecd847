"""What a kubelet refuses before a container starts: kwok plays kubelets that would start anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
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
CSI_DRIVERS = "/apis/storage.k8s.io/v1/csidrivers"


class Refusal(NamedTuple):
    """Why a container waits: the reason in its state, and the kubelet's message."""

    reason: str
    message: str


class _Reference(NamedTuple):
    """What a pod takes from another object: the whole of it, or some keys."""

    kind: str
    name: str
    reason: str
    keys: tuple[str, ...] = ()


def is_image(reference: str) -> bool:
    """Whether a container runtime can read the name of an image."""
    match = IMAGE.fullmatch(reference)
    return match is not None and len(match["name"]) <= LONGEST_NAME and not ID.fullmatch(reference)


def refusal(pod: Document, kube: Kube) -> Refusal | None:
    """Why a kubelet does not start a pod's containers; None when it does."""
    return next((one for look in LOOKS for one in look(pod, kube)), None)


def _images(pod: Document, _: Kube) -> Iterator[Refusal]:
    """A name that no runtime can read, or an image that is to be on the node already, where nobody has put it."""
    volumes = [(one["name"], one["image"]) for one in pod["spec"].get("volumes") or [] if "image" in one]
    for name, image in [*((one["name"], one) for one in _containers(pod)), *volumes]:
        reference = image.get("image") or image.get("reference") or ""
        if not is_image(reference):
            said = f"couldn't parse image name {reference!r}: invalid reference format"
            yield Refusal("InvalidImageName", f"{name}: {said}")
        if image.get("imagePullPolicy", image.get("pullPolicy")) == "Never":
            said = f"image {reference!r} is not present with pull policy of Never"
            yield Refusal("ErrImageNeverPull", f"{name}: {said}")


def _references(pod: Document, kube: Kube) -> Iterator[Refusal]:
    """A ConfigMap or Secret, or a key of it, that is not there."""
    namespace = pod["metadata"]["namespace"]
    for kind, name, reason, keys in _referred(pod):
        there = kube.find(f"/api/v1/namespaces/{namespace}/{KINDS[kind]}/{name}")
        if there is None:
            yield Refusal(reason, f"{kind.lower()} {name!r} not found in namespace {namespace}")
            continue
        has = (there.get("data") or {}).keys() | (there.get("binaryData") or {}).keys()
        for key in keys:
            if key not in has:
                yield Refusal(reason, f"{kind.lower()} {name!r} in namespace {namespace} has no key {key!r}")


def _drivers(pod: Document, kube: Kube) -> Iterator[Refusal]:
    """A volume of a CSI driver that the cluster does not have, or that makes no volumes for a pod alone.

    Source: Kubernetes' pkg/volume/csi/csi_plugin.go, supportsVolumeLifecycleMode.
    """
    for volume in pod["spec"].get("volumes") or []:
        driver = (volume.get("csi") or {}).get("driver")
        if not driver:
            continue
        there = kube.find(f"{CSI_DRIVERS}/{driver}")
        said = f'volume {volume["name"]!r}: volume mode "Ephemeral" not supported by driver {driver}'
        if there is None:
            yield Refusal("FailedMount", f"{said} (no CSIDriver object)")
        elif "Ephemeral" not in (modes := there.get("spec", {}).get("volumeLifecycleModes") or ["Persistent"]):
            yield Refusal("FailedMount", f"{said} (only supports {', '.join(modes)})")


def _containers(pod: Document) -> list[Document]:
    return [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]


def _referred(pod: Document) -> Iterator[_Reference]:
    """What a pod's containers cannot do without."""
    for container in _containers(pod):
        for variable in container.get("env") or []:
            source = variable.get("valueFrom") or {}
            yield from _named(source, {kind: f"{kind}KeyRef" for kind in KINDS}, "CreateContainerConfigError")
        for source in container.get("envFrom") or []:
            yield from _named(source, {kind: f"{kind}Ref" for kind in KINDS}, "CreateContainerConfigError")
    for volume in pod["spec"].get("volumes") or []:
        for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
            yield from _named(source, {kind: kind for kind in KINDS}, "FailedMount")


def _named(source: Document, members: dict[str, str], reason: str) -> Iterator[_Reference]:
    for kind, member in members.items():
        named = source.get(member) or {}
        name = named.get("name") or named.get("secretName")
        if name and name != ROOT_CA and not named.get("optional"):
            keys = [named["key"]] if "key" in named else [item["key"] for item in named.get("items") or []]
            yield _Reference(kind, name, reason, tuple(keys))


# A port of the node that is taken is the scheduler's to see, and a runtime class that is not there the API server's.
LOOKS: tuple[Callable[[Document, Kube], Iterator[Refusal]], ...] = (_drivers, _images, _references)
