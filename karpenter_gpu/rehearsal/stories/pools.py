"""Spot has no capacity and on-demand steps in; each pod lands on its own pool; a pod without GPUs lands on none."""

from __future__ import annotations

from karpenter_gpu.rehearsal.scene import Scene
from karpenter_gpu.rehearsal.stories.story import Story

SPOT, ON_DEMAND = "spot", "on-demand"
POOL = "karpenter.sh/nodepool"


def play(scene: Scene) -> None:
    for pool in scene.pools():
        if set(pool.capacity_types) >= {SPOT, ON_DEMAND}:
            scene.account.hooks.no_capacity.add(("*", "*", SPOT))
            scene.timeline.add("story", "EC2", "has no spot capacity")
        workload = scene.start(f"for-{pool.name}", pool=pool)
        scene.until(f"the pod for pool {pool.name} to run", lambda: workload.pods("Running"), seconds=90)  # noqa: B023
        (node,) = workload.nodes()
        labels = scene.node(node)["metadata"]["labels"]
        scene.check(f"the pod for pool {pool.name} runs on that pool", holds=labels[POOL] == pool.name)
        if set(pool.capacity_types) >= {SPOT, ON_DEMAND}:
            paid = labels["karpenter.sh/capacity-type"]
            scene.check(f"without spot capacity, pool {pool.name} launched on-demand", holds=paid == ON_DEMAND)
            scene.account.hooks.no_capacity.clear()

    before = len(scene.claims())
    plain = scene.start("without-gpu", gpus=0)
    scene.until("the pod without GPU to be looked at", plain.pods)
    scene.until("the scheduler to decide on it", lambda: _decided(scene, plain.name))
    on_gpu_nodes = [name for name in plain.nodes() if POOL in scene.node(name)["metadata"]["labels"]]
    scene.check("a pod that asks for no GPU runs on no GPU node", holds=not on_gpu_nodes)
    scene.check("and brings none", holds=len(scene.claims()) == before)


def _decided(scene: Scene, name: str) -> bool:
    pods = scene.kube.items("/api/v1/namespaces/rehearsal/pods", labelSelector=f"app={name}")
    return any(one["type"] == "PodScheduled" for pod in pods for one in pod["status"].get("conditions", []))


STORY = Story("pools", "every pod on its own pool, on-demand where spot is out", play)
