"""More pods than the pool may have GPUs: the pool grows to its limit and no further."""

from __future__ import annotations

import time

from karpenter_gpu.gpus import BY_NAME
from karpenter_gpu.rehearsal.scene import GPU, Pool, Scene
from karpenter_gpu.rehearsal.stories.story import NotPlayed, Story

# More would show nothing that these do not.
MOST_PODS = 40
STILL_SECONDS = 6.0


def play(scene: Scene) -> None:
    limited = [pool for pool in scene.pools() if pool.gpu_limit is not None and pool.gpu_limit < MOST_PODS]
    if not limited:
        raise NotPlayed(f"no GPU pool of this stack has a limit of fewer than {MOST_PODS} GPUs")
    pool = min(limited, key=lambda one: one.gpu_limit or 0)
    limit = pool.gpu_limit or 0
    scene.until_empty()
    workload = scene.start("too-many", pool=pool, replicas=limit + 2)
    scene.until("the pool to fill up", lambda: len(workload.pods("Running")) >= 1 and _still(scene, pool), seconds=120)
    running, waiting = len(workload.pods("Running")), len(workload.pods("Pending"))
    scene.timeline.add("story", pool.name, f"{running} pods run, {waiting} wait", f"its limit is {limit} GPUs")
    scene.check(f"the instances of pool {pool.name} have no more than {limit} GPUs", holds=_gpus(scene, pool) <= limit)
    scene.check("the pods beyond the limit wait", holds=waiting >= 2)


def _gpus(scene: Scene, pool: Pool) -> int:
    return sum(BY_NAME[one.type].gpus for one in scene.instances() if one.pool == pool.name)


def _still(scene: Scene, pool: Pool) -> bool:
    """Whether nothing is launched any more, and every instance is a node whose GPUs are seen."""
    before = {one.id for one in scene.instances()}
    ready = all(GPU in one["status"].get("capacity", {}) for one in scene.claims(pool))
    if not before or not ready:
        return False
    time.sleep(STILL_SECONDS)
    return {one.id for one in scene.instances()} == before


STORY = Story("ceiling", "no more instances than the pool's limit", play)
