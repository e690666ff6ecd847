import json
from datetime import timedelta
from types import SimpleNamespace

import pytest

from eks_rehearsal import scene as module
from eks_rehearsal.account import CommandResult
from eks_rehearsal.cluster.kube import condition
from eks_rehearsal.errors import StoryFailed
from eks_rehearsal.programs import Neighbour
from eks_rehearsal.scene import Pool, Scene
from eks_rehearsal.stories import DESTROYS, STORIES, NotPlayed, pools, upgrade
from eks_rehearsal.timeline import Timeline


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
    assert len({story.name for story in STORIES}) == len(STORIES)
    assert len({story.name for story in DESTROYS}) == len(DESTROYS)


def in_order(*made):
    """Pools of a name, a weight, capacity types and the key of a taint."""
    return [
        Pool(
            {
                "metadata": {"name": name},
                "spec": {
                    "weight": weight,
                    "template": {
                        "spec": {
                            "requirements": [{"key": "karpenter.sh/capacity-type", "values": kinds.split()}],
                            "taints": [{"key": taint, "effect": "NoSchedule"}],
                        }
                    },
                },
            }
        )
        for name, weight, kinds, taint in made
    ]


SPOT = ("batch", 50, "spot", "gpu")


@pytest.mark.parametrize(
    ("others", "behind"),
    [
        ([("steady", 10, "on-demand", "gpu")], ["steady"]),
        ([("more", 20, "spot", "gpu"), ("steady", 10, "on-demand spot", "gpu")], ["steady"]),
        ([("team", 20, "on-demand", "team"), ("steady", 10, "on-demand", "gpu")], ["steady"]),
        ([("beside", 50, "on-demand", "gpu")], []),
        ([], []),
    ],
)
def test_behind_a_spot_pool_is_the_next_that_takes_its_pods_on_demand(others, behind):
    assert [pair[1].name for pair in pools._behind_spot(in_order(SPOT, *others))] == behind


def test_behind_a_pool_that_has_on_demand_itself_no_pool_steps_in():
    mixed, steady = ("batch", 50, "spot on-demand", "gpu"), ("steady", 10, "on-demand", "gpu")
    assert pools._behind_spot(in_order(mixed, steady)) == []


@pytest.mark.parametrize(
    ("acquired", "leads"),
    [("2026-11-24T07:45:45.609476Z", False), ("2026-11-24T07:46:24.975677Z", True), (None, False)],
)
def test_new_controllers_lead_when_one_of_them_took_the_lease(scene, acquired, leads):
    found = {"spec": {"acquireTime": acquired}} if acquired else None
    scene.plane = SimpleNamespace(kube=SimpleNamespace(find=lambda _: found))
    new = {"metadata": {"namespace": "kube-system", "creationTimestamp": "2026-11-24T07:46:07Z"}}
    assert scene._is_led_by([new]) is leads


METRICS = """\
karpenter_build_info{version="1.14.1",commit="2dd7fdc",goarch="amd64",goversion="go1.27.3"} 1
controller_runtime_reconcile_total{controller="nodeclaim.disruption",result="success"} %s
controller_runtime_reconcile_total{controller="nodeclaim.lifecycle",result="success"} 9
"""


def test_a_controller_says_its_own_version_and_not_that_of_go():
    assert upgrade.VERSION.findall(METRICS % 0) == ["1.14.1"]


@pytest.mark.parametrize(("times", "has"), [("0", False), ("12", True)])
def test_a_controller_says_whether_it_looked_at_the_nodeclaims(times, has):
    assert bool(upgrade.LOOKED.search(METRICS % times)) is has


def playing(scene, monkeypatch, image="x/karpenter/controller:1.14.2", neighbour="1.14.1"):
    """A scene before an upgrade, and the versions and weights that its changes end in."""

    class Account:
        class programs:  # noqa: N801
            karpenter_asked, karpenter_built = "1.14.2", "1.14.3"

        class assembly:  # noqa: N801
            folder = "its own"

    Account.programs.neighbour = Neighbour(neighbour, None, None) if neighbour else None
    scene.account = Account
    pod = {"metadata": {}, "spec": {"containers": [{"image": image}]}}
    monkeypatch.setattr(scene, "controllers", lambda: [pod, pod])
    monkeypatch.setattr(upgrade, "_changed", lambda *given: given[2:])
    (front,) = in_order(("inference", 7, "spot", "gpu"))
    return [(change.assembly, change.karpenter, change.weight) for change in upgrade._changes(scene, front)]


def test_another_karpenter_is_deployed_and_then_the_stacks_own_again(scene, monkeypatch):
    assert playing(scene, monkeypatch) == [(("1.14.1",), "1.14.1", 8), ("its own", "1.14.3", 7)]
    assert list(scene.timeline) == []


def test_where_there_is_no_other_karpenter_settings_alone_change_and_the_timeline_says_why(scene, monkeypatch):
    assert playing(scene, monkeypatch, neighbour=None) == [((), "1.14.3", 8)]
    (moment,) = scene.timeline
    assert moment.detail == "no other patch of its minor than 1.14.3 is known to build"


def test_where_the_stack_names_the_image_itself_no_other_karpenter_is_deployed(scene, monkeypatch):
    pinned = "x/karpenter/controller:1.14.2@sha256:0f"
    assert playing(scene, monkeypatch, image=pinned) == [((), "1.14.3", 8)]
    (moment,) = scene.timeline
    assert moment.detail.endswith(f"whatever its chart says: {pinned}")


@pytest.fixture
def deployed(scene, monkeypatch):
    """Plays a deployment after which the controllers say what `METRICS` has."""
    scene.account = SimpleNamespace(
        deploy=lambda _: CommandResult(0, ""), pods={"gpu": SimpleNamespace(metrics=lambda _: METRICS % 1)}
    )
    scene.plane = SimpleNamespace(name="gpu")
    monkeypatch.setattr(scene, "controllers", list)
    monkeypatch.setattr(scene, "renewed", lambda _: [{"metadata": {"uid": "1"}}])
    monkeypatch.setattr(upgrade, "HOLD_SECONDS", 0)
    return lambda version: upgrade._deploy(scene, upgrade.Change("all", None, version, 1))


def test_controllers_that_are_the_karpenter_that_was_deployed_pass(deployed, scene):
    deployed("1.14.1")
    assert [moment.what for moment in scene.timeline][-1] == "the new controllers are Karpenter 1.14.1"


def test_controllers_that_are_another_karpenter_than_was_deployed_fail_the_story(deployed):
    with pytest.raises(StoryFailed, match="the new controllers are Karpenter 1.14.3"):
        deployed("1.14.3")


def upgraded(tmp_path, resources, karpenter=None):
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

    Account.assembly.folder, Account.assembly.root, Account.processes.folder = folder, folder, work
    changed = upgrade._changed(Scene(Account, None, Timeline(), None), "inference", karpenter)
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


def test_another_karpenter_is_another_version_of_both_its_charts_and_of_no_other(tmp_path):
    charts = {
        name: {**CHART, "Properties": {**CHART["Properties"], "Repository": f"oci://x/{name}", "Version": "1.14.3"}}
        for name in ("karpenter/karpenter", "karpenter/karpenter-crd", "other")
    }
    _, resources = upgraded(tmp_path, {**charts, "Pool": POOL}, "1.14.1")
    versions = {name: resources[name]["Properties"]["Version"] for name in charts}
    assert versions == {"karpenter/karpenter": "1.14.1", "karpenter/karpenter-crd": "1.14.1", "other": "1.14.3"}


def test_a_stack_that_is_written_otherwise_is_not_upgraded(tmp_path):
    with pytest.raises(NotPlayed):
        upgraded(tmp_path, {"Chart": CHART})
