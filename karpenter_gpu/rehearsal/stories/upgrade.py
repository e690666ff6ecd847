"""Changed settings are deployed over the running stack, and the running pod stays where it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from karpenter_gpu.errors import StoryFailed
from karpenter_gpu.rehearsal.assembly import HELM_CHART
from karpenter_gpu.rehearsal.cluster.kube import Document
from karpenter_gpu.rehearsal.scene import NODEPOOLS, Scene
from karpenter_gpu.rehearsal.stories.story import NotPlayed, Story

MANIFEST = "Custom::AWSCDK-EKS-KubernetesResource"
MARK = "rehearsal/upgraded"
CONTROLLERS = "/api/v1/pods"


def play(scene: Scene) -> None:
    pool = scene.pools()[0]
    workload = scene.start("long-running", pool=pool)
    scene.until("the pod to run", lambda: workload.pods("Running"), seconds=90)
    (before,) = workload.pods("Running")
    old = {pod["metadata"]["uid"] for pod in _controllers(scene)}

    changed = _changed(scene, pool.name)
    scene.timeline.add("story", "cdk deploy", "a chart value and a pool's label are changed")
    said = scene.account.deploy(changed)
    if said.exit_code:
        raise StoryFailed(f"cdk deploy of the changed stack failed: {said.output.strip().splitlines()[-1]}")
    scene.until(
        "the new controllers to be ready",
        lambda: (
            len(fresh := [pod for pod in _controllers(scene) if pod["metadata"]["uid"] not in old]) == len(old)
            and all(_ready(pod) for pod in fresh)
        ),
        seconds=90,
    )
    labels = scene.kube.get(f"{NODEPOOLS}/{pool.name}")["metadata"].get("labels", {})
    scene.check("the pool has its new label", holds=labels.get("rehearsal") == "upgraded")
    (after,) = workload.pods("Running")
    same = all(before[part][key] == after[part][key] for part, key in (("metadata", "uid"), ("spec", "nodeName")))
    scene.check("the running pod stayed on its node", holds=same)
    scene.check("no node was replaced for it", holds=len(scene.claims()) == 1)


def _changed(scene: Scene, pool: str) -> Path:
    """A copy of the assembly in which the controller's pods have an annotation more, and the pool a label."""
    folder = scene.account.processes.folder / "upgraded"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scene.account.assembly.folder, folder)
    changes = 0
    for path in folder.glob("*.template.json"):
        template = json.loads(path.read_text(encoding="utf-8"))
        for resource in template["Resources"].values():
            properties = resource.get("Properties", {})
            if resource["Type"] == HELM_CHART and str(properties.get("Repository", "")).endswith("/karpenter"):
                changes += _edit(properties, "Values", _annotate)
            if resource["Type"] == MANIFEST:
                changes += _edit(properties, "Manifest", lambda text: _label(text, pool))
        path.write_text(json.dumps(template), encoding="utf-8")
        _publish_anew(folder, path)
    if changes < 2:
        raise NotPlayed("the stack's chart and pools are not written as this project's constructs write them")
    return folder


def _publish_anew(folder: Path, template: Path) -> None:
    """Name a changed template by its content, as synthesis does: what is published already is not published again."""
    for assets in folder.glob("*.assets.json"):
        for id, file in json.loads(assets.read_text(encoding="utf-8"))["files"].items():
            if file["source"]["path"] == template.name:
                new = hashlib.sha256(template.read_bytes()).hexdigest()
                for listing in (assets, folder / "manifest.json"):
                    listing.write_text(listing.read_text(encoding="utf-8").replace(id, new), encoding="utf-8")


def _edit(properties: dict[str, Any], key: str, edit: Callable[[str], str]) -> int:
    """Edit a text, or the first part of one that is joined; how many texts changed."""
    value = properties[key]
    parts = value["Fn::Join"][1] if isinstance(value, dict) and "Fn::Join" in value else [value]
    if not isinstance(parts[0], str):
        return 0
    new = edit(parts[0])
    if isinstance(value, dict):
        changed = int(parts[0] != new)
        parts[0] = new
        return changed
    properties[key] = new
    return int(value != new)


def _annotate(values: str) -> str:
    return values.replace("{", '{"podAnnotations":{"' + MARK + '":"true"},', 1)


def _label(manifest: str, pool: str) -> str:
    name = f'"kind":"NodePool","metadata":{{"name":"{pool}"'
    return manifest.replace(name, f'{name},"labels":{{"rehearsal":"upgraded"}}')


def _controllers(scene: Scene) -> list[Document]:
    found = scene.kube.items(CONTROLLERS, labelSelector="app.kubernetes.io/name=karpenter")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def _ready(pod: Document) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


STORY = Story("upgrade", "changed settings, deployed over a running pod", play)
