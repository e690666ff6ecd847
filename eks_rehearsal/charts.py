"""Puts a chart's files into an OCI registry, as Helm's own push does."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import requests
import yaml

from eks_rehearsal.errors import RehearsalError

CONFIG = "application/vnd.cncf.helm.config.v1+json"
LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push(chart: Path, registry: str, repository: str, version: str) -> None:
    """Push a chart's folder.

    Args:
        chart: The folder, with its Chart.yaml.

        registry: The registry's address, `http://127.0.0.1:PORT`.

        repository: The repository in it, `karpenter/karpenter`.

        version: The version it gets.

    Raises:
        RehearsalError: The registry refused.
    """
    about = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    config = json.dumps({**about, "version": version}).encode()
    layer = _packed(chart, repository.rpartition("/")[2])
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(registry, repository, config, CONFIG),
        "layers": [_blob(registry, repository, layer, LAYER)],
    }
    # Helm asks for a version's `+`, which a tag cannot have, as `_`.
    address = f"{registry}/v2/{repository}/manifests/{version.replace('+', '_')}"
    _check(_sent("PUT", address, data=json.dumps(manifest), headers={"Content-Type": MANIFEST}), repository)


def _blob(registry: str, repository: str, data: bytes, type: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    started = _sent("POST", f"{registry}/v2/{repository}/blobs/uploads/")
    _check(started, repository)
    address = started.headers["Location"]
    address = address if address.startswith("http") else f"{registry}{address}"
    _check(_sent("PUT", address, params={"digest": digest}, data=data), repository)
    return {"mediaType": type, "digest": digest, "size": len(data)}


def _sent(method: str, address: str, **more: Any) -> requests.Response:
    """A request past any proxy of the machine: the registry is on it."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, address, timeout=60, **more)


def _packed(chart: Path, name: str) -> bytes:
    """The chart as Helm packs it: a tar file whose only folder has the chart's name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(chart, arcname=name)
    return packed.getvalue()


def _check(answer: requests.Response, repository: str) -> None:
    if not answer.ok:
        raise RehearsalError(f"the local registry refused {repository}: {answer.status_code} {answer.text[:200]}")
