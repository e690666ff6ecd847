"""Destroys in which something goes wrong, whole: what they say, what is left, and that the last one leaves nothing."""

import pytest

from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.result import FAILED
from eks_rehearsal.stories import DESTROYS
from tests.destroys import plain, record
from tests.rehearsal.test_rehearsals import Quiet, synthesized

pytestmark = pytest.mark.rehearsal
TITLES = {story.name: story.title for story in DESTROYS}


def destroyed(folder, *names):
    """The result of a rehearsal of destroys alone, which must have passed."""
    result = rehearse(folder, Quiet(), Options(stories=[one for one in DESTROYS if one.name in names]))
    assert [(one.name, one.reason) for one in result.outcomes if one.verdict == FAILED] == []
    assert result.left == ()
    assert result.unknown == ()
    return result


def rows(result):
    """What each story of a rehearsal showed."""
    return [
        {
            "story": name,
            "title": TITLES[name],
            "destroy": number,
            "outcome": "fails" if one.reason else "completes",
            "says": plain(one.said.get(name, "")),
            "left": len(one.left),
            "seconds": round(one.seconds),
            "speed": one.speed,
        }
        for number, one in enumerate(result.destroyed, 1)
        for name in one.stories
    ]


def versions(result):
    return f"Kubernetes {result.kubernetes}, Karpenter {result.karpenter}"


def test_destroys_say_why_they_fail_and_the_last_one_leaves_nothing(tmp_path):
    result = destroyed(synthesized(tmp_path / "cdk.out"), *TITLES)
    record("destroys", rows(result), versions(result))


def test_a_dead_controller_keeps_nothing_where_what_is_left_is_terminated(tmp_path):
    folder = synthesized(tmp_path / "cdk.out", **{"karpenter.on_drain_timeout": "terminate"})
    result = destroyed(folder, "destroy-no-controller")
    (one,) = result.destroyed
    assert "terminated, because karpenter.on_drain_timeout is 'terminate'" in one.log
    assert "finalizer karpenter.sh/termination was removed from nodeclaims/" in one.log
    record("terminates", rows(result), versions(result))
