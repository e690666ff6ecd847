"""A pod asks for a GPU, gets one, goes; and the instance goes after it: the walk-through's own story."""

from __future__ import annotations

from datetime import timedelta

from karpenter_gpu.rehearsal.scene import GPU, Scene, condition
from karpenter_gpu.rehearsal.stories.story import Story

# What an empty node may take over its own time: to be found out, drained and shut down.
GRACE = timedelta(seconds=45)


def play(scene: Scene) -> None:
    scene.check("no GPU instance runs before anybody asks for one", holds=not scene.instances())

    workload = scene.start("ai-workload")
    scene.until("Karpenter to create a NodeClaim for the pod", scene.claims)
    scene.until("the pod to run", lambda: workload.pods("Running"), seconds=90)
    (node,) = workload.nodes()
    claim = scene.until(
        "the node to be initialized",
        lambda: next((one for one in scene.claims() if condition(one, "Initialized") == "True"), None),
    )
    scene.check("one pod brought one node", holds=len(scene.claims()) == 1)
    scene.check("the node shows its GPU", holds=int(scene.node(node)["status"]["allocatable"].get(GPU, "0")) >= 1)
    pool = next(one for one in scene.pools() if one.name == claim["metadata"]["labels"]["karpenter.sh/nodepool"])

    workload.stop()
    scene.timeline.add("story", "ai-workload", "taken away")
    empty = pool.consolidate_after
    if empty is None:
        scene.timeline.add("story", pool.name, "keeps empty nodes for ever", "consolidateAfter is Never")
        return
    gone = scene.timeline.now
    scene.until(
        f"the empty node to go after {empty.total_seconds():.0f} s",
        lambda: not scene.instances() and not scene.claims(),
        seconds=(empty + GRACE).total_seconds(),
    )
    scene.check(f"nothing bills {scene.timeline.now - gone:.0f} s after the last pod left", holds=not scene.instances())


STORY = Story("scale", "from zero to a GPU and back", play)
