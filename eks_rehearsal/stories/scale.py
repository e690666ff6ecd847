"""A pod asks for a GPU, gets one, goes; and the instance goes after it: the walk-through's own story."""

from __future__ import annotations

from datetime import timedelta

from eks_rehearsal.cluster.kube import condition
from eks_rehearsal.labels import GPU_RESOURCE, NODEPOOL
from eks_rehearsal.scene import Scene
from eks_rehearsal.stories.story import Story

COMING = (
    ("event", "FailedScheduling"),
    ("event", "Nominated"),
    ("nodeclaim", "created"),
    ("nodeclaim", "launched"),
    ("nodeclaim", "registered"),
    ("nodeclaim", "initialized"),
    ("pod", "Running"),
)
GOING = (("pod", "gone"), ("nodeclaim", "consolidatable"), ("nodeclaim", "being deleted"), ("instance", "terminated"))
# What an empty node may take over its own time: to be found out (10 s), looked at again (15 s), drained and shut down.
GRACE = timedelta(seconds=90)
# What the timeline may be late by.
BLUR = timedelta(seconds=5)


def play(scene: Scene) -> None:
    scene.check("no GPU instance runs before anybody asks for one", holds=not scene.instances())

    workload = scene.start("ai-workload")
    node = scene.running(workload)["spec"]["nodeName"]
    claim = scene.until(
        "the node to be initialized",
        lambda: next((one for one in scene.claims() if condition(one, "Initialized") == "True"), None),
    )
    scene.saw(*COMING)
    scene.check("one pod brought one node", holds=len(scene.claims()) == 1)
    scene.check(
        "the node shows its GPU", holds=int(scene.node(node)["status"]["allocatable"].get(GPU_RESOURCE, "0")) >= 1
    )
    pool = next(one for one in scene.pools() if one.name == claim["metadata"]["labels"][NODEPOOL])

    workload.stop()
    scene.timeline.add("story", "ai-workload", "deleted")
    empty = pool.consolidate_after
    if empty is None:
        scene.timeline.add("story", pool.name, "keeps empty nodes for ever", "consolidateAfter is Never")
        return
    emptied = scene.timeline.now
    scene.until(
        f"the empty node to go after {empty.total_seconds():.0f} s",
        lambda: not scene.instances() and not scene.claims(),
        seconds=(empty + GRACE).total_seconds(),
    )
    scene.saw(*GOING)
    took = timedelta(seconds=scene.timeline.now - emptied)
    scene.check(f"the empty node stayed for {empty.total_seconds():.0f} s", holds=took >= empty - BLUR)
    scene.check(f"nothing bills {took.total_seconds():.0f} s after the last pod left", holds=not scene.instances())


STORY = Story("scale", "from zero to a GPU and back", play)
