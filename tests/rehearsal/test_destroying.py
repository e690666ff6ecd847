"""The order of destroys that fail and complete, on a scene that only notes what is asked of it."""

from types import SimpleNamespace

import pytest

from eks_rehearsal.account import CommandResult
from eks_rehearsal.aws.server import Launched
from eks_rehearsal.aws.wire import AwsError
from eks_rehearsal.destroying import Destroying
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.functions.runner import Clock
from eks_rehearsal.stories import DESTROYS, DestroyStory, NotPlayed, destroy
from eks_rehearsal.timeline import Timeline


class World:
    """A stack whose destroys end as told: with a reason, or with none and so complete."""

    def __init__(self, log, *reasons, left=()):
        self.reasons, self.done, self.outcomes = list(reasons), [], {}
        self.log = log
        log.write_text("earlier\n")
        functions = SimpleNamespace(clock=Clock(), log=log)
        self.account = SimpleNamespace(functions=functions, destroy=self.destroy)
        self.scene = SimpleNamespace(
            account=self.account, timeline=Timeline(), began=0.0, alive=lambda: [self.instance(id) for id in left]
        )

    @staticmethod
    def instance(id):
        return Launched(id, "g5.xlarge", "running", spot=False, tags={})

    def destroy(self):
        self.done.append(f"destroy at {self.account.functions.clock.speed:.0f}")
        self.reason = self.reasons.pop(0)
        with self.log.open("a") as log:
            log.write(f"said {self.reason}\n")
        return CommandResult(int(bool(self.reason)), "")

    def act(self, name, _title, work):
        try:
            work()
        except (RehearsalError, NotPlayed) as error:
            self.outcomes[name] = str(error) or type(error).__name__
            return False
        self.outcomes[name] = ""
        return True

    def play(self, *stories):
        self.playing = Destroying(
            scene=self.scene,
            stories=stories,
            act=self.act,
            run=lambda work: work(),
            complaint=lambda _: self.reason,
        )
        return self.playing.play()

    def story(self, name, **more):
        def note(what):
            return lambda _: self.done.append(f"{what} {name}")

        return DestroyStory(
            name, name, note("prepare"), begin=note("begin"), mend=note("mend"), check=note("check"), **more
        )


@pytest.fixture
def log(tmp_path):
    return tmp_path / "functions.log"


def test_what_fails_is_mended_and_then_the_destroy_completes(log):
    world = World(log, "a pod", "two pods", "")
    alone = world.story("alone", holds=True, alone=True, words=("a pod",))
    shared = [world.story(name, holds=True, words=("pods",)) for name in ("b", "c")]
    assert world.play(*shared, alone, world.story("d"))
    assert world.outcomes == {"alone": "", "b, c": "", "destroy": ""}
    assert world.done[4:] == [
        *("begin alone", "destroy at 120", "mend alone"),
        # What is to be seen in the last destroy begins before anything goes on by itself.
        *("begin b", "begin c", "destroy at 120", "begin d", "mend b", "mend c"),
        *("destroy at 30", "check d"),
    ]
    assert [(one.stories, one.reason) for one in world.playing.destroyed] == [
        (("alone",), "a pod"),
        (("b", "c"), "two pods"),
        (("d",), ""),
    ]
    assert world.account.functions.clock.speed == 1


def test_a_failure_that_does_not_say_why_fails_and_the_stacks_are_destroyed_all_the_same(log):
    world = World(log, "something", "")
    assert world.play(world.story("a", holds=True, words=("the pod's name",)))
    assert world.outcomes["a"] == 'the destroy should say "the pod\'s name", and it says: something'


def test_words_may_stand_in_what_functions_said_of_this_destroy_and_of_no_earlier_one(log):
    world = World(log, "cut", "")
    world.play(world.story("a", holds=True, words=("said cut",)))
    assert world.outcomes["a"] == ""
    world = World(log, "cut", "")
    world.play(world.story("a", holds=True, words=("earlier",)))
    assert "should say 'earlier'" in world.outcomes["a"]


@pytest.mark.parametrize(("left", "outcome"), [((), ""), (("i-1",), "these were left: i-1 (g5.xlarge, running)")])
def test_a_destroy_that_completes_where_it_could_fail_must_leave_nothing(log, left, outcome):
    world = World(log, "", left=left)
    assert world.play(world.story("a", holds=True), world.story("b"))
    assert world.outcomes["a"].endswith(outcome)
    assert "destroy" not in world.outcomes


def test_a_last_destroy_that_fails_is_no_end(log):
    world = World(log, "interfaces")
    assert not world.play(world.story("a"))
    assert world.outcomes == {"destroy": "cdk destroy failed: interfaces"}


def test_what_the_stack_has_not_is_not_played(log):
    def nothing(_):
        raise NotPlayed("no node group")

    world = World(log, "")
    assert world.play(DestroyStory("a", "a", nothing, holds=True), world.story("b"))
    assert world.outcomes == {"a": "no node group", "destroy": ""}


def test_a_story_that_holds_a_destroy_asks_for_words():
    assert [story.name for story in DESTROYS if story.holds and not story.words] == []


def scene(**more):
    told = []

    def check(claim, *, holds):
        told.append((claim, holds))

    return SimpleNamespace(check=check, told=told, began=10.0, plane=SimpleNamespace(name="gpu"), **more)


@pytest.mark.parametrize(("ended", "holds"), [((51.0, 20.0), True), ((49.0,), False), ((), False)])
def test_a_destroy_that_did_not_wait_for_a_slow_instance_is_found_out(ended, holds):
    instances = {str(at): SimpleNamespace(ended=at) for at in ended}
    seen = scene(observer=SimpleNamespace(instances=instances))
    destroy._was_slow(seen)
    assert seen.told == [("the destroy waited 40 s for EC2", holds)]


@pytest.mark.parametrize(("refused", "holds"), [(["a", "b", "a"], True), ([], False)])
def test_an_outage_that_nobody_met_is_found_out(refused, holds):
    seen = scene(refused=refused)
    destroy._was_unwell(seen)
    assert seen.told == [(f"EC2 refused {len(refused)} calls of {len(set(refused))} roles", holds)]


@pytest.mark.parametrize("left", [[], [{"NetworkInterfaceId": "eni-1"}]])
def test_an_interface_that_stays_is_found_out(left):
    ec2 = SimpleNamespace(describe_network_interfaces=lambda **_: {"NetworkInterfaces": left})
    seen = scene(account=SimpleNamespace(aws=SimpleNamespace(client=lambda _: ec2)))
    destroy._interfaces_went(seen)
    assert [holds for _, holds in seen.told] == [not left]


def test_while_ec2_is_unwell_only_roles_are_refused_each_time_another_way():
    hooks = SimpleNamespace(trouble=None)
    aws = SimpleNamespace(world=SimpleNamespace(root="root"))
    seen = scene(refused=[], account=SimpleNamespace(hooks=hooks, aws=aws))
    destroy._unwell(seen)
    codes = set()
    for _ in range(3):
        with pytest.raises(AwsError) as refused:
            hooks.trouble(SimpleNamespace(service="ec2", principal="role"))
        codes.add((refused.value.code, refused.value.status))
    assert codes == {("RequestLimitExceeded", 503), ("InternalError", 500), ("Unavailable", 503)}
    hooks.trouble(SimpleNamespace(service="ec2", principal="root"))
    hooks.trouble(SimpleNamespace(service="iam", principal="role"))
    assert seen.refused == ["role"] * 3
