"""The account's CloudFormation: the engine, on the emulated AWS."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable

from eks_rehearsal.account.endpoint import Endpoint, Environ
from eks_rehearsal.account.sessions import Sessions
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.wire import Response
from eks_rehearsal.cloudformation.api import CloudFormation, bucket_and_key
from eks_rehearsal.cloudformation.custom import HOST, CustomResources, find
from eks_rehearsal.cloudformation.engine import Engine, Event, Stack, Surroundings
from eks_rehearsal.cloudformation.nested import NestedStacks
from eks_rehearsal.cloudformation.resource import Context
from eks_rehearsal.cloudformation.types import TYPES
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.functions import Functions


class Stacks:
    """The stacks of an account, and what CloudFormation asks of it.

    Args:
        aws: The emulated AWS.

        functions: Run custom resources.

        sessions: Whose credentials it makes resources with.

        heard: Is told each event of a stack.
    """

    def __init__(
        self, aws: EmulatedAws, functions: Functions, sessions: Sessions, heard: Callable[[Event], None]
    ) -> None:
        self._aws, self._sessions = aws, sessions
        self._custom = CustomResources(lambda: functions, self._refusal)
        self.cloudformation = CloudFormation(
            Engine(self._surroundings(heard)),
            where={"partition": aws.world.partition, "region": aws.region, "account": aws.account},
            read=self._read,
            public=self._parameter,
        )

    def endpoints(self) -> list[Endpoint]:
        """CloudFormation's API, and where custom resources put their answers."""
        return [
            Endpoint(lambda environ, service: service == "cloudformation" and _is_form(environ), self._answer),
            Endpoint(lambda environ, _: environ.get("HTTP_HOST", "").startswith(HOST), self._responded),
        ]

    def _surroundings(self, heard: Callable[[Event], None]) -> Surroundings:
        partition = self._aws.world.partition
        zones = self._aws.client("ec2").describe_availability_zones()["AvailabilityZones"]
        nested = NestedStacks(lambda: self.cloudformation).type
        return Surroundings(
            context=self._context,
            pseudo={
                "AWS::AccountId": self._aws.account,
                "AWS::Partition": partition,
                "AWS::Region": self._aws.region,
                "AWS::URLSuffix": "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com",
            },
            zones=tuple(zone["ZoneName"] for zone in zones),
            public=self._parameter,
            types=find({**TYPES, nested.name: nested}, self._custom),
            heard=heard,
            stacks=lambda: self.cloudformation.alive(),  # noqa: PLW0108 - which is made of this
        )

    def _context(self, stack: Stack, logical_id: str) -> Context:
        aws, session = self._aws, self._sessions.of(stack.role)
        where = (aws.endpoint, aws.account, aws.world.partition)
        return Context(session, *where, stack.name, stack.id, logical_id, stack.role)

    def _refusal(self, role: str, action: str, resource: str) -> str:
        with self._aws.world.turn:
            return self._aws.world.refusal(role, action, resource)

    def _parameter(self, name: str) -> str:
        client = self._aws.client("ssm")
        try:
            return str(client.get_parameter(Name=name)["Parameter"]["Value"])
        except client.exceptions.ParameterNotFound:
            raise RehearsalError(f"the Systems Manager has no parameter {name}") from None

    def _read(self, address: str) -> str:
        bucket, key = bucket_and_key(address)
        return str(self._aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode())

    def _answer(self, _: Environ, body: bytes) -> Response:
        status, xml = self.cloudformation.answer(urllib.parse.parse_qs(body.decode(), keep_blank_values=True))
        return Response(status, {"Content-Type": "text/xml"}, xml.encode())

    def _responded(self, environ: Environ, body: bytes) -> Response:
        awaited = self._custom.answered(environ["PATH_INFO"], body)
        return Response(200 if awaited else 403, {}, b"")


def _is_form(environ: Environ) -> bool:
    return str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded")
