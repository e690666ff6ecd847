"""What a story is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eks_rehearsal.scene import Scene


class NotPlayed(Exception):
    """The stack has nothing that this story is about; the message says what."""


@dataclass(frozen=True)
class Story:
    """Something that a GPU platform must do, played and asserted.

    Args:
        name: One word, for the command line.

        title: What it shows.

        play: Plays it; raises `StoryFailed`, or `NotPlayed` where the stack has nothing of the kind.

        needs_neighbour: Whether it deploys another patch of Karpenter, whose program must be there before.
    """

    name: str
    title: str
    play: Callable[[Scene], None]
    needs_neighbour: bool = False
