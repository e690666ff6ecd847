import json
from datetime import timedelta

import pytest

from karpenter_gpu.errors import StoryFailed
from karpenter_gpu.rehearsal import scene as module
from karpenter_gpu.rehearsal.cluster.kube import condition
from karpenter_gpu.rehearsal.scene import Pool, Scene
from karpenter_gpu.rehearsal.stories import STORIES, NotPlayed, upgrade
from karpenter_gpu.rehearsal.timeline import Timeline


def pool(*requirements, limits=None, **spec):
    template = {"spec": {"requirements": list(requirements), **spec}}
    return Pool({"metadata": {"name": "a"}, "spec": {"template": template, "limits": limits or {}, "disruption": {}}})


def after(text):
    return Pool({"metadata": {"name": "a"}, "spec": {"disruption": {"consolidateAfter": text}}}).consolidate_after


@pytest.mark.parametrize(("text", "seconds"), [("1m", 60), ("30s", 30), ("1h30m", 5400), ("0s", 0)])
def test_the_time_that_a_node_may_be_empty_is_read_as_kubernetes_writes_it(text, seconds):
    assert after(text) == timedelta(seconds=seconds)


def test_a_pool_that_never_consolidates_has_no_such_time():
    assert after("Never") is None


def test_a_pool_without_a_capacity_type_launches_on_demand_as_karpenter_does():
    assert pool().capacity_types == ("on-demand",)


def test_a_pool_is_of_gpus_by_its_limit_or_by_what_it_requires():
    assert pool(limits={"nvidia.com/gpu": "8"}).is_gpu
    assert pool({"key": "karpenter.k8s.aws/instance-gpu-name", "values": ["l4"]}).is_gpu
    assert not pool({"key": "kubernetes.io/arch", "values": ["amd64"]}, limits={"cpu": "8"}).is_gpu


def test_a_condition_that_is_not_there_is_neither_true_nor_false():
    document = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert condition(document, "Ready") == "True"
    assert condition(document, "Initialized") == ""
    assert condition({}, "Ready") == ""


@pytest.fixture
def scene(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(module, "SURE_SECONDS", 0.2)
    monkeypatch.setattr(module, "why", lambda _account, _plane: "")
    return Scene(account=None, plane=None, timeline=Timeline(), observer=None)


def test_what_is_awaited_and_comes_is_given(scene):
    answers = iter([None, "", "it"])
    assert scene.until("it to come", lambda: next(answers)) == "it"


def test_what_does_not_come_is_said_with_the_time_it_was_given(scene):
    with pytest.raises(StoryFailed, match="it to come: it did not come within 1 s$"):
        scene.until("it to come", lambda: None, seconds=1)


def test_a_reason_that_stays_ends_the_wait_before_its_time(scene, monkeypatch):
    monkeypatch.setattr(module, "why", lambda _account, _plane: "the class is not ready")
    with pytest.raises(StoryFailed, match="it did not come, because the class is not ready"):
        scene.until("it to come", lambda: None, seconds=30)


def test_a_reason_that_passes_does_not(scene, monkeypatch):
    reasons = iter(["a"])
    monkeypatch.setattr(module, "why", lambda _account, _plane: next(reasons, ""))
    answers = iter([None] * 4)
    assert scene.until("it to come", lambda: next(answers, "it"), seconds=30) == "it"


def test_an_assertion_that_does_not_hold_fails_the_story(scene):
    with pytest.raises(StoryFailed, match="one pod brought one node"):
        scene.check("one pod brought one node", holds=False)


def test_an_assertion_that_holds_stands_on_the_timeline(scene):
    scene.check("one pod brought one node", holds=True)
    assert [moment.detail or moment.what for moment in scene.timeline] == ["one pod brought one node"]


def test_every_story_has_a_name_of_its_own():
    assert len({story.name for story in STORIES}) == len(STORIES) == 6


def upgraded(tmp_path, resources):
    """The resources after the upgrade story's change."""
    folder, work = tmp_path / "cdk.out", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "S.template.json").write_text(json.dumps({"Resources": resources}))
    (folder / "S.assets.json").write_text(json.dumps({"files": {"old": {"source": {"path": "S.template.json"}}}}))
    (folder / "manifest.json").write_text('{"url": "s3://bucket/old.json"}')

    class Account:
        class assembly:  # noqa: N801
            pass

        class processes:  # noqa: N801
            pass

    Account.assembly.folder, Account.processes.folder = folder, work
    changed = upgrade._changed(Scene(Account, None, Timeline(), None), "inference")
    return changed, json.loads((changed / "S.template.json").read_text())["Resources"]


CHART = {
    "Type": "Custom::AWSCDK-EKS-HelmChart",
    "Properties": {"Repository": "oci://x/karpenter/karpenter", "Values": {"Fn::Join": ["", ['{"replicas":2}', "x"]]}},
}
POOL = {
    "Type": "Custom::AWSCDK-EKS-KubernetesResource",
    "Properties": {"Manifest": '[{"kind":"NodePool","metadata":{"name":"inference"},"spec":{"weight":7}}]'},
}


def test_an_upgrade_changes_the_chart_and_the_pool_and_publishes_the_template_anew(tmp_path):
    folder, resources = upgraded(tmp_path, {"Chart": CHART, "Pool": POOL})
    values = json.loads(resources["Chart"]["Properties"]["Values"]["Fn::Join"][1][0])
    (manifest,) = json.loads(resources["Pool"]["Properties"]["Manifest"])
    assert values == {"replicas": 2, "podAnnotations": {"rehearsal/upgraded": "true"}}
    assert manifest["spec"] == {"weight": 8}
    assert "old" not in (folder / "manifest.json").read_text()


def test_a_stack_that_is_written_otherwise_is_not_upgraded(tmp_path):
    with pytest.raises(NotPlayed):
        upgraded(tmp_path, {"Chart": CHART})
