"""Spot has no capacity and on-demand steps in; each pod lands on its own pool; a pod without GPUs lands on none."""

from __future__ import annotations

import time

from karpenter_gpu.labels import CAPACITY_TYPE, NODEPOOL
from karpenter_gpu.rehearsal.scene import Scene
from karpenter_gpu.rehearsal.stories.story import Story

SPOT, ON_DEMAND = "spot", "on-demand"
# Longer than Karpenter gathers pods before it launches for them.
HOLD_SECONDS = 5.0


def play(scene: Scene) -> None:
    for pool in scene.pools():
        falls_back = set(pool.capacity_types) >= {SPOT, ON_DEMAND}
        if falls_back:
            scene.account.hooks.no_capacity.add(("*", "*", SPOT))
            scene.timeline.add("story", "EC2", "has no spot capacity")
        workload = scene.start(f"for-{pool.name}", pool=pool)
        labels = scene.node(scene.running(workload)["spec"]["nodeName"])["metadata"]["labels"]
        scene.check(f"the pod for pool {pool.name} runs on that pool", holds=labels[NODEPOOL] == pool.name)
        if falls_back:
            paid = labels[CAPACITY_TYPE]
            scene.check(f"without spot capacity, pool {pool.name} launched on-demand", holds=paid == ON_DEMAND)
            scene.account.hooks.no_capacity.clear()

    before = len(scene.claims())
    plain = scene.start("without-gpu", gpus=0)
    scene.until("the scheduler to decide on the pod without GPU", lambda: _decided(scene, plain.name))
    time.sleep(HOLD_SECONDS)
    nodes = [node for pod in plain.pods() if (node := pod["spec"].get("nodeName"))]
    on_gpu_nodes = [name for name in nodes if NODEPOOL in scene.node(name)["metadata"]["labels"]]
    scene.check("a pod that asks for no GPU is on no GPU node", holds=not on_gpu_nodes)
    scene.check("and brings none", holds=len(scene.claims()) == before)


def _decided(scene: Scene, name: str) -> bool:
    pods = scene.kube.items("/api/v1/namespaces/rehearsal/pods", labelSelector=f"app={name}")
    return any(one["type"] == "PodScheduled" for pod in pods for one in pod["status"].get("conditions", []))


STORY = Story("pools", "every pod on its own pool, on-demand where spot is out", play)
