"""The stories of a rehearsal, one a file, in the order in which they play."""

from eks_rehearsal.stories import ceiling, interruption, pools, repair, reserved, scale, sharing, upgrade, useless_node
from eks_rehearsal.stories.destroy import DESTROYS, DestroyStory
from eks_rehearsal.stories.story import NotPlayed, Story

STORIES = (
    scale.STORY,
    pools.STORY,
    interruption.STORY,
    useless_node.STORY,
    ceiling.STORY,
    sharing.STORY,
    reserved.STORY,
    repair.STORY,
    upgrade.STORY,
)

__all__ = ["DESTROYS", "STORIES", "DestroyStory", "NotPlayed", "Story"]
