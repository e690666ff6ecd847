import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from eks_rehearsal import rehearse as module
from eks_rehearsal.account import CommandResult
from eks_rehearsal.errors import NotBuilt, RehearsalError
from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.stories import STORIES
from eks_rehearsal.timeline import Timeline


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_another_karpenter_is_built_for_the_story_that_deploys_it_alone(story, monkeypatch):
    asked = {}

    def programs(**how):
        asked.update(how)
        raise NotBuilt("enough")

    assembly = SimpleNamespace(
        read=lambda _: SimpleNamespace(kubernetes="1.36", karpenter="1.14.3", region="us-east-1", not_emulated=())
    )
    monkeypatch.setattr(module, "Assembly", assembly)
    monkeypatch.setattr(module, "node", lambda: Path("node"))
    monkeypatch.setattr(module, "programs", programs)
    with pytest.raises(NotBuilt, match="enough"):
        rehearse(Path("cdk.out"), None, Options(stories=[story]))
    assert asked["neighbour"] is (story.name == "upgrade")


def test_a_region_that_the_emulation_knows_nothing_of_is_refused_before_anything_is_built(monkeypatch):
    assembly = SimpleNamespace(read=lambda _: SimpleNamespace(region="us-gov-west-1"))
    monkeypatch.setattr(module, "Assembly", assembly)
    with pytest.raises(RehearsalError, match="no list of what us-gov-west-1 offers.*; synthesize the app for a region"):
        rehearse(Path("cdk.out"), None)


def run(**more):
    return module._Run(None, None, None, None, SimpleNamespace(moment=lambda _: None), Options(), **more)


def event(status):
    return SimpleNamespace(status=status, type="T", logical_id="A", reason="no connection")


def test_after_the_end_nothing_is_told_of_stacks_that_are_still_being_made():
    rehearsal = run()
    rehearsal.timeline = Timeline()
    with rehearsal._ending():
        rehearsal._heard(event("CREATE_IN_PROGRESS"))
    rehearsal._heard(event("DELETE_FAILED"))
    assert [moment.what for moment in rehearsal.timeline] == ["CREATE_IN_PROGRESS T"]


@pytest.mark.parametrize(
    ("output", "refused", "reason"),
    [
        ("a\n ❌  Gpu failed: no such role\n    (no user code in 10 frames)", "", "Gpu failed: no such role"),
        ("only words", "", "only words"),
        (
            "❌ Gpu failed",
            "Gpu: the Systems Manager has no parameter /a",
            "Gpu: the Systems Manager has no parameter /a",
        ),
    ],
)
def test_a_deploy_that_could_not_begin_is_told_with_its_cause_and_not_with_a_trace(output, refused, reason):
    rehearsal = run()
    rehearsal.timeline = Timeline()
    account = SimpleNamespace(
        aws=SimpleNamespace(authorization=SimpleNamespace(denied={})),
        clusters={},
        deploy=lambda: CommandResult(1, output),
        cloudformation=SimpleNamespace(refused=refused),
    )
    with pytest.raises(RehearsalError, match=f"^cdk deploy failed: {re.escape(reason)}$"):
        rehearsal._deploy(account)


def test_a_controller_that_no_node_suits_ends_the_deploy(monkeypatch):
    monkeypatch.setattr(module.diagnosis, "controller", lambda *_: iter(()))
    monkeypatch.setattr(module.diagnosis, "denied", lambda _: lambda *_: iter(()))
    monkeypatch.setattr(module.diagnosis, "unscheduled", lambda *_: iter(["Karpenter's controller finds no node"]))
    ended = threading.Event()
    account = SimpleNamespace(clusters={"gpu": None}, deploy=lambda: ended.wait(20) and CommandResult(0, ""))
    with pytest.raises(RehearsalError, match="finds no node"):
        run()._deploy(account)
    ended.set()


def test_an_act_that_fails_says_what_iam_denied_in_it_and_nothing_that_it_denied_before():
    rehearsal, denied = run(), {"role/x may not a:B on *: before": 1}
    rehearsal.timeline, rehearsal.denied = Timeline(), denied

    def work():
        denied["role/x may not c:D on *: no policy"] = 2
        raise RehearsalError("the node did not come")

    rehearsal._act("scale", "from zero", work)
    rehearsal._act("pools", "each its own", work)
    assert [one.reason for one in rehearsal.outcomes] == [
        "the node did not come; role/x may not c:D on *: no policy",
        "the node did not come",
    ]
