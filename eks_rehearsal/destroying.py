"""Destroys with what can go wrong in them, one after the other, until one completes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eks_rehearsal.account import Account, CommandResult
from eks_rehearsal.errors import RehearsalError, StoryFailed
from eks_rehearsal.processes import wait_for
from eks_rehearsal.result import Destroyed
from eks_rehearsal.scene import Scene
from eks_rehearsal.stories.destroy import (
    COMPLETING_SPEED,
    FAILING_SPEED,
    DestroyStory,
    rounds,
)
from eks_rehearsal.stories.story import NotPlayed

# The CDK's command line takes seconds to begin.
BEGINS_SECONDS = 60.0
Act = Callable[[str, str, Callable[[], None]], bool]
Run = Callable[[Callable[[], CommandResult]], CommandResult]


@dataclass
class Destroying:
    """Plays the stories of destroys.

    Args:
        scene: Where.

        stories: Which.

        act: Does one act and notes how it went; whether it passed.

        run: Runs the CDK's command line and waits for it.

        complaint: What the stacks' events say of a failure since a time of the timeline.

        destroyed: What was seen of each destroy.
    """

    scene: Scene
    stories: Sequence[DestroyStory]
    act: Act
    run: Run
    complaint: Callable[[float], str]
    destroyed: list[Destroyed] = field(default_factory=list)
    _is_gone: bool = False

    @property
    def account(self) -> Account:
        """The account that it plays in."""
        return self.scene.account

    def play(self) -> bool:
        """Play them; whether the stacks are gone."""
        ready = [one for one in self.stories if self._is_prepared(one)]
        completing = [one for one in ready if not one.holds]
        holding = list(rounds(ready))
        for at, stories in enumerate(holding):
            is_last = at == len(holding) - 1
            if self._is_gone or not self.act(
                _names(stories),
                _titles(stories),
                lambda: self._fails(stories, completing if is_last else ()),  # noqa: B023
            ):
                break
        if not self._is_gone:
            if not holding:
                self._begin(completing)
            title = f"cdk destroy, while {_titles(completing)}" if completing else "cdk destroy"
            self.act("destroy", title, lambda: self._completes(completing))
        return self._is_gone

    def _is_prepared(self, story: DestroyStory) -> bool:
        """Whether what the story is about is there; otherwise that is an act of its own."""
        try:
            story.prepare(self.scene)
        except (NotPlayed, RehearsalError) as error:
            again = error
            self.act(story.name, story.title, lambda: _raise(again))
            return False
        self.scene.timeline.add("story", story.name, "is prepared", story.title)
        return True

    def _begin(self, stories: Sequence[DestroyStory]) -> None:
        self.scene.began = self.scene.timeline.now
        for one in stories:
            one.begin(self.scene)

    def _fails(self, stories: Sequence[DestroyStory], following: Sequence[DestroyStory]) -> None:
        """A destroy that must fail, with the words of its stories, and then what a person does about it.

        Args:
            following: The stories of the destroy after it, which begin before anything can go on by itself.
        """
        self._begin(stories)
        one = self._destroy(stories, FAILING_SPEED)
        if not one.reason:
            self._is_gone = True
            if one.left:
                raise StoryFailed(f"the destroy completed, and these were left: {', '.join(one.left)}")
            return
        self._says(one, stories)
        self._begin(following)
        for story in stories:
            story.mend(self.scene)

    def _completes(self, stories: Sequence[DestroyStory]) -> None:
        if any(one.cancelled for one in stories):
            self.account.functions.clock.run(COMPLETING_SPEED)
            self._cancel()
        one = self._destroy(stories, COMPLETING_SPEED)
        if one.reason:
            raise StoryFailed(f"cdk destroy failed: {one.reason}")
        self._is_gone = True
        self._says(one, stories)
        for story in stories:
            story.check(self.scene)

    def _says(self, one: Destroyed, stories: Sequence[DestroyStory]) -> None:
        """Assert that a destroy said what its stories ask for, and note the sentences."""
        for story in stories:
            lines = [*one.log.splitlines(), one.reason]
            missing = next((word for word in story.words if not any(word in line for line in lines)), None)
            if missing:
                raise StoryFailed(
                    f"the destroy should say {missing!r}, and it says: {one.reason or 'nothing of the kind'}"
                )
            sentence = next((line.strip() for line in lines if story.words and story.words[0] in line), "")
            one.said[story.name] = sentence
            self.scene.timeline.add("story", story.name, "was said" if sentence else "needed no words", sentence)

    def _cancel(self) -> None:
        """Kill the CDK's command line in the middle of a destroy, which goes on without it."""
        cdk, stacks = self.account.start_destroy(), self.account.cloudformation.stacks
        wait_for(
            "a stack to be deleted",
            lambda: any(stack.status == "DELETE_IN_PROGRESS" for stack in stacks.values()),
            seconds=BEGINS_SECONDS,
            alive=[cdk],
        )
        cdk.stop(grace=0)
        self.scene.timeline.add("story", "cdk destroy", "was killed")

    def _destroy(self, stories: Sequence[DestroyStory], speed: float) -> Destroyed:
        timeline, log = self.scene.timeline, self.account.functions.log
        began, read = timeline.now, log.stat().st_size if log.exists() else 0
        self.account.functions.clock.run(speed)
        try:
            said = self.run(self.account.destroy)
        finally:
            self.account.functions.clock.run(1)
        reason = (self.complaint(began) or said.complaint) if said.exit_code else ""
        with log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(read)
            told = lines.read()
        one = Destroyed(
            stories=tuple(story.name for story in stories),
            seconds=timeline.now - began,
            speed=speed,
            reason=reason,
            left=tuple(f"{one.id} ({one.type}, {one.state})" for one in self.scene.alive()),
            log=told,
        )
        self.destroyed.append(one)
        timeline.add("story", "cdk destroy", "failed" if reason else "completed", reason)
        return one


def _raise(error: Exception) -> None:
    raise error


def _names(stories: Sequence[DestroyStory]) -> str:
    return ", ".join(one.name for one in stories)


def _titles(stories: Sequence[DestroyStory]) -> str:
    return "; ".join(one.title for one in stories)
