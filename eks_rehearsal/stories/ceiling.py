"""More pods than the pool may have GPUs: the pool grows to its limit and no further."""

from __future__ import annotations

import time

from eks_rehearsal.cluster.kube import Document
from eks_rehearsal.labels import GPU_RESOURCE
from eks_rehearsal.scene import NAMESPACE, Pool, Scene
from eks_rehearsal.stories.story import NotPlayed, Story

# More would show nothing that these do not.
MOST_PODS = 40
HOLD_SECONDS = 4.0


def play(scene: Scene) -> None:
    limited = [pool for pool in scene.pools() if pool.gpu_limit is not None and pool.gpu_limit < MOST_PODS]
    if not limited:
        raise NotPlayed(f"no GPU pool of this stack has a limit of fewer than {MOST_PODS} GPUs")
    pool = min(limited, key=lambda one: one.gpu_limit or 0)
    limit = pool.gpu_limit or 0
    workload = scene.start("too-many", pool=pool, replicas=limit + 2)
    scene.until("the pool to fill up to its limit", lambda: _full(scene, pool, limit), seconds=150)
    scene.until("Karpenter to say that the limit holds it back", lambda: _held_back(scene), seconds=30)
    scene.until("a pod to run on each GPU", lambda: len(workload.pods("Running")) >= _gpus(scene, pool))
    time.sleep(HOLD_SECONDS)
    gpus, running = _gpus(scene, pool), len(workload.pods("Running"))
    scene.timeline.add("story", pool.name, f"has {gpus} GPUs, and {running} pods run", f"its limit is {limit} GPUs")
    scene.check(f"the nodes of pool {pool.name} have no more than {limit} GPUs", holds=gpus <= limit)
    scene.check("a pod runs on each of them", holds=running == gpus)


def _nodes(scene: Scene, pool: Pool) -> list[int]:
    """The GPUs of each of the pool's NodeClaims, launched or not."""
    return [_capacity(claim) for claim in scene.claims(pool)]


def _capacity(claim: Document) -> int:
    return int(claim.get("status", {}).get("capacity", {}).get(GPU_RESOURCE, "0"))


def _gpus(scene: Scene, pool: Pool) -> int:
    return sum(_nodes(scene, pool))


def _full(scene: Scene, pool: Pool, limit: int) -> bool:
    """Whether every NodeClaim is launched, and no further one like the smallest would fit."""
    nodes = _nodes(scene, pool)
    return bool(nodes) and all(nodes) and limit - sum(nodes) < min(nodes)


def _held_back(scene: Scene) -> bool:
    events = scene.kube.items(f"/api/v1/namespaces/{NAMESPACE}/events")
    return any("limit" in str(event.get("message")) for event in events)


STORY = Story("ceiling", "no more instances than the pool's limit", play)
