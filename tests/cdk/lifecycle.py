"""A custom resource as CloudFormation drives its function: created, updated, replaced, rolled back, deleted, and all that twice.

Source: CloudFormation user guide, "Custom resources" and "Replacing a custom resource during an update".
"""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

FUNCTIONS = Path(__file__).parents[2] / "karpenter_gpu" / "cdk" / "functions"
ANSWER = "https://answer.test/"
STACK = "arn:aws:cloudformation:eu-west-1:111122223333:stack/Platform/0a1b"


def load(monkeypatch: Any, *names: str) -> list[Any]:
    """Modules of the functions, as new as after a cold start."""
    monkeypatch.syspath_prepend(FUNCTIONS)
    for name in ("aws", "answer", "cluster_api", *names):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return [importlib.import_module(name) for name in names]


class Refusals:
    """What AWS answers first, and the clock that a client waits by.

    Args:
        code: The error's.

        status: HTTP's.

        times: How often.

        then: What it answers after that.
    """

    def __init__(self, monkeypatch: Any, code: str, status: int, times: int, *, then: str) -> None:
        self._code, self._status, self._left, self._then, self.now = code, status, times, then, 0.0
        monkeypatch.setattr("time.time", lambda: self.now)
        monkeypatch.setattr("time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def client(self, service: str, **config: Any) -> Any:
        """A real client that never leaves the machine."""
        made = boto3.Session("AKIA", "secret", region_name="eu-west-1").client(service, **config)
        made.meta.events.register("before-send", self._send)
        return made

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        self._left -= 1
        refused = self._left >= 0
        json_, xml = (
            f'{{"__type":"{self._code}","message":"no"}}',
            f"<R><Errors><Error><Code>{self._code}</Code></Error></Errors></R>",
        )
        body = (xml if "ec2" in request.url else json_) if refused else self._then
        headers = {"x-amzn-errortype": self._code} if refused else {}
        response = AWSResponse(request.url, self._status if refused else 200, headers, None)
        response._content = body.encode()
        return response


class Resource:
    """One custom resource of a stack.

    Args:
        handler: Of the function.

        twice: Whether Lambda delivers every event a second time, as it may; the second answer is the one that counts.
    """

    def __init__(self, monkeypatch: Any, handler: Callable[[Any, Any], None], *, twice: bool = False) -> None:
        self._handler, self._times = handler, 2 if twice else 1
        self._answers: list[dict[str, Any]] = []
        self.id: str | None = None
        self.properties: Mapping[str, Any] = {}
        self.reasons: list[str] = []
        monkeypatch.setattr("urllib.request.urlopen", self._take)

    def create(self, properties: Mapping[str, Any]) -> bool:
        """Create it; a failure is rolled back, which deletes what the answer named."""
        self.properties = properties
        made, self.id = self._send("Create", properties)
        if not made:
            assert self.delete(), "ROLLBACK_FAILED"
        return made

    def update(self, properties: Mapping[str, Any], *, fails_later: bool = False) -> bool:
        """Update it, and clean up the old one where it was replaced; or roll back.

        Args:
            fails_later: Whether another resource of the stack fails after this one.
        """
        old, old_id = self.properties, self.id
        made, id = self._send("Update", properties, old, old_id)
        if made and not fails_later:
            if id != old_id:
                assert self._send("Delete", old, id=old_id)[0], "the clean-up failed"
            self.properties, self.id = properties, id
            return True
        reached = id if made else old_id
        back, back_id = self._send("Update", old, properties, reached)
        assert back, f"UPDATE_ROLLBACK_FAILED: {self.reasons[-1]}"
        if back_id != reached:
            assert self._send("Delete", properties, id=reached)[0], "the clean-up failed"
        self.id = back_id
        return False

    def delete(self) -> bool:
        """Delete it."""
        return self._send("Delete", self.properties, id=self.id)[0]

    def _send(
        self, request: str, wanted: Mapping[str, Any], old: Mapping[str, Any] | None = None, id: str | None = None
    ) -> tuple[bool, str]:
        event = {
            "RequestType": request,
            "ResponseURL": ANSWER,
            "StackId": STACK,
            "RequestId": "request",
            "LogicalResourceId": "Resource",
            "ResourceProperties": wanted,
            **({} if old is None else {"OldResourceProperties": old}),
            **({} if id is None else {"PhysicalResourceId": id}),
        }
        for _ in range(self._times):
            self._handler(json.loads(json.dumps(event)), SimpleNamespace(log_stream_name="stream"))
        answer = self._answers[-1]
        self.reasons.append(answer["Reason"] if answer["Status"] == "FAILED" else "")
        return answer["Status"] == "SUCCESS", answer["PhysicalResourceId"]

    def _take(self, request: Any, **_: Any) -> io.BytesIO:
        assert request.full_url == ANSWER
        self._answers.append(json.loads(request.data))
        return io.BytesIO()
