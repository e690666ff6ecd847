"""Step Functions: the one kind of state machine that the CDK's provider framework waits with.

moto keeps state machines and executions, and runs none. Here a waiter is run, on the account's own functions: a task that is
tried again for as long as it fails, and another that takes over when it has failed for good. Any other definition is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.sts import Roles
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations, World
from eks_rehearsal.iam.evaluator import Caller, refusal

Document = dict[str, Any]
Invoke = Callable[[str, Any], tuple[Any, str]]

# The longest pause between two tries: what takes EKS minutes takes a rehearsal seconds.
PAUSE_SECONDS: Final = 3.0
_ALL: Final = ["States.ALL"]


@dataclass(frozen=True)
class Waiter:
    """What a definition says.

    Args:
        task: The ARN of the function that is tried.

        interval: Seconds before the second try.

        attempts: How often it is tried again.

        rate: By what each further pause is longer.

        otherwise: The ARN of the function that is told when it failed for good.
    """

    task: str
    interval: float
    attempts: int
    rate: float
    otherwise: str

    @classmethod
    def of(cls, name: str, definition: str) -> Waiter:
        """The waiter that a state machine is.

        Raises:
            NotImplementedError: It is anything else.
        """
        try:
            machine = json.loads(definition)
            begin = machine["StartAt"]
            task = machine["States"][begin]
            (again,), (caught,) = task["Retry"], task["Catch"]
            last = machine["States"][caught["Next"]]
            pauses = (again["IntervalSeconds"], again["MaxAttempts"], again["BackoffRate"])
            waiter = cls(task["Resource"], *pauses, last["Resource"])
            is_waiter = machine == waiter.definition(begin, caught["Next"])
        except (ValueError, LookupError, TypeError):
            is_waiter = False
        if not is_waiter:
            raise NotImplementedError(
                f"state machine {name} is not a waiter: one task with one Retry of States.ALL, and one Catch of States.ALL whose "
                "task ends it; no other definition is run in a rehearsal"
            )
        return waiter

    def definition(self, begin: str, end: str) -> Document:
        """The state machine, by the names of its two states."""
        again = {"IntervalSeconds": self.interval, "MaxAttempts": self.attempts, "BackoffRate": self.rate}
        task = {
            "Type": "Task",
            "Resource": self.task,
            "End": True,
            "Retry": [{"ErrorEquals": _ALL, **again}],
            "Catch": [{"ErrorEquals": _ALL, "Next": end}],
        }
        return {
            "StartAt": begin,
            "States": {begin: task, end: {"Type": "Task", "Resource": self.otherwise, "End": True}},
        }

    @property
    def seconds(self) -> float:
        """How long all its pauses are together."""
        return sum(self.interval * self.rate**attempt for attempt in range(self.attempts))

    def run(self, invoke: Invoke, given: Any) -> tuple[Any, str]:
        """Try until it succeeds, or until as much time has passed as the definition gives it."""
        until = time.monotonic() + self.seconds
        pause = min(self.interval, PAUSE_SECONDS)
        payload, error = invoke(self.task, given)
        while error and time.monotonic() + pause < until:
            time.sleep(pause)
            payload, error = invoke(self.task, given)
        if not error:
            return payload, ""
        return invoke(self.otherwise, {"Error": payload.get("errorType", error), "Cause": json.dumps(payload)})


class StepFunctions:
    """The operations on state machines and executions that must do more than be remembered."""

    def __init__(self, world: World, roles: Roles) -> None:
        self._world, self._roles = world, roles

    @property
    def operations(self) -> Operations:
        table = {
            "CreateStateMachine": self.create,
            "UpdateStateMachine": self.update,
            "StartExecution": self.start,
            "StartSyncExecution": self._not_known,
        }
        return {("states", action): operation for action, operation in table.items()}

    @staticmethod
    def _not_known(call: Call) -> None:
        raise NotImplementedError(f"this Step Functions has no {call.action}")

    def create(self, call: Call) -> Document:
        asked = call.parameters
        self._check(asked["name"], asked["definition"], asked["roleArn"])
        return self._world.moto(call)

    def update(self, call: Call) -> Document:
        there = self._world.backend("stepfunctions").describe_state_machine(call.parameters["stateMachineArn"])
        asked = {"definition": there.definition, "roleArn": there.roleArn, **call.parameters}
        self._check(there.name, asked["definition"], asked["roleArn"])
        return self._world.moto(call)

    def _check(self, name: str, definition: str, arn: str) -> None:
        Waiter.of(name, definition)
        role, region = self._roles.find(arn), self._world.region
        services = frozenset({"states.amazonaws.com", f"states.{region}.amazonaws.com"})
        context = {
            "aws:sourceaccount": (self._world.account,),
            "aws:sourcearn": (self._world.arn("states", f"stateMachine:{name}"),),
        }
        caller = Caller({"Service": services}, context)
        why = refusal(role.assume_role_policy_document, "sts:AssumeRole", caller) if role else "there is no such role"
        if why:
            text = "Neither the global service principal states.amazonaws.com, nor the regional one is authorized to assume"
            raise AwsError("AccessDeniedException", f"{text} the provided role {arn}: {why}")

    def start(self, call: Call) -> Document:
        answer = self._world.moto(call)
        machines = self._world.backend("stepfunctions")
        machine = machines.describe_state_machine(call.parameters["stateMachineArn"])
        execution = machines.describe_execution(answer["executionArn"])
        waiter = Waiter.of(machine.name, machine.definition)
        self._world.background(self._run, waiter, execution, machine.roleArn)
        return answer

    def _run(self, waiter: Waiter, execution: Any, role: str) -> None:
        def invoke(function: str, given: Any) -> tuple[Any, str]:
            with self._world.turn:
                why = self._world.refusal(role, "lambda:InvokeFunction", function)
            name = "Lambda.AWSLambdaException"
            return (
                ({"errorType": name, "errorMessage": why}, name) if why else self._world.hooks.invoke(function, given)
            )

        payload, error = waiter.run(invoke, json.loads(execution.execution_input))
        execution.stop_date = utcnow()
        execution.output, execution.error = json.dumps(payload), error or None
        execution.status = "FAILED" if error else "SUCCEEDED"
