"""The handler that lets a node role in by aws-auth: what others wrote there is, to the last blank, what it was."""

import copy
import hashlib
import importlib.util
import json
import sys
import urllib.error
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

FUNCTIONS = Path(__file__).parents[2] / "karpenter_gpu" / "cdk" / "functions"
ARN = "arn:aws:iam::111122223333:role/KarpenterNodeRole-there"
NAME = f"there-{ARN}"
STACK = "arn:aws:cloudformation:eu-west-1:111122223333:stack/Platform/0a1b"
OURS = {f"karpenter-gpu/made-by.{hashlib.sha256(ARN.encode()).hexdigest()[:16]}": STACK}
OTHERS = """\
# looked after by the platform team
- rolearn: arn:aws:iam::111122223333:role/auditors   # read only
  username: auditor:{{SessionName}}
  groups: [view-only]

- groups:
  - system:bootstrappers
  - system:nodes
  rolearn: arn:aws:iam::111122223333:role/KarpenterNodeRole-there-too
  username: system:node:{{EC2PrivateDNSName}}
"""
FORMS = {
    "a list": OTHERS,
    "a list whose items are indented": "".join(f"  {line}\n" if line else "\n" for line in OTHERS.splitlines()),
    "a list without a line's end": OTHERS.rstrip("\n"),
    "a list in brackets": json.dumps(yaml.safe_load(OTHERS)),
    "a list in brackets, written by the CDK": json.dumps(yaml.safe_load(OTHERS), separators=(",", ":")),
    "an empty list": "[]",
    "nothing": None,
    "a role named in a comment": f"# {ARN} comes later\n{OTHERS}",
}


class Cluster:
    """An API server that has one config map, or none, and refuses a write after somebody else's."""

    def __init__(self, data, **marks):
        metadata = {"name": "aws-auth", "resourceVersion": "1", "annotations": marks}
        self.map = None if data is None else {"metadata": metadata, "data": data}
        self.between = []
        self.calls = []

    def call(self, method, path, body=None):
        self.calls.append(method)
        assert path == "/api/v1/namespaces/kube-system/configmaps" + ("" if method == "POST" else "/aws-auth")
        if method == "GET":
            return copy.deepcopy(self.map)
        assert method in ("DELETE", "POST" if self.map is None else "PUT")
        about = body["preconditions"] if method == "DELETE" else body["metadata"]
        if method != "DELETE":
            assert (body["apiVersion"], body["kind"], about["name"]) == ("v1", "ConfigMap", "aws-auth")
        if method == "POST":
            assert about["namespace"] == "kube-system"
        else:
            # Without it the API server would let a write win over whatever came between.
            assert about["resourceVersion"] == self.map["metadata"]["resourceVersion"]
        if method == "PUT" and self.between:
            self.map["data"].update(self.between.pop(0))
            raise urllib.error.HTTPError("", 409, "Conflict", None, None)
        self.map = None if method == "DELETE" else copy.deepcopy(body)
        if self.map:
            self.map["metadata"]["resourceVersion"] = "2"
        return self.map

    @property
    def marks(self):
        return self.map["metadata"]["annotations"]

    @property
    def roles(self):
        return yaml.safe_load(self.map["data"]["mapRoles"]) if self.map else []


@pytest.fixture
def asked(monkeypatch):
    """Asks the handler, which then finds a cluster; its answer to CloudFormation."""
    answers = []

    def ask(request, cluster, name=None):
        for module, named in (
            ("cluster_api", {"Api": lambda *_: cluster}),
            ("answer", {"answer": lambda *said, name: answers.append((said[2], name))}),
        ):
            monkeypatch.setitem(sys.modules, module, SimpleModule(module, named))
        handler = loaded("aws_auth")
        monkeypatch.setenv("KUBECTL_ROLE_ARN", "ops")
        event = {
            "RequestType": request,
            "StackId": STACK,
            "ResourceProperties": {"ClusterName": "there", "RoleArn": ARN},
        }
        handler.handler({**event, **({"PhysicalResourceId": name} if name else {})}, SimpleNamespace())
        return answers[-1]

    return ask


def SimpleModule(name, named):  # noqa: N802 - makes one, as a class would
    made = ModuleType(name)
    vars(made).update(named)
    return made


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, FUNCTIONS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("form", FORMS)
def test_one_entry_comes_and_goes_and_all_else_stays_to_the_last_blank(asked, form):
    before = {"mapUsers": "- userarn: eve\n", **({"mapRoles": FORMS[form]} if FORMS[form] is not None else {})}
    cluster = Cluster(dict(before))
    why, name = asked("Create", cluster)
    assert why == ""
    ours = cluster.roles[0]
    assert (ours["rolearn"], ours["username"]) == (ARN, "system:node:{{EC2PrivateDNSName}}")
    assert ours["groups"] == ["system:bootstrappers", "system:nodes"]
    assert cluster.roles[1:] == (yaml.safe_load(before.get("mapRoles", "")) or [])
    assert asked("Delete", cluster, name)[0] == ""
    assert (cluster.map["data"], cluster.marks) == (before, {})


def test_a_map_that_was_not_there_comes_and_goes(asked):
    cluster = Cluster(None)
    _, name = asked("Create", cluster)
    assert [one["rolearn"] for one in cluster.roles] == [ARN]
    asked("Delete", cluster, name)
    assert cluster.map is None


def test_an_entry_that_was_there_is_used_and_stays_at_the_end(asked):
    text = f"- rolearn: {ARN}\n  username: system:node:{{{{EC2PrivateDNSName}}}}\n  groups: [system:nodes]\n"
    cluster = Cluster({"mapRoles": text})
    why, name = asked("Create", cluster)
    assert (why, cluster.map["data"]) == ("", {"mapRoles": text})
    asked("Delete", cluster, name)
    assert cluster.map["data"] == {"mapRoles": text}
    assert "PUT" not in cluster.calls


def test_what_somebody_else_writes_in_between_is_not_lost(asked):
    cluster = Cluster({"mapRoles": OTHERS})
    cluster.between.append({"mapUsers": "- userarn: eve\n"})
    _, name = asked("Create", cluster)
    assert cluster.map["data"]["mapUsers"] == "- userarn: eve\n"
    assert cluster.roles[0]["rolearn"] == ARN
    asked("Delete", cluster, name)
    assert cluster.map["data"] == {"mapRoles": OTHERS, "mapUsers": "- userarn: eve\n"}


def test_an_entry_that_somebody_has_written_anew_goes_without_the_comments_behind_it(asked):
    anew = f'- groups: [system:nodes]\n  rolearn: "{ARN}"\n  username: node\n'
    cluster = Cluster({"mapRoles": f"{anew}{OTHERS}"}, **OURS)
    assert asked("Delete", cluster, NAME)[0] == ""
    assert cluster.map["data"] == {"mapRoles": OTHERS}


def test_an_entry_that_somebody_has_taken_out_already_is_no_failure(asked):
    cluster = Cluster({"mapRoles": OTHERS}, **OURS)
    assert asked("Delete", cluster, NAME)[0] == ""
    assert cluster.map["data"] == {"mapRoles": OTHERS}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rolearn: x", "mapRoles is not a list, it begins with 'rolearn: x'; fix it first"),
        ("[{rolearn: x}]", "mapRoles is a YAML list in brackets, which cannot be added to with care; write it as"),
    ],
)
def test_a_map_that_could_only_be_spoiled_is_left_alone_and_said(asked, text, words):
    cluster = Cluster({"mapRoles": text})
    why, _ = asked("Create", cluster)
    assert why.startswith("aws-auth of cluster there could not be changed: ")
    assert words in why
    assert cluster.map["data"] == {"mapRoles": text}


def test_a_map_that_others_write_again_and_again_is_given_up_with_the_reason(asked):
    cluster = Cluster({"mapRoles": OTHERS})
    cluster.between = [{"mapUsers": str(place)} for place in range(9)]
    why, _ = asked("Create", cluster)
    assert "409" in why
    assert cluster.map["data"]["mapRoles"] == OTHERS
