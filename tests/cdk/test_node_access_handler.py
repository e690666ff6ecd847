"""The handler that lets a node role in which was there before the stack, with an EKS that answers as told."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FUNCTIONS = Path(__file__).parents[2] / "karpenter_gpu" / "cdk" / "functions"
ROLE = "arn:aws:iam::111122223333:role/nodes"
WANTED = {"ClusterName": "there", "RoleArn": ROLE, "Stack": "Platform"}


class Eks:
    """The access entries of clusters, by cluster and role."""

    class exceptions:  # noqa: N801 - as boto3 has it
        class ResourceNotFoundException(Exception):
            pass

    def __init__(self, **entry):
        self.entries = {("there", ROLE): entry} if entry else {}

    def describe_access_entry(self, *, clusterName, principalArn):  # noqa: N803
        if (clusterName, principalArn) not in self.entries:
            raise self.exceptions.ResourceNotFoundException
        return {"accessEntry": self.entries[clusterName, principalArn]}

    def create_access_entry(self, *, clusterName, principalArn, **entry):  # noqa: N803
        self.entries[clusterName, principalArn] = entry

    def delete_access_entry(self, *, clusterName, principalArn):  # noqa: N803
        del self.entries[clusterName, principalArn]


def told(monkeypatch, eks, request, **more):
    """The handler's answer."""
    answers = []
    monkeypatch.syspath_prepend(FUNCTIONS)
    sent = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr("urllib.request.urlopen", lambda asked, **_: answers.append(json.loads(asked.data)) or sent)
    for name in ("aws", "answer", "node_access"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    handler = importlib.import_module("node_access")
    monkeypatch.setattr(handler.aws, "client", lambda _: eks)
    event = {
        "RequestType": request,
        "ResponseURL": "https://answer.test/",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Access",
        "ResourceProperties": WANTED,
    }
    handler.handler(event | more, SimpleNamespace(log_stream_name="stream"))
    (answer,) = answers
    return answer


def test_a_role_without_an_entry_gets_one_with_our_mark_and_loses_it_with_the_stack(monkeypatch):
    eks = Eks()
    made = told(monkeypatch, eks, "Create")
    assert made["Status"] == "SUCCESS"
    assert eks.entries == {("there", ROLE): {"type": "EC2_LINUX", "tags": {"karpenter-gpu/made-by": "Platform"}}}
    told(monkeypatch, eks, "Delete", PhysicalResourceId=made["PhysicalResourceId"])
    assert eks.entries == {}


@pytest.mark.parametrize("tags", [{}, {"karpenter-gpu/made-by": "Other"}])
def test_an_entry_that_others_made_is_used_and_stays(monkeypatch, tags):
    eks = Eks(type="EC2_LINUX", tags=tags)
    for request in ("Create", "Update", "Delete"):
        assert told(monkeypatch, eks, request)["Status"] == "SUCCESS"
    assert eks.entries == {("there", ROLE): {"type": "EC2_LINUX", "tags": tags}}


def test_an_entry_by_which_no_node_joins_is_said_in_a_sentence(monkeypatch):
    answer = told(monkeypatch, Eks(type="STANDARD"), "Create")
    assert answer["Status"] == "FAILED"
    assert f"{ROLE} has an access entry of type STANDARD in cluster there" in answer["Reason"]
    assert "delete it, and one of type EC2_LINUX is made, or name another node role" in answer["Reason"]


def test_another_role_is_another_resource_so_that_the_old_ones_nodes_stay_in_until_it_goes(monkeypatch):
    eks = Eks(type="EC2_LINUX", tags={"karpenter-gpu/made-by": "Platform"})
    other = {"ResourceProperties": WANTED | {"RoleArn": f"{ROLE}-2"}, "PhysicalResourceId": f"there-{ROLE}"}
    answer = told(monkeypatch, eks, "Update", **other)
    assert answer["PhysicalResourceId"] == f"there-{ROLE}-2"
    assert set(eks.entries) == {("there", ROLE), ("there", f"{ROLE}-2")}


def test_a_change_that_fails_leaves_the_resource_what_it_was(monkeypatch):
    old = {"PhysicalResourceId": "there-old"}
    assert told(monkeypatch, Eks(type="STANDARD"), "Update", **old)["PhysicalResourceId"] == "there-old"


def test_where_the_cluster_is_gone_there_is_nothing_to_take_away(monkeypatch):
    assert told(monkeypatch, Eks(), "Delete")["Status"] == "SUCCESS"
