"""Changed settings and another patch of Karpenter are deployed over the running stack, and the running pod stays."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eks_rehearsal.assembly import HELM_CHART
from eks_rehearsal.cluster.kube import Document, condition
from eks_rehearsal.errors import StoryFailed
from eks_rehearsal.scene import NODEPOOLS, Pool, Scene
from eks_rehearsal.stories.story import NotPlayed, Story

MANIFEST = "Custom::AWSCDK-EKS-KubernetesResource"
MARK = "rehearsal/upgraded"
# What a controller counts: its own version, and how often it looked whether a NodeClaim has drifted.
VERSION = re.compile(r'^karpenter_build_info\{.*\bversion="([^"]+)"', re.MULTILINE)
LOOKED = re.compile(r'^controller_runtime_reconcile_total\{controller="nodeclaim.disruption".*\} [1-9]', re.MULTILINE)
# A NodeClaim that has drifted says so at that look; this is for looks that come a little later.
HOLD_SECONDS = 2.0


@dataclass(frozen=True)
class Change:
    """A deployment over the running stack.

    Args:
        what: What it changes.

        assembly: What is deployed.

        karpenter: The version of the controllers after it.

        weight: The weight of the pool after it.
    """

    what: str
    assembly: Path
    karpenter: str
    weight: int | None


def play(scene: Scene) -> None:
    pool = scene.pools()[0]
    workload = scene.start("long-running", pool=pool)
    pod = scene.running(workload)
    (claim,) = scene.claims()
    for change in _changes(scene, pool):
        _deploy(scene, change)
        spec = scene.kube.get(f"{NODEPOOLS}/{pool.name}")["spec"]
        scene.check(f"the pool's weight is {change.weight or 0}", holds=spec.get("weight") == change.weight)
        after = {one["metadata"]["uid"]: one["spec"]["nodeName"] for one in workload.pods("Running")}
        stayed = after.get(pod["metadata"]["uid"]) == pod["spec"]["nodeName"]
        scene.check("the running pod stayed on its node", holds=stayed)
        now = scene.claims()
        same = [one["metadata"]["uid"] for one in now] == [claim["metadata"]["uid"]]
        scene.check("no node was replaced for it", holds=same)
        scene.check("and none has drifted", holds=all(condition(one, "Drifted") != "True" for one in now))


def _changes(scene: Scene, pool: Pool) -> Iterator[Change]:
    """Other settings, and with them another Karpenter where there is one; then everything as it was."""
    own, other = scene.account.programs.karpenter_built, _other(scene)
    settings, weight = "a chart value and a pool's weight", _raised(pool.document["spec"])
    if other is None:
        yield Change(settings, _changed(scene, pool.name), own, weight)
        return
    yield Change(f"Karpenter {own} to {other}, {settings}", _changed(scene, pool.name, other), other, weight)
    yield Change(f"Karpenter {other} to {own}, settings as before", scene.account.assembly.folder, own, pool.weight)


def _other(scene: Scene) -> str | None:
    """The version of Karpenter that is deployed over the stack's own; None, and the timeline says why, when none can be."""
    programs = scene.account.programs
    images = {pod["spec"]["containers"][0]["image"] for pod in scene.controllers()}
    if programs.neighbour is None:
        reason = f"no other patch of its minor than {programs.karpenter_built} is known to build"
    elif not all(image.endswith(f":{programs.karpenter_asked}") for image in images):
        reason = (
            f"the stack says itself which image is Karpenter's, whatever its chart says: {', '.join(sorted(images))}"
        )
    else:
        return programs.neighbour.version
    scene.timeline.add("story", f"Karpenter {programs.karpenter_asked}", "has no other deployed over it", reason)
    return None


def _deploy(scene: Scene, change: Change) -> None:
    """Deploy a change, and wait until Karpenter has seen what may make it replace a node."""
    old = scene.controllers()
    scene.timeline.add("story", "cdk deploy", "over the running stack", change.what)
    said = scene.account.deploy(change.assembly)
    if said.exit_code:
        raise StoryFailed(f"cdk deploy of the changed stack failed: {said.last_line}")
    new = scene.renewed(old)
    scene.until("a new controller to look at the NodeClaims", lambda: LOOKED.search(_metrics(scene, new)))
    versions = set(VERSION.findall(_metrics(scene, new)))
    scene.check(f"the new controllers are Karpenter {change.karpenter}", holds=versions == {change.karpenter})
    time.sleep(HOLD_SECONDS)


def _metrics(scene: Scene, controllers: list[Document]) -> str:
    """What controllers count."""
    pods = scene.account.pods[scene.plane.name]
    return "".join(pods.metrics(pod["metadata"]["uid"]) for pod in controllers)


def _raised(spec: Document) -> int:
    """A weight that a pool has not."""
    return int(spec.get("weight", 0)) % 100 + 1


def _changed(scene: Scene, pool: str, karpenter: str | None = None) -> Path:
    """A copy of the assembly: the controller's pods have an annotation more, the pool another weight, the charts a version."""
    assembly, whole = scene.account.assembly, scene.account.processes.folder / "upgraded"
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(assembly.root, whole)
    folder = whole / assembly.folder.relative_to(assembly.root)
    changes = 0
    for path in folder.glob("*.template.json"):
        template = json.loads(path.read_text(encoding="utf-8"))
        for resource in template["Resources"].values():
            properties = resource.get("Properties", {})
            chart = str(properties.get("Repository", "")) if resource["Type"] == HELM_CHART else ""
            if karpenter and chart.endswith(("/karpenter", "/karpenter-crd")):
                properties["Version"] = karpenter
            if chart.endswith("/karpenter"):
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
                _rename_in_outer(folder, id, new)


def _rename_in_outer(folder: Path, old: str, new: str) -> None:
    """Name a nested stack's template anew where the stack that has it names it, which changes that one, too."""
    for outer in folder.glob("*.template.json"):
        text = outer.read_text(encoding="utf-8")
        if old != new and old in text:
            outer.write_text(text.replace(old, new), encoding="utf-8")
            publish_anew(folder, outer)


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


STORY = Story(
    "upgrade", "other settings and another Karpenter, deployed over a running pod", play, needs_neighbour=True
)
