"""Step Functions: a waiter runs the account's own functions until one succeeds, and nothing else is run."""

import json

import pytest
from botocore.exceptions import ClientError

from eks_rehearsal.aws.extensions import states
from eks_rehearsal.aws.hooks import Hooks
from eks_rehearsal.aws.server import EmulatedAws
from tests.until import until

TASK, OTHERWISE = (f"arn:aws:lambda:eu-west-1:123456789012:function:{name}" for name in ("isComplete", "onTimeout"))
INPUT = {"RequestType": "Create"}
# As the CDK's framework refuses to be done: the message is the event, which its onTimeout reads again.
NOT_YET = ({"errorType": "Error", "errorMessage": json.dumps(INPUT), "trace": []}, "Unhandled")
DONE = ({"done": True}, "")


def waiter(**more):
    """The definition of the CDK's, for a wait of a second."""
    again = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1, "BackoffRate": 1, **more}
    caught = {"ErrorEquals": ["States.ALL"], "Next": "timeout"}
    task = {"End": True, "Retry": [again], "Catch": [caught], "Type": "Task", "Resource": TASK}
    return {
        "StartAt": "wait",
        "States": {"wait": task, "timeout": {"End": True, "Type": "Task", "Resource": OTHERWISE}},
    }


class World:
    """A Step Functions, a role that it may take, and functions that answer as told, the last answer again and again."""

    def __init__(self, aws, calls):
        self.aws, self.calls, self.client = aws, calls, aws.client("stepfunctions")
        self.role, self.other = (self.of(service) for service in ("states", "ec2"))
        self.machines = 0

    def of(self, service):
        statement = {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": f"{service}.amazonaws.com"},
        }
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        return self.aws.client("iam").create_role(RoleName=service, AssumeRolePolicyDocument=trust)["Role"]["Arn"]

    def machine(self, definition=None, role=None):
        self.machines += 1
        return self.client.create_state_machine(
            name=f"waiter-{self.machines}",
            definition=json.dumps(definition or waiter()),
            roleArn=role or self.role,
        )["stateMachineArn"]

    def run(self, answers, machine=None, otherwise=DONE):
        """What an execution ends as, and what was called."""
        self.calls.clear()
        left = list(answers)

        def invoke(arn, event):
            self.calls.append((arn, event))
            if arn == OTHERWISE:
                return otherwise
            return left.pop(0) if len(left) > 1 else left[0]

        self.aws.hooks.invoke = invoke
        asked = {"stateMachineArn": machine or self.machine(), "input": json.dumps(INPUT)}
        arn = self.client.start_execution(**asked)["executionArn"]
        assert until(lambda: self.client.describe_execution(executionArn=arn)["status"] != "RUNNING", 5)
        return self.client.describe_execution(executionArn=arn)


@pytest.fixture(scope="module")
def world():
    with EmulatedAws(region="eu-west-1", hooks=Hooks()) as aws:
        yield World(aws, [])


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    monkeypatch.setattr(states, "PAUSE_SECONDS", 0.05)


def test_a_task_is_tried_with_the_same_input_until_it_succeeds(world):
    ended = world.run([NOT_YET, NOT_YET, DONE])
    assert (ended["status"], json.loads(ended["output"])) == ("SUCCEEDED", {"done": True})
    assert world.calls == [(TASK, INPUT)] * 3


def test_an_execution_is_started_and_not_waited_for(world):
    machine, seen = world.machine(), []
    world.aws.hooks.invoke = lambda *_: seen.append(1) or (DONE if len(seen) > 3 else NOT_YET)
    arn = world.client.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
    assert world.client.describe_execution(executionArn=arn)["status"] == "RUNNING"
    assert until(lambda: len(seen) > 3, 5)


def test_when_the_definitions_time_is_up_the_other_function_is_told_the_error(world):
    ended = world.run([NOT_YET], world.machine(waiter(IntervalSeconds=0.1, MaxAttempts=2)))
    *tries, (otherwise, told) = world.calls
    assert len(tries) > 1
    assert set(map(str, tries)) == {str((TASK, INPUT))}
    assert (otherwise, told["Error"], ended["status"]) == (OTHERWISE, "Error", "SUCCEEDED")
    assert json.loads(json.loads(told["Cause"])["errorMessage"]) == INPUT


def test_what_fails_at_last_is_a_failed_execution(world):
    ended = world.run([NOT_YET], world.machine(waiter(IntervalSeconds=0, MaxAttempts=1)), otherwise=NOT_YET)
    assert ended["status"] == "FAILED"
    assert [arn for arn, _ in world.calls] == [TASK, OTHERWISE]


def test_the_time_of_a_definition_is_all_its_pauses_each_longer_by_the_rate():
    assert states.Waiter(TASK, 2, 3, 1.5, OTHERWISE).seconds == 2 + 3 + 4.5


@pytest.mark.parametrize(
    "change",
    [
        lambda machine: machine["States"]["wait"].update(Type="Map"),
        lambda machine: machine["States"]["wait"].update(ResultPath="$.x"),
        lambda machine: machine["States"]["wait"]["Retry"][0].update(ErrorEquals=["Lambda.Unknown"]),
        lambda machine: machine["States"]["wait"]["Retry"].append({"ErrorEquals": ["States.ALL"]}),
        lambda machine: machine["States"]["wait"].pop("Retry"),
        lambda machine: machine["States"].update(more={"Type": "Succeed"}),
        lambda machine: machine.update(TimeoutSeconds=60),
        lambda machine: machine.update(StartAt="nowhere"),
    ],
)
def test_any_other_definition_is_refused_by_the_name_of_its_state_machine(world, change):
    machine = waiter()
    change(machine)
    with pytest.raises(ClientError, match=r"NotImplemented.*state machine waiter-\d+ is not a waiter"):
        world.machine(machine)
    there = world.machine()
    with pytest.raises(ClientError, match=r"NotImplemented.*is not a waiter"):
        world.client.update_state_machine(stateMachineArn=there, definition=json.dumps(machine))


def test_a_definition_that_is_no_json_is_refused(world):
    with pytest.raises(ClientError, match="is not a waiter"):
        world.client.create_state_machine(name="broken", definition="{", roleArn=world.role)


def test_a_changed_definition_is_what_runs_next(world):
    machine = world.machine()
    other = json.loads(json.dumps(waiter()).replace("isComplete", "other"))
    world.client.update_state_machine(stateMachineArn=machine, definition=json.dumps(other))
    world.run([DONE], machine)
    assert [arn for arn, _ in world.calls] == [TASK.replace("isComplete", "other")]


@pytest.mark.parametrize("role", ["other", "nobody"])
def test_a_role_that_step_functions_may_not_take_is_refused(world, role):
    arn = world.other if role == "other" else "arn:aws:iam::123456789012:role/nobody"
    with pytest.raises(ClientError, match=r"AccessDeniedException.*nor the regional one is authorized to assume"):
        world.machine(role=arn)
