"""A GPU breaks: the monitoring agent says so, and Karpenter replaces the node; it replaces none that is well."""

from __future__ import annotations

from eks_rehearsal.cluster.kube import Document, condition
from eks_rehearsal.cluster.monitoring import ADDON, DAEMONS, DCGM, HARDWARE, say
from eks_rehearsal.diagnosis import is_elsewhere, untolerated
from eks_rehearsal.errors import StoryFailed
from eks_rehearsal.scene import Scene, Workload
from eks_rehearsal.stories.story import NotPlayed, Story

GATE = "NodeRepair=true"


def play(scene: Scene) -> None:
    if scene.kube.find(f"{DAEMONS}/{ADDON}") is None:
        raise NotPlayed("the stack has no node monitoring agent")
    if not any(_repairs(pod) for pod in scene.controllers()):
        raise NotPlayed("Karpenter's gate nodeRepair is closed, so that it replaces no broken node")
    # Repair is for nodes whatever their pool, and the agent looks at the GPUs of amd64 alone.
    workload = scene.start("on-sick-gpu", pool=scene.pools()[0])
    first = scene.running(workload)["spec"]["nodeName"]
    _is_well(scene, workload, first)

    old = scene.instance_of(first)
    say(scene.kube, first, "False", "NvidiaXID79Error", "GPU has fallen off the bus")
    scene.timeline.add("story", first, "its GPU is broken", "XID 79, and ten minutes have passed")
    second = _replacement(scene, workload, first)
    scene.until(
        "the sick instance to be terminated", lambda: old not in {one.id for one in scene.instances()}, seconds=60
    )
    scene.check("the node with the broken GPU is replaced", holds=second != first)
    _is_well(scene, workload, second)
    scene.check("the replacement is well, and stays", holds=len(scene.claims()) == 1)


def _is_well(scene: Scene, workload: Workload, node: str) -> None:
    """Wait until the agent has spoken; where it calls a new node broken, see what comes of it."""
    said = scene.until("the agent to say how the GPUs are", lambda: condition(scene.node(node), HARDWARE), seconds=40)
    if said == "True":
        return
    daemon = scene.kube.get(f"{DAEMONS}/{DCGM}")
    why = _why_without(daemon, scene.node(node))
    second = _replacement(scene, workload, node)
    scene.until("the agent to say how the next node is", lambda: condition(scene.node(second), HARDWARE), seconds=40)
    again = condition(scene.node(second), HARDWARE) == "False"
    raise StoryFailed(
        f"the agent calls the GPUs of node {node} broken, though nothing is wrong with them, and Karpenter replaced it"
        + (
            f" by {second}, which it calls broken, too: every GPU node is replaced every ten minutes, for ever"
            if again
            else ""
        )
        + f"; {why}"
    )


def _why_without(daemon: Document, node: Document) -> str:
    """Why the GPU part of the agent is not on a node."""
    labels, part = node["metadata"].get("labels", {}), f"{DCGM} of add-on {ADDON}"
    if taint := untolerated(daemon, node):
        return f"{part} does not tolerate the taint {taint}"
    if is_elsewhere(daemon, labels):
        return f"the affinity of {part} leaves out {labels.get('node.kubernetes.io/instance-type')}"
    return "it says no more"


def _replacement(scene: Scene, workload: Workload, node: str) -> str:
    """The node on which the pod runs once its own has been replaced."""
    others = scene.until(f"node {node} to be replaced", lambda: workload.nodes() - {node}, seconds=90)
    return next(iter(others))


def _repairs(controller: Document) -> bool:
    env = controller["spec"]["containers"][0].get("env") or []
    return any(one["name"] == "FEATURE_GATES" and GATE in one.get("value", "") for one in env)


STORY = Story("repair", "a node whose GPU breaks is replaced, and no other", play)
