"""Custom resources: the request to a function, the answer by PUT, as CloudFormation's protocol has it."""

from __future__ import annotations

import json
import queue
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlparse

from eks_rehearsal.cloudformation.resource import Context, HalfMade, Made, Properties, ResourceType
from eks_rehearsal.errors import NotEmulated, RehearsalError
from eks_rehearsal.functions import Answer, Functions

HOST = "cloudformation-custom-resource-response-"
LONGEST_SECONDS = 3600


@dataclass(frozen=True)
class CustomResources:
    """Makes custom resources by calling the functions that their service tokens name.

    Args:
        functions: Runs them.

        refusal: Why the stack's role may not call one; empty when it may.
    """

    functions: Callable[[], Functions]
    refusal: Callable[[str, str, str], str] = lambda _role, _action, _resource: ""
    _answers: dict[str, queue.Queue[Mapping[str, Any]]] = field(default_factory=dict)

    def type(self, name: str) -> ResourceType:
        """The type of a custom resource."""
        return ResourceType(
            name=name,
            properties=None,
            create=lambda context, properties: self._ask("Create", name, context, properties),
            update=lambda context, made, old, properties: self._ask(
                "Update", name, context, properties, id=made, more={"OldResourceProperties": _stringified(old)}
            ),
            delete=lambda context, made, properties: self._end(name, context, made, properties),
            replaced_by=frozenset({"ServiceToken"}),
        )

    def answered(self, path: str, body: bytes) -> bool:
        """Take an answer that was PUT; whether somebody waits for it."""
        waiting = self._answers.get(urlparse(path).path.strip("/"))
        if waiting is None:
            return False
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        waiting.put(answer if isinstance(answer, Mapping) else {"Reason": "the response is not a JSON object"})
        return True

    def _end(self, name: str, context: Context, id: str, properties: Properties) -> None:
        self._ask("Delete", name, context, properties, id=id)

    def _ask(
        self,
        request: str,
        name: str,
        context: Context,
        properties: Properties,
        *,
        id: str = "",
        more: Mapping[str, Any] | None = None,
    ) -> Made:
        token = secrets.token_hex(16)
        answers = self._answers[token] = queue.Queue()
        event = _event(request, name, context, properties, token) | ({"PhysicalResourceId": id} if id else {})

        def failed(answer: Answer) -> None:
            answers.put({"Status": "FAILED", "Reason": f"the function failed and did not answer: {answer.message}"})

        seconds = float(properties.get("ServiceTimeout", LONGEST_SECONDS))
        answer: Mapping[str, Any] = {}
        try:
            self._check(context.role, str(properties["ServiceToken"]))
            self.functions().invoke_later(str(properties["ServiceToken"]), {**event, **(more or {})}, failed)
            answer = answers.get(timeout=seconds)
            return _made(answer, id)
        except queue.Empty:
            error = RehearsalError(f"CloudFormation did not receive a response within {seconds:.0f} s")
        except RehearsalError as refused:
            error = refused
        finally:
            del self._answers[token]
        if request == "Create":
            # How far the function came, nobody knows: it is asked to delete what it may have made.
            raise HalfMade(str(answer.get("PhysicalResourceId") or context.name(128)), error)
        raise error

    def _check(self, role: str, function: str) -> None:
        if role and (why := self.refusal(role, "lambda:InvokeFunction", function)):
            raise RehearsalError(f"{role} is not authorized to perform: lambda:InvokeFunction: {why}")


def _event(request: str, name: str, context: Context, properties: Properties, token: str) -> dict[str, Any]:
    """The request as CloudFormation writes it, to be answered at the token."""
    return {
        "RequestType": request,
        "ServiceToken": properties["ServiceToken"],
        "ResponseURL": f"https://{HOST}{context.region.replace('-', '')}.s3.{context.region}.amazonaws.com/{token}",
        "StackId": context.stack_id,
        "RequestId": str(uuid.uuid4()),
        "LogicalResourceId": context.logical_id,
        "ResourceType": name,
        "ResourceProperties": _stringified(properties),
    }


def _made(answer: Mapping[str, Any], id: str) -> Made:
    if answer.get("Status") != "SUCCESS":
        raise RehearsalError(
            f"Received response status [FAILED] from custom resource. Message returned: {answer.get('Reason')}"
        )
    given = answer.get("PhysicalResourceId") or id
    if not given:
        raise RehearsalError("Invalid PhysicalResourceId: the custom resource's response has none")
    return Made(str(given), answer.get("Data") or {})


def _stringified(value: Any) -> Any:
    """As CloudFormation hands properties to a function: every number and truth value is text."""
    if isinstance(value, Mapping):
        return {key: _stringified(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_stringified(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


def find(types: Mapping[str, ResourceType], custom: CustomResources) -> Callable[[str], ResourceType]:
    """Finds a resource type by name: a native one of the table, or a custom one.

    The function raises `NotEmulated` for any other.
    """

    def found(name: str) -> ResourceType:
        if name in types:
            return types[name]
        if name.startswith("Custom::") or name == "AWS::CloudFormation::CustomResource":
            return custom.type(name)
        raise NotEmulated(f"the rehearsal does not know the resource type {name}")

    return found
