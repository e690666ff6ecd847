"""Spot has no capacity and on-demand steps in, of the same pool or of one behind; a pod without GPUs lands on no GPU node."""

from __future__ import annotations

import time
from collections.abc import Sequence

from eks_rehearsal.labels import CAPACITY_TYPE, GPU_RESOURCE, NODEPOOL
from eks_rehearsal.scene import Pool, Scene
from eks_rehearsal.stories.story import Story

SPOT, ON_DEMAND = "spot", "on-demand"
# Longer than Karpenter gathers pods before it launches for them.
HOLD_SECONDS = 3.0


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
    for pool in scene.pools_without_gpus():
        _beside(scene, pool)
    for front, behind in _behind_spot(scene.pools()):
        _past(scene, front, behind)


def _beside(scene: Scene, pool: Pool) -> None:
    """A pool without GPUs brings a node for any pod."""
    workload = scene.start(f"on-{pool.name}", gpus=0, pool=pool)
    node = scene.node(scene.running(workload)["spec"]["nodeName"])
    runs = node["metadata"]["labels"][NODEPOOL] == pool.name
    scene.check(f"a pod that asks for no GPU and tolerates nothing runs on pool {pool.name}", holds=runs)
    scene.check("whose nodes have none", holds=GPU_RESOURCE not in node["status"]["capacity"])


def _behind_spot(pools: Sequence[Pool]) -> list[tuple[Pool, Pool]]:
    """The pool that comes first, if it is of spot alone, and the next one that takes its pods on demand."""
    front, *others = pools
    behind = [
        one
        for one in others
        if (one.weight or 0) < (front.weight or 0)
        and ON_DEMAND in one.capacity_types
        and all(taint in front.taints for taint in one.taints)
    ]
    return [(front, behind[0])] if set(front.capacity_types) == {SPOT} and behind else []


def _past(scene: Scene, front: Pool, behind: Pool) -> None:
    """A pod that may run on both finds the first pool without capacity."""
    scene.clear()
    scene.until_empty()
    scene.account.hooks.no_capacity.add(("*", "*", SPOT))
    scene.timeline.add("story", "EC2", "has no spot capacity", f"pool {front.name} has nothing else")
    workload = scene.start(f"past-{front.name}")
    labels = scene.node(scene.running(workload)["spec"]["nodeName"])["metadata"]["labels"]
    scene.check(f"without spot capacity, the pod runs on pool {behind.name}", holds=labels[NODEPOOL] == behind.name)
    scene.check("and it launched on-demand", holds=labels[CAPACITY_TYPE] == ON_DEMAND)
    scene.account.hooks.no_capacity.clear()
    # It takes an offering for unavailable for minutes, and the stories after this one want spot.
    old = scene.controllers()
    for pod in old:
        scene.kube.delete(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}")
    scene.renewed(old)
    scene.timeline.add("story", "Karpenter", "started anew", "so that it forgets what was out of capacity")


def _decided(scene: Scene, name: str) -> bool:
    pods = scene.kube.items("/api/v1/namespaces/rehearsal/pods", labelSelector=f"app={name}")
    return any(one["type"] == "PodScheduled" for pod in pods for one in pod["status"].get("conditions", []))


STORY = Story("pools", "every pod on its own pool, on-demand where spot is out", play)
