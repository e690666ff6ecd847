"""AWS takes a spot instance back: two minutes' notice through the queue, a replacement first, then the old node drains."""

from __future__ import annotations

from eks_rehearsal.errors import StoryFailed
from eks_rehearsal.scene import Scene
from eks_rehearsal.stories.story import NotPlayed, Story

WARNING = "EC2 Spot Instance Interruption Warning"


def play(scene: Scene) -> None:
    pool = scene.pool(lambda one: "spot" in one.capacity_types)
    if pool is None:
        raise NotPlayed("no GPU pool of this stack uses spot")

    workload = scene.start("on-spot", pool=pool, capacity_type="spot")
    old = scene.instance_of(scene.running(workload)["spec"]["nodeName"])
    known = {one.id for one in scene.instances()} | {old}

    arn = f"arn:{scene.account.aws.world.partition}:ec2:{scene.account.aws.region}:{scene.account.aws.account}:instance/{old}"
    told = scene.account.aws.put_aws_event(
        "aws.ec2", WARNING, {"instance-id": old, "instance-action": "terminate"}, [arn]
    )
    scene.timeline.add("story", old, "AWS gives two minutes' notice", WARNING)
    if not told:
        refused = scene.account.aws.extensions.events.refused[-1:]
        why = refused[0] if refused else "no EventBridge rule of the stack carries it to one"
        raise StoryFailed(
            f"AWS's '{WARNING}' reaches no queue, so Karpenter never hears that an instance is taken back: {why}"
        )

    new = scene.until(
        "a replacement to be launched",
        lambda: next((one.id for one in scene.instances() if one.id not in known and one.pool == pool.name), None),
    )
    scene.until("the pod to run on the replacement", lambda: _runs_on(scene, workload.nodes(), new), seconds=90)
    scene.until(
        "the old instance to be terminated", lambda: old not in {one.id for one in scene.instances()}, seconds=90
    )
    was, came = (scene.observer.instances[id] for id in (old, new))
    first = was.ended is not None and came.began <= was.ended
    scene.check("the replacement was launched before the old instance ended", holds=first)


def _runs_on(scene: Scene, nodes: set[str], id: str) -> bool:
    return any(scene.instance_of(node) == id for node in nodes)


STORY = Story("interruption", "a spot instance is taken back, and the pod moves", play)
