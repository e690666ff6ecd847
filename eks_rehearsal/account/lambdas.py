"""The account's Lambda functions, as moto keeps them and this machine runs them."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eks_rehearsal.account.endpoint import JSON, Endpoint, Environ
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.wire import Response
from eks_rehearsal.functions import Functions
from eks_rehearsal.functions.runner import Function, decode
from eks_rehearsal.processes import Processes
from eks_rehearsal.programs import cache_folder


class Lambdas:
    """Finds functions and layers, and answers Invoke.

    Args:
        aws: The emulated AWS.

        processes: What functions run in.

        environment: What leads them to the emulated AWS.

        node: The Node.js program.

        node_modules: What Lambda's Node.js runtime has.
    """

    def __init__(
        self, aws: EmulatedAws, processes: Processes, environment: Mapping[str, str], node: Path, node_modules: Path
    ) -> None:
        self._aws = aws
        self.functions = Functions(
            processes=processes,
            unpacked=cache_folder() / "unpacked",
            find=self._function,
            credentials=aws.credentials_for,
            environment=dict(environment),
            node=node,
            node_modules=node_modules,
        )

    def layer_folders(self) -> list[Path]:
        """The folders of every layer that a function has."""
        with self._aws.backend("lambda") as lambdas:
            arns = dict.fromkeys(layer["Arn"] for found in lambdas.list_functions() for layer in found.layers)
        unpacked = [self.functions.layer(self._layer(arn)) for arn in arns]
        return [folder for layer in unpacked for folder in sorted(layer.iterdir()) if folder.is_dir()]

    def run(self, arn: str, event: Any) -> tuple[Any, str]:
        """What a function answers, and what Lambda calls its error, if there is one."""
        answer = self.functions.invoke(arn, event)
        return answer.payload, answer.error

    def endpoints(self) -> list[Endpoint]:
        """Lambda's Invoke."""
        return [Endpoint(lambda environ, _: environ.get("PATH_INFO", "").endswith("/invocations"), self._invoke)]

    def _invoke(self, environ: Environ, body: bytes) -> Response:
        name = urllib.parse.unquote(environ["PATH_INFO"].split("/")[-2])
        event = decode(body)
        if environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event":
            self.functions.invoke_later(name, event)
            return Response(202, {}, b"")
        answer = self.functions.invoke(name, event)
        failed = {"X-Amz-Function-Error": answer.error} if answer.error else {}
        return Response(200, {**JSON, **failed}, json.dumps(answer.payload).encode())

    def _layer(self, arn: str) -> bytes:
        with self._aws.backend("lambda") as lambdas:
            return bytes(lambdas.layers_versions_by_arn(arn).code_bytes)

    def _function(self, name: str) -> Function:
        with self._aws.backend("lambda") as lambdas:
            found = lambdas.get_function(name)
            self._check_logs(found)
        return Function(
            arn=found.function_arn,
            name=found.function_name,
            handler=found.handler,
            runtime=found.run_time,
            role=found.role,
            timeout=int(found.timeout),
            memory=int(found.memory_size),
            environment=found.environment_vars,
            code=found.code_bytes,
            layers=tuple(self._layer(layer["Arn"]) for layer in found.layers),
        )

    def _check_logs(self, found: Any) -> None:
        """Whether the role may write the function's log; without it a function runs, and says nothing."""
        world = self._aws.world
        group = self._aws.extensions.logs.of(found.function_name)
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            world.refusal(found.role, action, world.arn("logs", f"log-group:{group}:log-stream:rehearsal"))
