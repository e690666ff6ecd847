"""Changed settings are deployed over the running stack, and the running pod stays where it is."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from karpenter_gpu.errors import StoryFailed
from karpenter_gpu.rehearsal.assembly import HELM_CHART
from karpenter_gpu.rehearsal.cluster.kube import Document, condition
from karpenter_gpu.rehearsal.scene import NODEPOOLS, Scene
from karpenter_gpu.rehearsal.stories.story import NotPlayed, Story

MANIFEST = "Custom::AWSCDK-EKS-KubernetesResource"
MARK = "rehearsal/upgraded"
CONTROLLERS = "/api/v1/pods"
# Longer than Karpenter takes to find that a node has drifted.
HOLD_SECONDS = 15.0


def play(scene: Scene) -> None:
    pool = scene.pools()[0]
    workload = scene.start("long-running", pool=pool)
    before = scene.running(workload)
    (claim,) = scene.claims()
    old = {pod["metadata"]["uid"] for pod in _controllers(scene)}

    changed = _changed(scene, pool.name)
    scene.timeline.add("story", "cdk deploy", "a chart value and a field of a pool are changed")
    said = scene.account.deploy(changed)
    if said.exit_code:
        raise StoryFailed(f"cdk deploy of the changed stack failed: {said.last_line}")
    scene.until("the new controllers to be ready", lambda: _new(scene, old), seconds=90)
    time.sleep(HOLD_SECONDS)
    spec = scene.kube.get(f"{NODEPOOLS}/{pool.name}")["spec"]
    scene.check("the pool has its new weight", holds=spec.get("weight") == _raised(pool.document["spec"]))
    after = {pod["metadata"]["uid"]: pod["spec"]["nodeName"] for pod in workload.pods("Running")}
    stayed = after.get(before["metadata"]["uid"]) == before["spec"]["nodeName"]
    scene.check("the running pod stayed on its node", holds=stayed)
    now = scene.claims()
    scene.check(
        "no node was replaced for it", holds=[one["metadata"]["uid"] for one in now] == [claim["metadata"]["uid"]]
    )
    scene.check("and none has drifted", holds=all(condition(one, "Drifted") != "True" for one in now))


def _new(scene: Scene, old: set[str]) -> bool:
    """Whether as many new controllers are ready as there were old ones."""
    fresh = [pod for pod in _controllers(scene) if pod["metadata"]["uid"] not in old]
    return len(fresh) == len(old) and all(condition(pod, "Ready") == "True" for pod in fresh)


def _raised(spec: Document) -> int:
    """A weight that a pool has not."""
    return int(spec.get("weight", 0)) % 100 + 1


def _changed(scene: Scene, pool: str) -> Path:
    """A copy of the assembly in which the controller's pods have an annotation more, and the pool another weight."""
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
                changes += _edit(properties, "Manifest", lambda text: _weigh(text, pool))
        path.write_text(json.dumps(template), encoding="utf-8")
        publish_anew(folder, path)
    if changes < 2:
        raise NotPlayed("the stack's chart and pools are not written as this project's constructs write them")
    return folder


def publish_anew(folder: Path, template: Path) -> None:
    """Name a changed template by its content, as synthesis does: what is published already is not published again."""
    for assets in folder.glob("*.assets.json"):
        for id, file in json.loads(assets.read_text(encoding="utf-8"))["files"].items():
            if file["source"]["path"] == template.name:
                new = hashlib.sha256(template.read_bytes()).hexdigest()
                for listing in (assets, folder / "manifest.json"):
                    listing.write_text(listing.read_text(encoding="utf-8").replace(id, new), encoding="utf-8")


def _edit(properties: dict[str, Any], key: str, edit: Callable[[str], str]) -> int:
    """Edit a text, or the first part of one that is joined; how many texts changed."""
    value = properties.get(key)
    parts = value["Fn::Join"][1] if isinstance(value, dict) and "Fn::Join" in value else [value]
    if not isinstance(parts[0], str):
        return 0
    new = edit(parts[0])
    changed = int(new != parts[0])
    if isinstance(value, dict):
        parts[0] = new
    else:
        properties[key] = new
    return changed


def _annotate(values: str) -> str:
    if not values.startswith('{"') or "podAnnotations" in values:
        return values
    return '{"podAnnotations":{"' + MARK + '":"true"},' + values[1:]


def _weigh(manifest: str, pool: str) -> str:
    """The manifest of a pool with another weight; any other as it is."""
    try:
        documents = json.loads(manifest)
    except ValueError:
        return manifest
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) == ("NodePool", pool):
            document["spec"]["weight"] = _raised(document["spec"])
    return json.dumps(documents, separators=(",", ":"))


def _controllers(scene: Scene) -> list[Document]:
    found = scene.kube.items(CONTROLLERS, labelSelector="app.kubernetes.io/name=karpenter")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


STORY = Story("upgrade", "changed settings, deployed over a running pod", play)
