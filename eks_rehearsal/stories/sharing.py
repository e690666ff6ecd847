"""Several pods share each GPU: they come up on one node, a further one brings the next, and the ceiling stays one of GPUs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from eks_rehearsal.cluster.kube import Document
from eks_rehearsal.diagnosis import OVERLAYS, applies
from eks_rehearsal.labels import GPU_RESOURCE, INSTANCE_GPU_COUNT, NODEPOOL
from eks_rehearsal.scene import Pool, Scene
from eks_rehearsal.stories.story import NotPlayed, Story

# More would show nothing that these do not.
MOST_PODS = 20
# Longer than Karpenter gathers pods before it launches for them.
HOLD_SECONDS = 4.0


@dataclass(frozen=True)
class Shared:
    """A pool whose GPUs are shared.

    Args:
        pods: How many each of its smallest nodes takes, by its NodeOverlay.

        gpus: The GPUs of such a node.
    """

    pool: Pool
    pods: int
    gpus: int

    @property
    def nodes(self) -> int:
        """How many such nodes the pool's ceiling allows."""
        return (self.pool.gpu_limit or 0) // self.pods


def play(scene: Scene) -> None:
    found = [shared for pool in scene.pools() if (shared := _shared(scene, pool))]
    small = [one for one in found if one.nodes * one.pods <= MOST_PODS]
    if not small:
        of = f"no pool with a limit of at most {MOST_PODS} shares" if found else "no GPU pool of this stack"
        raise NotPlayed(f"{of} has a NodeOverlay that says how many pods share a GPU")
    for shared in small:
        _play(scene, shared)


def _play(scene: Scene, shared: Shared) -> None:
    pool = shared.pool
    first = scene.start(f"share-{pool.name}", pool=pool, replicas=shared.pods, gpus_a_node=shared.gpus)
    scene.until(
        f"{shared.pods} pods to run on pool {pool.name}", lambda: len(first.pods("Running")) == shared.pods, seconds=90
    )
    scene.until("one node to have all of them", lambda: len(first.nodes()) == 1, seconds=40)
    scene.check(
        f"{shared.pods} pods share {_gpus(shared.gpus)} of pool {pool.name}", holds=len(scene.claims(pool)) == 1
    )

    full = (shared.nodes - 1) * shared.pods
    more = scene.start(f"fill-{pool.name}", pool=pool, replicas=full + 2, gpus_a_node=shared.gpus)
    scene.until("the pool to fill up to its limit", lambda: len(more.pods("Running")) == full, seconds=120)
    time.sleep(HOLD_SECONDS)
    nodes, running = len(scene.claims(pool)), len(first.pods("Running")) + len(more.pods("Running"))
    scene.timeline.add(
        "story", pool.name, f"has {nodes} nodes, and {running} pods run", f"its limit is {pool.gpu_limit} shares"
    )
    scene.check(f"pool {pool.name} has no more than {_gpus(shared.nodes * shared.gpus)}", holds=nodes == shared.nodes)
    scene.check("a pod runs on each share of them", holds=running == shared.nodes * shared.pods)
    scene.clear()
    scene.until_empty()


def _shared(scene: Scene, pool: Pool) -> Shared | None:
    """The fewest GPUs that a node of a pool has, and how many pods share them; None where each is one pod's."""
    said = [one for overlay in scene.kube.items(OVERLAYS) if (one := _said(overlay, pool))]
    gpus, pods = min(said, default=(0, 0))
    return Shared(pool, pods, gpus) if pods > gpus else None


def _said(overlay: Document, pool: Pool) -> tuple[int, int] | None:
    """The GPUs of the nodes that an overlay is of, and what they count as; None where it is of another pool, or of no number."""
    required = {one["key"]: one.get("values") or [""] for one in overlay["spec"]["requirements"]}
    gpus = required.get(INSTANCE_GPU_COUNT, [""])[0]
    labels = {key: values[0] for key, values in required.items()} | {NODEPOOL: pool.name}
    capacity = overlay["spec"].get("capacity", {})
    if not gpus or GPU_RESOURCE not in capacity or not applies(overlay, labels):
        return None
    return int(gpus), int(capacity[GPU_RESOURCE])


def _gpus(number: int) -> str:
    return f"{number} GPU{'s' * (number > 1)}"


STORY = Story("sharing", "several pods on a GPU, and no more GPUs than the pool's limit", play)
