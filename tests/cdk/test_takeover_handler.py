"""The handler that looks for a Karpenter, with a cluster that has what it is told."""

import copy
import importlib
import io
import json
import re
import sys
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

FUNCTIONS = Path(__file__).parents[2] / "karpenter_gpu" / "cdk" / "functions"
API = "https://api.test"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SELECTOR = {"app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter"}
OURS = {
    "ClusterName": "there",
    "Stack": "Platform",
    "Identity": "irsa",
    "Objects": [],
    "Version": "1.14.3",
    "Namespace": "kube-system",
    "Adopt": "false",
    "InterruptionQueue": "our-queue",
}
ADOPTING = OURS | {"Adopt": "true"}


class Cluster:
    """A cluster's API and all that the handler speaks to besides."""

    def __init__(self, *objects, compute=False):
        self.objects = {}
        for kind, one in objects:
            api, _, plural = kind.rpartition("/")
            space = one["metadata"].get("namespace")
            where = f"{api}/{f'namespaces/{space}/' if space else ''}{plural}/{one['metadata']['name']}"
            self.objects[where] = {"apiVersion": api.split("/", 2)[2], **one}
        self.compute = compute
        self.written = []
        self.answers = []
        self.refusals = []
        self.accepted = set()
        self.now = 0.0
        self.associations = []
        self.disassociated = []

    def describe_cluster(self, name):
        shown = {"endpoint": API, "certificateAuthority": {"data": ""}, "computeConfig": {"enabled": self.compute}}
        return {"cluster": shown | {"name": name}}

    def list_pod_identity_associations(self, clusterName, namespace, serviceAccount):  # noqa: N803
        assert (clusterName, serviceAccount) == ("there", "karpenter")
        return {"associations": [{"associationId": id} for where, id in self.associations if where == namespace]}

    def disassociate_access_policy(self, **asked):
        self.disassociated.append(asked)

    def urlopen(self, request, **_):
        if not request.full_url.startswith(API):
            self.answers.append(json.loads(request.data))
            return io.BytesIO()
        if self.refusals:
            raise urllib.error.HTTPError(request.full_url, self.refusals.pop(0), "", {}, None)
        self.accepted.add(request.headers["Accept"])
        asked = urlsplit(request.full_url)
        answer = getattr(self, request.method.lower())(asked.path, parse_qs(asked.query), request.data)
        if answer is None:
            raise urllib.error.HTTPError(request.full_url, 404, "", {}, None)
        return io.BytesIO(json.dumps(answer).encode())

    def get(self, path, query, _):
        if path in self.objects:
            return self.objects[path]
        api, _, plural = path.rpartition("/")
        if "namespaces" in path:
            return None
        of_kind = re.compile(rf"{re.escape(api)}/(namespaces/[^/]+/)?{plural}/[^/]+$")
        found = [one for where, one in self.objects.items() if of_kind.match(where)]
        # A list does not say of its items what they are.
        bare = [{key: value for key, value in one.items() if key != "apiVersion"} for one in found]
        return {"items": [one for one in bare if selected(one, query.get("labelSelector", [""])[0])]}

    def put(self, path, query, body):
        self.written.append((path, query["fieldManager"]))
        self.objects[path] = json.loads(body)
        return self.objects[path]


def selected(one, selector):
    labels = one["metadata"].get("labels", {})
    for name, values in re.findall(r"([^,\s=]+) in \(([^)]*)\)", selector):
        if labels.get(name) not in values.split(","):
            return False
    plain = re.sub(r"[^,\s=]+ in \([^)]*\)", "", selector)
    return all(labels.get(name) == value for name, value in re.findall(r"([^,=]+)=([^,=]+)", plain))


def crd(name, *versions, stored=("v1",), **metadata):
    served = [{"name": version, "served": True} for version in versions or ("v1",)]
    return CRDS, {
        "metadata": {"name": name, **metadata},
        "spec": {"versions": served},
        "status": {"storedVersions": list(stored)},
    }


def deployment(
    *, name="karpenter", namespace="kube-system", tag=":1.6.3", selector=SELECTOR, queue="theirs", **metadata
):
    container = {
        "name": "controller",
        "image": f"mirror.test/karpenter/controller{tag}",
        "env": [{"name": "INTERRUPTION_QUEUE", "value": queue}],
    }
    return "/apis/apps/v1/deployments", {
        "metadata": {"name": name, "namespace": namespace, "labels": selector, **metadata},
        "spec": {"selector": {"matchLabels": selector}, "template": {"spec": {"containers": [container]}}},
    }


def release(name="karpenter", namespace="kube-system", status="deployed"):
    labels = {"owner": "helm", "name": name, "status": status, "version": "1"}
    return "/api/v1/secrets", {
        "metadata": {"name": f"sh.helm.release.v1.{name}.v1", "namespace": namespace, "labels": labels}
    }


ALL = (release(), deployment(), crd("nodepools.karpenter.sh"), crd("ec2nodeclasses.karpenter.k8s.aws"))


def told(monkeypatch, cluster, wanted, request="Create", **more):
    """The handler's answer."""
    monkeypatch.syspath_prepend(FUNCTIONS)
    monkeypatch.setattr("urllib.request.urlopen", cluster.urlopen)
    monkeypatch.setattr("ssl.create_default_context", lambda **_: SimpleNamespace(verify_flags=0))
    for name in ("aws", "answer", "cluster_api", "takeover"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    aws, api, module = map(importlib.import_module, ("aws", "cluster_api", "takeover"))
    monkeypatch.setattr(api.aws, "client", lambda _: cluster)
    monkeypatch.setattr(api, "token", lambda *_: "token")

    def sleep(seconds):
        cluster.now += seconds

    for one in (api, aws):
        monkeypatch.setattr(one, "time", SimpleNamespace(time=lambda: cluster.now, sleep=sleep))
    event = {
        "RequestType": request,
        "ResponseURL": "https://answer.test/",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Takeover",
        "ResourceProperties": wanted,
    }
    module.handler(event | more, SimpleNamespace(log_stream_name="stream"))
    (answer,) = cluster.answers
    return answer["Status"], answer["Reason"]


def test_on_a_cluster_without_karpenter_there_is_nothing_to_say(monkeypatch):
    cluster = Cluster(crd("certificates.cert-manager.io"), release("grafana"))
    assert told(monkeypatch, cluster, OURS)[0] == "SUCCESS"
    assert cluster.written == []


def test_what_is_there_is_named_with_where_and_how_it_can_stay(monkeypatch):
    cluster = Cluster(*ALL)
    status, reason = told(monkeypatch, cluster, OURS)
    assert status == "FAILED"
    assert reason == (
        "cluster there has a Karpenter already: the Helm release karpenter in namespace kube-system, the Deployment "
        "kube-system/karpenter with Karpenter 1.6.3, the CRDs nodepools.karpenter.sh, ec2nodeclasses.karpenter.k8s.aws. To "
        "take it over and keep its nodes, set karpenter.adopt to true (docs/existing-karpenter.md of karpenter-gpu)"
    )
    assert cluster.written == []


def test_secrets_are_asked_for_by_name_alone(monkeypatch):
    cluster = Cluster(*ALL)
    told(monkeypatch, cluster, OURS)
    module = sys.modules["takeover"]
    assert "PartialObjectMetadataList" in module.METADATA_ALONE
    assert module.METADATA_ALONE in cluster.accepted
    assert unquote(module.RELEASES).endswith("owner=helm,name in (karpenter,karpenter-crd)")


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([crd("nodeclaims.karpenter.sh")], "the CRDs nodeclaims.karpenter.sh."),
        ([crd("capacitybuffers.autoscaling.x-k8s.io")], "the CRDs capacitybuffers.autoscaling.x-k8s.io."),
        ([release("karpenter-crd", "ops")], "the Helm release karpenter-crd in namespace ops."),
        ([deployment(tag="@sha256:0a")], "with image mirror.test/karpenter/controller@sha256:0a."),
        (
            [crd("nodepools.karpenter.sh"), crd("nodeclasses.eks.amazonaws.com")],
            "the CRDs nodepools.karpenter.sh (EKS Auto Mode was here).",
        ),
        (
            [release(namespace="karpenter"), deployment(namespace="karpenter")],
            "; then set karpenter.namespace to karpenter, where it runs, because this stack's goes to kube-system",
        ),
    ],
)
def test_any_part_of_it_is_found(monkeypatch, objects, words):
    status, reason = told(monkeypatch, Cluster(*objects), OURS)
    assert status == "FAILED"
    assert words in reason


@pytest.mark.parametrize(
    "objects",
    [
        [release(status="uninstalled")],
        [
            (
                "/apis/apps/v1/deployments",
                {
                    "metadata": {"name": "web", "namespace": "a"},
                    "spec": {"template": {"spec": {"containers": [{"image": "nginx"}]}}},
                },
            )
        ],
    ],
)
def test_what_is_not_karpenter_any_more_or_never_was_is_not_found(monkeypatch, objects):
    assert told(monkeypatch, Cluster(*objects), OURS)[0] == "SUCCESS"


def test_a_crd_of_a_later_chart_than_ours_is_not_in_its_way(monkeypatch):
    buffers = crd("capacitybuffers.autoscaling.x-k8s.io")
    assert told(monkeypatch, Cluster(buffers), OURS | {"Version": "1.13.1"})[0] == "SUCCESS"


@pytest.mark.parametrize("adopt", [OURS, ADOPTING])
def test_auto_mode_is_refused_with_the_way_out(monkeypatch, adopt):
    status, reason = told(monkeypatch, Cluster(compute=True), adopt)
    assert status == "FAILED"
    assert "is in Auto Mode" in reason
    assert "use its own NodePools for GPUs, or turn Auto Mode off" in reason


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        (
            [release(namespace="karpenter"), deployment(namespace="karpenter")],
            "set karpenter.namespace to karpenter, where it runs, because this stack's goes to kube-system",
        ),
        (
            [
                deployment(
                    name="karp-karpenter",
                    selector=SELECTOR | {"app.kubernetes.io/instance": "karp"},
                    annotations={"meta.helm.sh/release-name": "karp"},
                )
            ],
            (
                "the Deployment kube-system/karp-karpenter is not called as this stack's, karpenter of release karpenter, which "
                "cannot be changed; run 'helm uninstall karp -n kube-system', which leaves NodePools and nodes, and deploy again"
            ),
        ),
        (
            [deployment(selector={"app": "karpenter"})],
            (
                "the Deployment kube-system/karpenter is not called as this stack's, karpenter of release karpenter, which cannot "
                "be changed; run 'kubectl delete deployment karpenter -n kube-system', which leaves NodePools and nodes, and "
                "deploy again"
            ),
        ),
        (
            [deployment(annotations={"argocd.argoproj.io/tracking-id": "ops"})],
            "the Deployment kube-system/karpenter is kept by Argo CD; remove it from its Application first, without pruning",
        ),
        (
            [deployment(tag=":v0.37.1")],
            "Karpenter 0.37.1 is older than 1.0, from which alone 1.x can be reached; upgrade it to 1.0 first",
        ),
        (
            [deployment(tag=":1.15.0")],
            "Karpenter 1.15.0 is newer than the 1.14.3 of this stack; set karpenter.version to that or a later one",
        ),
        (
            [crd("nodepools.karpenter.sh", "v1beta1", stored=("v1beta1",))],
            "the CRD nodepools.karpenter.sh serves v1beta1 and not v1; upgrade Karpenter to 1.0 first",
        ),
        (
            [crd("nodeclaims.karpenter.sh", "v1", "v1beta1", stored=("v1beta1", "v1"))],
            (
                "the CRD nodeclaims.karpenter.sh still stores v1beta1; run the newest Karpenter 1.0 until its storedVersions say v1 "
                "alone"
            ),
        ),
    ],
)
def test_what_cannot_be_taken_over_is_said_in_a_sentence_and_left_alone(monkeypatch, objects, reason):
    cluster = Cluster(*objects)
    assert told(monkeypatch, cluster, ADOPTING) == ("FAILED", reason)
    assert cluster.written == []


BY_HAND = (
    deployment(),
    crd("nodepools.karpenter.sh"),
    crd("capacitybuffers.autoscaling.x-k8s.io"),
    crd("certificates.cert-manager.io"),
    ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "karpenter-core", "labels": SELECTOR}}),
    ("/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "others", "labels": {}}}),
    (
        "/api/v1/serviceaccounts",
        {
            "metadata": {
                "name": "karpenter",
                "namespace": "kube-system",
                "labels": {"app.kubernetes.io/managed-by": "eksctl"},
            }
        },
    ),
)


def test_crds_and_the_charts_objects_become_of_the_releases_to_come_and_nothing_else_does(monkeypatch):
    cluster = Cluster(*BY_HAND)
    assert told(monkeypatch, cluster, ADOPTING)[0] == "SUCCESS"
    owners = {}
    for path, one in cluster.objects.items():
        about = one["metadata"]
        marks = about.get("annotations", {})
        if about.get("labels", {}).get("app.kubernetes.io/managed-by") == "Helm":
            owners[path.rpartition("/")[2]] = (
                marks["meta.helm.sh/release-name"],
                marks["meta.helm.sh/release-namespace"],
            )
    assert {owners.pop(name) for name in ("nodepools.karpenter.sh", "capacitybuffers.autoscaling.x-k8s.io")} == {
        ("karpenter-crd", "kube-system")
    }
    assert owners == dict.fromkeys(("karpenter", "karpenter-core"), ("karpenter", "kube-system"))
    assert {path.rpartition("/")[2] for path, _ in cluster.written} == {
        "nodepools.karpenter.sh",
        "capacitybuffers.autoscaling.x-k8s.io",
        "karpenter",
        "karpenter-core",
    }
    assert "/api/v1/namespaces/kube-system/serviceaccounts/karpenter" in dict(cluster.written)


def test_what_is_helms_already_is_not_written_again(monkeypatch):
    first = Cluster(*BY_HAND)
    told(monkeypatch, first, ADOPTING)
    second = Cluster()
    second.objects = copy.deepcopy(first.objects)
    assert told(monkeypatch, second, ADOPTING)[0] == "SUCCESS"
    assert second.written == []


def test_fields_that_another_wrote_become_helms_so_that_it_meets_no_conflict(monkeypatch):
    fields = [
        {"manager": "kubectl-create", "operation": "Update", "fieldsV1": {"f:spec": {"f:names": {}}}},
        {"manager": "eksctl", "operation": "Update", "fieldsV1": {"f:spec": {"f:scope": {}}, "f:metadata": {}}},
        {"manager": "kube-apiserver", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    cluster = Cluster(crd("nodepools.karpenter.sh", managedFields=fields))
    told(monkeypatch, cluster, ADOPTING)
    status, helm = cluster.objects[f"{CRDS}/nodepools.karpenter.sh"]["metadata"]["managedFields"]
    assert status == fields[2]
    assert (helm["manager"], helm["operation"], helm["apiVersion"]) == ("helm", "Apply", "apiextensions.k8s.io/v1")
    assert helm["fieldsV1"] == {"f:spec": {"f:names": {}, "f:scope": {}}, "f:metadata": {}}


def test_a_write_that_met_another_is_made_again(monkeypatch):
    cluster = Cluster(crd("nodepools.karpenter.sh"))
    put, met = cluster.put, []

    def once(path, query, body):
        if not met:
            met.append(path)
            raise urllib.error.HTTPError(path, 409, "Conflict", {}, None)
        return put(path, query, body)

    cluster.put = once
    assert told(monkeypatch, cluster, ADOPTING)[0] == "SUCCESS"
    assert len(cluster.written) == 1


@pytest.mark.parametrize("adopt", [OURS, ADOPTING])
def test_a_controller_with_this_stacks_own_queue_is_its_own(monkeypatch, adopt):
    cluster = Cluster(release(), deployment(queue="our-queue", tag=":1.15.0"), crd("nodepools.karpenter.sh"))
    assert told(monkeypatch, cluster, adopt)[0] == "SUCCESS"
    assert cluster.written == []


@pytest.mark.parametrize(("request_type", "more"), [("Delete", {}), ("Update", {"OldResourceProperties": OURS})])
def test_once_it_has_looked_it_asks_the_cluster_nothing_more(monkeypatch, request_type, more):
    cluster = Cluster(*ALL)
    cluster.describe = None
    assert told(monkeypatch, cluster, ADOPTING, request_type, **more)[0] == "SUCCESS"


def test_another_cluster_is_looked_at_anew(monkeypatch):
    old = {"OldResourceProperties": OURS | {"ClusterName": "other"}}
    assert told(monkeypatch, Cluster(*ALL), OURS, "Update", **old)[0] == "FAILED"


def test_a_way_in_that_has_not_spread_yet_is_waited_for(monkeypatch):
    cluster = Cluster()
    cluster.refusals = [401, 401, 403]
    assert told(monkeypatch, cluster, OURS)[0] == "SUCCESS"
    assert cluster.now == 15


def test_a_way_in_that_never_opens_is_said_before_lambda_is_cut_off(monkeypatch):
    cluster = Cluster()
    cluster.refusals = [401] * 1000
    status, reason = told(monkeypatch, cluster, OURS | {"KubectlRoleArn": "arn:aws:iam::111122223333:role/ops"})
    assert status == "FAILED"
    assert (
        "the API of cluster there answered 401 to arn:aws:iam::111122223333:role/ops; see that it is mapped to"
        in reason
    )
    assert 90 <= cluster.now < 120


PLUGIN = "/apis/apps/v1/namespaces/kube-system/daemonsets/nvidia-device-plugin"
POOL = "/apis/karpenter.sh/v1/nodepools/inference"


def pool(stack=None):
    marks = {"annotations": {"karpenter-gpu/made-by": stack}} if stack else {}
    return "/apis/karpenter.sh/v1/nodepools", {"kind": "NodePool", "metadata": {"name": "inference", **marks}}


def plugin(**more):
    labels = {"app.kubernetes.io/name": "nvidia-device-plugin", **more}
    return "/apis/apps/v1/daemonsets", {
        "kind": "DaemonSet",
        "metadata": {"name": "nvidia-device-plugin", "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}},
    }


@pytest.mark.parametrize("adopt", ["false", "true"])
@pytest.mark.parametrize("stack", [None, "Another"])
def test_a_pool_of_others_with_a_name_of_this_stacks_is_said_before_the_charts(monkeypatch, stack, adopt):
    cluster = Cluster(pool(stack), deployment())
    status, reason = told(monkeypatch, cluster, OURS | {"Objects": [POOL], "Adopt": adopt})
    assert status == "FAILED"
    assert (
        "the NodePool inference is on cluster there already and is not of stack Platform, which has one of the same name; "
        "give the pool another name, or remove it with 'kubectl delete NodePool inference' and deploy again"
    ) in reason
    assert cluster.written == []


def test_a_pool_that_an_attempt_of_this_stack_left_is_its_own(monkeypatch):
    assert told(monkeypatch, Cluster(pool("Platform")), OURS | {"Objects": [POOL]})[0] == "SUCCESS"


def test_a_device_plugin_as_this_stacks_own_is_used_and_another_is_said(monkeypatch):
    assert told(monkeypatch, Cluster(plugin()), OURS | {"Objects": [PLUGIN]})[0] == "SUCCESS"
    other = plugin(**{"app.kubernetes.io/instance": "gpus"})
    status, reason = told(monkeypatch, Cluster(other), OURS | {"Objects": [PLUGIN]})
    assert status == "FAILED"
    assert "; remove it with 'kubectl delete DaemonSet nvidia-device-plugin -n kube-system' and deploy again" in reason


def test_a_pool_that_is_added_later_is_looked_for_and_one_that_a_rollback_puts_back_is_not_refused(monkeypatch):
    old, new = OURS | {"Objects": [PLUGIN]}, OURS | {"Objects": [PLUGIN, POOL]}
    update = {"request": "Update", "OldResourceProperties": old}
    assert told(monkeypatch, Cluster(*ALL, pool()), new, **update)[0] == "FAILED"
    assert told(monkeypatch, Cluster(*ALL, pool("Platform")), new, **update)[0] == "SUCCESS"


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ("irsa", "which goes before IRSA, so that the controller would keep its role"),
        ("pod-identity", "and it can have"),
    ],
)
@pytest.mark.parametrize("objects", [(), ALL])
def test_an_association_that_gives_the_controller_another_role_is_said_with_the_command(
    monkeypatch, identity, why, objects
):
    cluster = Cluster(*objects)
    cluster.associations = [("kube-system", "a-1"), ("elsewhere", "a-2")]
    status, reason = told(monkeypatch, cluster, ADOPTING | {"Identity": identity})
    assert status == "FAILED"
    assert f"the service account kube-system/karpenter has the Pod Identity association a-1, {why}" in reason
    assert "run 'aws eks delete-pod-identity-association --cluster-name there --association-id a-1'" in reason
    assert "a-2" not in reason
    assert cluster.written == []


ADMIN = {
    "PrincipalArn": "arn:aws:iam::111122223333:role/looks",
    "PolicyArn": "arn:aws:eks::aws:cluster-access-policy/A",
}


def test_cluster_admin_is_given_back_when_it_has_taken_over_and_not_before(monkeypatch):
    cluster = Cluster(*ALL)
    told(monkeypatch, cluster, OURS | {"UntilHandedOver": ADMIN})
    assert cluster.disassociated == []
    cluster.answers.clear()
    assert told(monkeypatch, cluster, ADOPTING | {"UntilHandedOver": ADMIN})[0] == "SUCCESS"
    assert cluster.disassociated == [
        {"clusterName": "there", "principalArn": ADMIN["PrincipalArn"], "policyArn": ADMIN["PolicyArn"]}
    ]


def test_what_cannot_be_given_back_fails_nothing(monkeypatch):
    cluster = Cluster(*ALL)
    cluster.disassociate_access_policy = None
    assert told(monkeypatch, cluster, ADOPTING | {"UntilHandedOver": ADMIN})[0] == "SUCCESS"
    assert len(cluster.answers) == 1
