from pathlib import Path
from types import SimpleNamespace

import pytest

from eks_rehearsal import rehearse as module
from eks_rehearsal.errors import NotBuilt, RehearsalError
from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.stories import STORIES


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_another_karpenter_is_built_for_the_story_that_deploys_it_alone(story, monkeypatch):
    asked = {}

    def programs(**how):
        asked.update(how)
        raise NotBuilt("enough")

    assembly = SimpleNamespace(
        read=lambda _: SimpleNamespace(kubernetes="1.36", karpenter="1.14.3", region="us-east-1")
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
