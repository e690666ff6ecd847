"""What can go wrong in a rehearsal, as a tree.

RehearsalError          a rehearsal that could not go on, or bad input to one
├── NotBuilt            a program of the rehearsal that could not be built, unpacked or found
├── NotEmulated         a resource, property or call that the emulated AWS does not know
└── StoryFailed         a story whose assertion did not hold
"""

from __future__ import annotations


class RehearsalError(Exception):
    """A rehearsal that could not go on: what, why, and the way out, in one sentence."""


class NotBuilt(RehearsalError):
    """A program that the rehearsal runs could not be built, unpacked or found."""


class NotEmulated(RehearsalError):
    """The emulated AWS does not know a resource type, a property or a call; it never skips one."""


class StoryFailed(RehearsalError):
    """What a story asserts did not come true."""
