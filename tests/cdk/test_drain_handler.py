"""The handler that holds a deletion, with an EC2 that answers as told."""

import io
import json
from types import SimpleNamespace

import pytest

from tests.cdk.lifecycle import load

PROPERTIES = {
    "ClusterName": "gpu",
    "TimeoutSeconds": "600",
    "OnTimeout": "fail",
    "Namespace": "kube-system",
    "AskFunction": "ask",
}
TERMINATING = PROPERTIES | {"OnTimeout": "terminate"}


class World:
    """The clock, EC2, Lambda and CloudFormation, as the handler sees them."""

    def __init__(self, looks, *, remaining=2000.0):
        self.now = 1_000_000.0
        self.remaining_until = self.now + remaining
        self.looks = list(looks)
        self.filters = None
        self.invoked = []
        self.asked = []
        self.said = None
        self.seconds_of_a_question = 0
        self.busy = []
        self.refusal = None
        self.terminated = []
        self.answers = []
        self.stack = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"

    def client(self, service, **_):
        if service == "lambda":
            return SimpleNamespace(invoke=self.invoke)
        if service == "cloudformation":
            return SimpleNamespace(describe_stacks=lambda **_: {"Stacks": [{"StackStatus": self.stack}]})
        return SimpleNamespace(
            get_paginator=lambda _: SimpleNamespace(paginate=self.paginate), terminate_instances=self.terminate
        )

    def invoke(self, **given):
        if given["FunctionName"] == "ask":
            self.asked.append(json.loads(given["Payload"]))
            self.now += self.seconds_of_a_question
            if self.said is None:
                raise RuntimeError("no way into the cluster")
            return {"Payload": io.BytesIO(json.dumps(self.said).encode())}
        if self.busy:
            raise self.busy.pop()
        self.invoked.append(given)
        return {}

    def terminate(self, InstanceIds):  # noqa: N803
        if self.refusal:
            raise self.refusal
        self.terminated += InstanceIds

    def paginate(self, Filters):  # noqa: N803
        self.filters = Filters
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        instances = [
            {
                "InstanceId": name,
                "State": {"Name": "running"},
                "Tags": [{"Key": "karpenter.sh/nodepool", "Value": "inference"}],
            }
            for name in look
        ]
        return [{"Reservations": [{"Instances": instances[:1]}, {"Instances": instances[1:]}]}]

    def sleep(self, seconds):
        self.now += seconds

    def urlopen(self, request, **_):
        self.answers.append(json.loads(request.data))
        return SimpleNamespace(close=lambda: None)

    @property
    def context(self):
        return SimpleNamespace(
            get_remaining_time_in_millis=lambda: (self.remaining_until - self.now) * 1000,
            invoked_function_arn="arn:aws:lambda:eu-west-1:111122223333:function:drain",
            log_stream_name="stream",
            log_group_name="drains-log",
        )


def run(monkeypatch, world, request="Delete", **more):
    aws, index = load(monkeypatch, "aws", "drain")
    monkeypatch.setattr(aws, "client", world.client)
    monkeypatch.setattr(index.time, "time", lambda: world.now)
    monkeypatch.setattr(index.time, "sleep", world.sleep)
    monkeypatch.setattr("urllib.request.urlopen", world.urlopen)
    event = {
        "RequestType": request,
        "ResponseURL": "https://example.com/",
        "StackId": "arn:aws:cloudformation:eu-west-1:111122223333:stack/gpu-stack/1",
        "RequestId": "request",
        "LogicalResourceId": "Drain",
        "ResourceProperties": PROPERTIES,
        "OldResourceProperties": {"ClusterName": "gpu", "TimeoutSeconds": "60"},
    } | more
    index.handler(event, world.context)


def test_creation_and_update_are_answered_at_once(monkeypatch):
    for request in ("Create", "Update"):
        world = World([["i-1"]])
        run(monkeypatch, world, request)
        assert [answer["Status"] for answer in world.answers] == ["SUCCESS"]
        assert world.answers[0]["PhysicalResourceId"] == "drain-gpu"
        assert world.filters is None


OLD = {"ClusterName": "before", "TimeoutSeconds": "600"}


def test_a_cluster_that_still_has_gpu_nodes_is_not_replaced_by_one_of_another_name(monkeypatch):
    world = World([["i-1"]])
    run(monkeypatch, world, "Update", OldResourceProperties=OLD, PhysicalResourceId="drain-before")
    (answer,) = world.answers
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "drain-before")
    assert "the cluster's name changes from before to gpu" in answer["Reason"]
    assert "i-1 (pool inference, running)" in answer["Reason"]
    assert world.filters[0]["Name"] == "tag:kubernetes.io/cluster/before"


def test_an_empty_cluster_may_be_replaced_and_the_gate_stays_the_same(monkeypatch):
    world = World([[]])
    run(monkeypatch, world, "Update", OldResourceProperties=OLD, PhysicalResourceId="drain-before")
    (answer,) = world.answers
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "drain-before")


def test_a_deletion_waits_until_the_instances_are_gone(monkeypatch):
    world = World([["i-1"], ["i-1"], []])
    run(monkeypatch, world, PhysicalResourceId="drain-gpu")
    assert [answer["Status"] for answer in world.answers] == ["SUCCESS"]
    assert world.now - 1_000_000 >= 30


def test_an_instance_that_ec2_shows_late_is_waited_for(monkeypatch):
    world = World([[], ["i-late"], []])
    run(monkeypatch, world)
    assert world.answers[0]["Status"] == "SUCCESS"
    assert world.now - 1_000_000 == 40


def test_only_live_instances_of_the_clusters_pools_count(monkeypatch):
    world = World([[]])
    run(monkeypatch, world)
    assert world.filters == [
        {"Name": "tag:kubernetes.io/cluster/gpu", "Values": ["owned"]},
        {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down", "stopping", "stopped"]},
    ]


def test_it_gives_up_when_the_time_is_up_and_names_what_is_left(monkeypatch):
    world = World([["i-1", "i-2"]])
    run(monkeypatch, world)
    (answer,) = world.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith(
        "after 10 minutes 2 instance(s) of cluster gpu still run and bill: i-1 (pool inference, running), i-2 (pool "
    )
    assert "delete the stack again" in answer["Reason"]
    assert world.now - 1_000_000 == 600


def test_before_lambda_cuts_it_off_another_call_goes_on_with_the_same_deadline(monkeypatch):
    world = World([["i-1"]], remaining=120)
    run(monkeypatch, world)
    assert world.answers == []
    (call,) = world.invoked
    assert call["InvocationType"] == "Event"
    event = json.loads(call["Payload"])
    assert event["Deadline"] == 1_000_600
    second = World([["i-1"]], remaining=10_000)
    second.now = 1_000_590.0
    run(monkeypatch, second, **{key: event[key] for key in ("Deadline",)})
    assert second.answers[0]["Status"] == "FAILED"
    assert second.now == 1_000_600


def test_many_instances_are_counted_and_some_are_named(monkeypatch):
    world = World([[f"i-{n}" for n in range(20)]])
    run(monkeypatch, world)
    assert "20 instance(s)" in world.answers[0]["Reason"]
    assert "and 15 more" in world.answers[0]["Reason"]
    assert len(world.answers[0]["Reason"]) < 1024


def test_a_look_that_fails_is_looked_again_and_is_never_taken_for_nothing_left(monkeypatch):
    world = World([RuntimeError("throttled"), [], RuntimeError("throttled"), []])
    run(monkeypatch, world)
    assert world.answers[0]["Status"] == "SUCCESS"
    assert world.now - 1_000_000 == 50


def test_looks_that_never_succeed_are_answered_when_the_time_is_up(monkeypatch):
    world = World([RuntimeError("denied")])
    run(monkeypatch, world)
    (answer,) = world.answers
    assert (answer["Status"], "denied" in answer["Reason"]) == ("FAILED", True)
    assert world.now - 1_000_000 == 600


def test_a_failed_look_at_an_update_is_answered_so_that_nobody_waits_an_hour(monkeypatch):
    world = World([RuntimeError("denied")])
    run(monkeypatch, world, "Update", OldResourceProperties=OLD)
    (answer,) = world.answers
    assert (answer["Status"], "denied" in answer["Reason"]) == ("FAILED", True)


def test_it_says_why_each_instance_is_alive(monkeypatch):
    world = World([["i-1", "i-2"]])
    world.said = {"instances": {"i-1": ["pod a/train has karpenter.sh/do-not-disrupt"]}, "karpenter": []}
    run(monkeypatch, world)
    (answer,) = world.answers
    assert "pod a/train has karpenter.sh/do-not-disrupt (i-1)" in answer["Reason"]
    assert "aws logs tail drains-log" in answer["Reason"]
    assert world.asked[0]["Instances"] == {"i-1": "inference", "i-2": "inference"}


def test_progress_is_told_every_minute_and_not_at_every_look(monkeypatch, capsys):
    run(monkeypatch, World([["i-1"]]))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("waiting for 1 instance(s)")]
    assert len(told) == 10
    assert "9 more minutes at most: i-1 (pool inference, running)" in told[1]


def test_a_reason_is_never_longer_than_cloudformation_shows_and_still_ends_with_what_to_do(monkeypatch):
    world = World([[f"i-{n}" for n in range(30)]])
    world.said = {"instances": {f"i-{n}": [f"pod {n} " + "x" * 200] for n in range(30)}}
    run(monkeypatch, world)
    reason = world.answers[0]["Reason"]
    assert len(reason) <= 1000
    assert reason.endswith("what Karpenter needs has been kept")


def test_a_cluster_deleted_by_hand_is_not_waited_for(monkeypatch):
    world = World([["i-1"]])
    world.said = {"cluster": "gone", "karpenter": ["cluster gpu is gone"]}
    run(monkeypatch, world)
    (answer,) = world.answers
    assert answer["Reason"].startswith("1 instance(s) of cluster gpu still run and bill")
    assert world.now == 1_000_000


def test_a_pool_of_its_own_waits_for_its_own_instances_alone(monkeypatch):
    world = World([[]])
    run(monkeypatch, world, ResourceProperties=PROPERTIES | {"NodePool": "inference"})
    assert world.filters[:2] == [
        {"Name": "tag:kubernetes.io/cluster/gpu", "Values": ["owned"]},
        {"Name": "tag:karpenter.sh/nodepool", "Values": ["inference"]},
    ]
    assert world.answers[0]["PhysicalResourceId"] == "drain-gpu-inference"


@pytest.mark.parametrize("stack", ["DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_where_all_goes_the_gates_of_pools_leave_the_wait_to_the_one_of_all(monkeypatch, stack):
    of_pool, of_all = World([["i-1"]]), World([["i-1"]])
    of_pool.stack = of_all.stack = stack
    run(monkeypatch, of_pool, ResourceProperties=PROPERTIES | {"NodePool": "inference"})
    assert (of_pool.answers[0]["Status"], of_pool.filters) == ("SUCCESS", None)
    run(monkeypatch, of_all)
    assert of_all.answers[0]["Status"] == "FAILED"


def test_nothing_is_terminated_unless_that_was_chosen_and_never_before_the_time_is_up(monkeypatch):
    world = World([["i-1"]])
    run(monkeypatch, world)
    assert world.terminated == []
    chosen = World([["i-1"]] * 60 + [[]], remaining=2000)
    run(monkeypatch, chosen, ResourceProperties=TERMINATING)
    assert chosen.terminated == []
    assert chosen.answers[0]["Status"] == "SUCCESS"


def test_what_is_left_is_terminated_waited_for_and_told_where_that_was_chosen(monkeypatch, capsys):
    world = World([["i-1"]] * 70 + [[]], remaining=2000)
    run(monkeypatch, world, ResourceProperties=TERMINATING)
    assert set(world.terminated) == {"i-1"}
    assert world.answers[0]["Status"] == "SUCCESS"
    assert "i-1: terminated, because karpenter.on_drain_timeout is 'terminate'" in capsys.readouterr().out


def test_what_may_not_be_terminated_fails_the_destroy_with_what_ec2_said(monkeypatch):
    world = World([["i-1"]], remaining=4000)
    world.refusal = RuntimeError("termination protection")
    run(monkeypatch, world, ResourceProperties=TERMINATING)
    (answer,) = world.answers
    assert (answer["Status"], "termination protection" in answer["Reason"]) == ("FAILED", True)
    assert world.now == 1_000_000 + 600 + 13 * 60


def test_a_drain_that_ec2_never_answers_ends_before_cloudformation_hears_nothing_more(monkeypatch):
    world = World([RuntimeError("denied")], remaining=1e6)
    run(monkeypatch, world, ResourceProperties=TERMINATING | {"TimeoutSeconds": "2700"})
    (answer,) = world.answers
    assert (answer["Status"], "denied" in answer["Reason"]) == ("FAILED", True)
    assert world.now - 1_000_000 == 56 * 60


def test_what_ec2_shows_only_after_the_time_was_up_is_terminated_all_the_same(monkeypatch):
    world = World([*[RuntimeError("denied")] * 65, *[["i-1"]] * 5, []], remaining=1e6)
    run(monkeypatch, world, ResourceProperties=TERMINATING)
    assert set(world.terminated) == {"i-1"}
    assert [answer["Status"] for answer in world.answers] == ["SUCCESS"]


def test_a_cluster_that_answers_slowly_is_not_asked_once_more_when_the_time_is_up(monkeypatch):
    world = World([["i-1"]])
    world.seconds_of_a_question = 150
    run(monkeypatch, world)
    assert world.answers[0]["Status"] == "FAILED"
    assert world.now - 1_000_000 < 600 + 150 + 20


def test_handing_over_is_tried_again_while_lambda_takes_no_call(monkeypatch):
    world = World([["i-1"]], remaining=120)
    world.busy = [RuntimeError("throttled"), RuntimeError("throttled")]
    run(monkeypatch, world)
    assert (len(world.invoked), world.answers) == (1, [])


def test_a_pool_that_is_gone_is_let_go_of_by_the_cluster_and_what_was_is_told(monkeypatch, capsys):
    world = World([[]])
    world.said = {"cluster": "there", "released": ["finalizer a was removed"]}
    run(monkeypatch, world, ResourceProperties=PROPERTIES | {"NodePool": "inference"})
    assert [(one["Release"], one["Stack"]) for one in world.asked] == [("inference", "gpu-stack")]
    assert "finalizer a was removed" in capsys.readouterr().out
    assert [answer["Status"] for answer in world.answers] == ["SUCCESS"]


def test_a_cluster_that_cannot_be_asked_holds_no_pool_that_is_gone(monkeypatch):
    world = World([[]])
    run(monkeypatch, world, ResourceProperties=PROPERTIES | {"NodePool": "inference"})
    assert [answer["Status"] for answer in world.answers] == ["SUCCESS"]


def test_where_all_goes_the_gate_of_all_lets_go_of_what_the_stack_made(monkeypatch):
    world = World([[]])
    world.stack = "DELETE_IN_PROGRESS"
    run(monkeypatch, world)
    assert [(one["Release"], one["Stack"]) for one in world.asked] == [("", "gpu-stack")]
