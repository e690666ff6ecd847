"""The handler that says why an instance is alive, with a cluster that has what it is told."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.stories import DESTROYS
from tests.cdk.lifecycle import load

ID = "i-1"
DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
NODE = {"metadata": {"name": "node-1"}, "spec": {"providerID": f"aws:///a/{ID}"}}
CLAIM = {"metadata": {"name": "claim-1", **DELETED}, "status": {"providerID": f"aws:///a/{ID}"}}
KARPENTER = {
    "metadata": {"namespace": "kube-system", "name": "karpenter-0"},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}
KARPENTERS = "/api/v1/namespaces/kube-system/pods?labelSelector=app.kubernetes.io%2Finstance%3Dkarpenter"
PODS = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1"
CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
POOLS = "/apis/karpenter.sh/v1/nodepools"
BUDGETS = "/apis/policy/v1/poddisruptionbudgets"
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
DRAINING = {"/api/v1/nodes": [NODE], CLAIMS: [CLAIM], KARPENTERS: [KARPENTER]}


@pytest.fixture
def ask(monkeypatch):
    aws, reasons = load(monkeypatch, "aws", "reasons")

    def asked(objects, *, gone=False, patched=None, refused=(), **more):
        def describe(name):
            if gone:
                raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeCluster")
            return {"cluster": {"name": name}}

        def call(method, path, body=None):
            if isinstance(objects, Exception):
                raise objects
            if method == "PATCH":
                if path.rpartition("/")[2] in refused:
                    raise OSError("409")
                patched.append((path.rpartition("/")[2], body["metadata"]["finalizers"]))

        def items(path):
            found = objects.get(path, [])
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(aws, "client", lambda _: SimpleNamespace(describe_cluster=describe))
        monkeypatch.setattr(reasons, "Api", lambda *_: SimpleNamespace(items=items, call=call))
        event = {
            "ClusterName": "gpu",
            "Namespace": "kube-system",
            "Instances": {ID: "inference"},
            "Stack": "gpu-stack",
            **more,
        }
        return reasons.handler(event, None)

    return asked


def pod(name="train", labels=None, **metadata):
    return {
        "metadata": {"namespace": "team", "name": name, "labels": labels or {}, **metadata},
        "status": {"phase": "Running"},
    }


def budget(allowed, **selector):
    return {
        "metadata": {"namespace": "team", "name": "keep"},
        "spec": {"selector": selector} if selector else {},
        "status": {"disruptionsAllowed": allowed},
    }


def test_nothing_is_said_of_a_node_that_drains_as_it_should(ask):
    said = ask({**DRAINING, PODS: [pod()]})
    assert said == {"cluster": "there", "karpenter": [], "instances": {ID: []}}


PROTECTED = {"annotations": {"karpenter.sh/do-not-disrupt": "true"}}
EXPRESSION = {"key": "app", "operator": "In", "values": ["train"]}
ATTACHED = {
    "metadata": {"name": "csi-1"},
    "spec": {"nodeName": "node-1", "source": {"persistentVolumeName": "pv-1"}},
}
FINALIZED = {**CLAIM, "metadata": {**CLAIM["metadata"], "finalizers": ["karpenter.sh/termination", "team.io/keep"]}}
POOL = {"metadata": {"name": "inference"}, "spec": {"disruption": {"budgets": [{"nodes": "0"}]}}}


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ({PODS: [pod(**PROTECTED)]}, "pod team/train has karpenter.sh/do-not-disrupt"),
        (
            {PODS: [pod(labels={"app": "train"})], BUDGETS: [budget(0, matchLabels={"app": "train"})]},
            "PodDisruptionBudget team/keep allows no disruption of pod team/train",
        ),
        (
            {PODS: [pod(labels={"app": "train"})], BUDGETS: [budget(0, matchExpressions=[EXPRESSION])]},
            "PodDisruptionBudget team/keep allows no disruption of pod team/train",
        ),
        ({PODS: [pod(**DELETED, deletionGracePeriodSeconds=900)]}, "is shutting down and has 900 s for it"),
        ({ATTACHMENTS: [ATTACHED]}, "volume pv-1 is not detached from node node-1"),
        ({CLAIMS: [FINALIZED]}, "claim-1 waits for the finalizer team.io/keep"),
        ({"/api/v1/nodes": []}, "NodeClaim claim-1 has no node"),
        ({CLAIMS: []}, "no NodeClaim is left of it"),
        ({CLAIMS: [{**CLAIM, "metadata": {"name": "claim-1"}}]}, "run kubectl delete nodeclaim claim-1"),
        ({POOLS: [POOL]}, "run kubectl delete nodepool inference"),
        ({POOLS: [POOL]}, "NodePool inference has a disruption budget of 0"),
    ],
)
def test_what_keeps_an_instance_is_named(ask, objects, sentence):
    assert any(sentence in line for line in ask({**DRAINING, **objects})["instances"][ID])


@pytest.mark.parametrize(
    "objects",
    [
        {PODS: [pod(**PROTECTED, ownerReferences=[{"kind": "DaemonSet"}])]},
        {PODS: [{**pod(**PROTECTED), "status": {"phase": "Succeeded"}}]},
        {PODS: [pod(labels={"app": "train"})], BUDGETS: [budget(1, matchLabels={"app": "train"})]},
        {PODS: [pod(labels={"app": "other"})], BUDGETS: [budget(0, matchLabels={"app": "train"})]},
        {PODS: [pod()], BUDGETS: [budget(0)]},
        {ATTACHMENTS: [{**ATTACHED, "spec": {**ATTACHED["spec"], "nodeName": "other"}}]},
        {POOLS: [{**POOL, "metadata": {"name": "inference", **DELETED}}]},
    ],
)
def test_what_keeps_nothing_is_not(ask, objects):
    assert ask({**DRAINING, **objects})["instances"][ID] == []


def test_a_controller_that_does_not_work_is_named_with_why_it_does_not_run(ask):
    waits = [{"type": "PodScheduled", "status": "False", "message": "0/0 nodes are available"}]
    pending = {**KARPENTER, "status": {"phase": "Pending", "conditions": waits}}
    (line,) = ask({**DRAINING, KARPENTERS: [pending]})["karpenter"]
    assert "pod kube-system/karpenter-0 is Pending and not ready, 0/0 nodes are available" in line
    (line,) = ask({**DRAINING, KARPENTERS: []})["karpenter"]
    assert "no controller of Karpenter runs in namespace kube-system" in line


def test_one_that_works_is_enough(ask):
    dead = {**KARPENTER, "status": {"phase": "Running"}}
    assert ask({**DRAINING, KARPENTERS: [dead, KARPENTER]})["karpenter"] == []


def test_what_may_not_be_listed_is_left_out_and_nothing_is_made_of_it(ask):
    refused = PermissionError("403")
    said = ask({**DRAINING, CLAIMS: refused, KARPENTERS: refused, PODS: [pod(**PROTECTED)]})
    assert said["karpenter"] == []
    assert said["instances"][ID] == ["pod team/train has karpenter.sh/do-not-disrupt; delete it, or let it finish"]


def test_a_cluster_that_is_gone_is_said_with_the_command_that_is_left(ask):
    said = ask({}, gone=True)
    assert said["cluster"] == "gone"
    assert "aws ec2 terminate-instances --instance-ids i-1" in said["karpenter"][0]


def test_an_api_server_that_does_not_answer_is_said_with_what_it_did_not_hear_of(ask):
    (said,) = ask(ConnectionRefusedError("refused"))["karpenter"]
    assert "the API server of cluster gpu does not answer (refused)" in said
    assert said.endswith("run kubectl delete nodepool inference")


def test_an_api_server_that_refuses_does_answer(ask):
    assert ask({"/api/v1/nodes": PermissionError("403")})["karpenter"] == [
        "no controller of Karpenter runs in namespace kube-system, so nothing terminates them; see its Deployment"
    ]


def kept(name, *finalizers, pool="inference", **metadata):
    about = {
        "name": name,
        "finalizers": [*finalizers],
        "resourceVersion": "7",
        "labels": {"karpenter.sh/nodepool": pool},
    }
    return {"metadata": about | metadata}


CLASSES = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"
LEFT = {
    CLAIMS: [
        kept("ended", "karpenter.sh/termination", "theirs", **DELETED),
        kept("alive", "karpenter.sh/termination"),
        kept("another", "karpenter.sh/termination", pool="another", **DELETED),
    ],
    CLASSES: [kept("inference", "karpenter.k8s.aws/termination"), kept("another", "karpenter.k8s.aws/termination")],
}


def test_what_no_controller_lets_go_of_is_let_go_of_and_only_karpenters_finalizer_goes(ask):
    patched = []
    said = ask(LEFT, patched=patched, Release="inference")["released"]
    assert patched == [("ended", ["theirs"]), ("inference", [])]
    assert said[0] == (
        "finalizer karpenter.sh/termination was removed from nodeclaims/ended, because no controller of Karpenter works"
    )


OF_STACK = {"annotations": {"karpenter-gpu/made-by": "gpu-stack"}}
OF_ANOTHER = {"annotations": {"karpenter-gpu/made-by": "another-stack"}}


def test_where_all_goes_what_the_stack_made_is_let_go_of_and_no_pool_of_anybody_else(ask):
    patched = []
    classes = [
        kept("inference", "karpenter.k8s.aws/termination", **OF_STACK),
        kept("another", "karpenter.k8s.aws/termination", **OF_ANOTHER),
        kept("by-hand", "karpenter.k8s.aws/termination"),
    ]
    ask({**LEFT, CLASSES: classes}, patched=patched, Release="")
    assert patched == [("ended", ["theirs"]), ("inference", [])]


def test_what_cannot_be_let_go_of_keeps_nothing_else(ask):
    patched = []
    said = ask(LEFT, patched=patched, Release="inference", refused={"ended"})["released"]
    assert patched == [("inference", [])]
    assert said[0].startswith("finalizer karpenter.sh/termination was not removed from nodeclaims/ended: ")


@pytest.mark.parametrize("pods", [[KARPENTER], PermissionError("403")], ids=["works", "not seen"])
def test_a_controller_that_works_or_is_not_seen_keeps_its_finalizers(ask, pods):
    patched = []
    assert ask({**LEFT, KARPENTERS: pods}, patched=patched, Release="inference")["released"] == []
    assert patched == []


def told(said):
    return [*said["karpenter"], *said.get("instances", {}).get(ID, [])]


PENDING = {**KARPENTER, "status": {"phase": "Pending"}}
HELD = pod("undisturbed-1", **PROTECTED)
HELD["metadata"]["namespace"] = "rehearsal"
BUDGETED = pod("budgeted-1", {"app": "budgeted"})
BUDGETED["metadata"]["namespace"] = "rehearsal"
ALLOWS_NONE = budget(0, matchLabels={"app": "budgeted"})
ALLOWS_NONE["metadata"] = {"namespace": "rehearsal", "name": "allows-none"}


@pytest.mark.parametrize(
    ("story", "objects"),
    [
        ("destroy-no-api", ConnectionRefusedError("refused")),
        ("destroy-no-controller", {**DRAINING, KARPENTERS: []}),
        ("destroy-no-nodes", {**DRAINING, KARPENTERS: [PENDING]}),
        ("destroy-do-not-disrupt", {**DRAINING, PODS: [HELD]}),
        ("destroy-budget", {**DRAINING, PODS: [BUDGETED], BUDGETS: [ALLOWS_NONE]}),
    ],
)
def test_the_rehearsals_stories_ask_for_the_words_that_are_said(ask, story, objects):
    (words,) = (one.words for one in DESTROYS if one.name == story)
    lines = told(ask(objects))
    assert [word for word in words if not any(word in line for line in lines)] == []
    assert not any(words[0] in line for line in told(ask(DRAINING)))
