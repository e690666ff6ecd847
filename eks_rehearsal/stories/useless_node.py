"""The device plugin is missing: the node is up, bills and is of no use, and Karpenter never removes it by itself."""

from __future__ import annotations

import time

from eks_rehearsal.cluster.kube import Document, condition
from eks_rehearsal.diagnosis import is_device_plugin, selects, useless
from eks_rehearsal.errors import StoryFailed
from eks_rehearsal.labels import GPU_RESOURCE
from eks_rehearsal.scene import Scene, Workload
from eks_rehearsal.stories.story import NotPlayed, Story

# Longer than a device plugin takes to show GPUs, and Karpenter to count a node as initialized.
HOLD_SECONDS = 4.0
DAEMONS = "/apis/apps/v1/daemonsets"
# What only the API server writes.
SERVERS = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


def play(scene: Scene) -> None:
    pool = scene.pools()[0]
    plugins = [one for one in scene.kube.items(DAEMONS) if is_device_plugin(one)]
    plugin = next((one for one in plugins if selects(one, pool.labels)), None)
    if scene.image_brings_plugin(pool):
        raise NotPlayed(f"the image of pool {pool.name} runs a device plugin of its own")
    if plugin is None:
        raise NotPlayed("the stack has no DaemonSet of NVIDIA's device plugin")
    path = f"/apis/apps/v1/namespaces/{plugin['metadata']['namespace']}/daemonsets"
    scene.kube.delete(f"{path}/{plugin['metadata']['name']}")
    scene.timeline.add("story", plugin["metadata"]["name"], "deleted")
    try:
        workload = scene.start("without-plugin", pool=pool)
        claim = scene.until(
            "a node to register",
            lambda: next((one for one in scene.claims() if condition(one, "Registered") == "True"), None),
            seconds=60,
        )
        _see_useless(scene, workload, claim)
    finally:
        scene.kube.create(path, _bare(plugin))
        scene.timeline.add("story", plugin["metadata"]["name"], "put back")
    scene.until("the pod to run once the device plugin is back", lambda: workload.pods("Running"))


def _see_useless(scene: Scene, workload: Workload, claim: Document) -> None:
    """The node is ready and shows no GPU, and the reason is found."""
    name = claim["status"]["nodeName"]
    scene.until("the node to be ready", lambda: condition(scene.node(name), "Ready") == "True")
    time.sleep(HOLD_SECONDS)
    node = scene.node(name)
    scene.check("the node shows no GPU", holds=GPU_RESOURCE not in node["status"]["capacity"])
    scene.check("its pod does not run", holds=not workload.pods("Running"))
    id = scene.instance_of(name)
    price = sum(one.price for one in scene.instances() if one.id == id)
    reason = useless(scene.kube, node)
    scene.timeline.add("story", "noticed", reason, f"${price:.2f} an hour until somebody looks")
    if not any(words in reason for words in ("no DaemonSet", "wants the label")):
        raise StoryFailed(f"the reason should be the missing DaemonSet, and it is: {reason}")
    scene.check(
        "Karpenter does not count the node as initialized",
        holds=condition(scene.kube.get(f"/apis/karpenter.sh/v1/nodeclaims/{claim['metadata']['name']}"), "Initialized")
        != "True",
    )


def _bare(daemon: Document) -> Document:
    """The DaemonSet as it was asked for."""
    metadata = {key: value for key, value in daemon["metadata"].items() if key not in SERVERS}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": daemon["spec"]}


STORY = Story("plugin", "without the device plugin a node bills and is of no use, and it is seen", play)
