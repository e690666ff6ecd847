"""One AWS request: who asks which service for what, read and answered as botocore's model of the service says."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import unquote
from xml.sax.saxutils import escape

import botocore.parsers
from botocore.exceptions import UnknownServiceError
from moto.core.exceptions import ServiceException
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request as MotoRequest
from moto.core.request import determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import XFormedAttributePicker, get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound

Environ = dict[str, Any]

# Signing names that are not the names of botocore's models.
_MODELS: Final = {
    "cloudcontrolapi": "cloudcontrol",
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "states": "stepfunctions",
}
_UNSIGNED_ACTIONS: Final = {"AssumeRoleWithWebIdentity": "sts", "AssumeRoleWithSAML": "sts"}
_UNSIGNED_PATHS: Final = (
    (re.compile(r"^/clusters/[^/]+/assume-role-for-pod-identity$"), "eks-auth"),
    (re.compile(r"^/\d{4}-\d{2}-\d{2}/functions/"), "lambda"),
)
_CREDENTIAL: Final = re.compile(r"Credential=([^,&\s]+)", re.IGNORECASE)
_ACTION: Final = re.compile(r"(?:^|&)Action=([A-Za-z0-9]+)")
_AWS_HOST: Final = re.compile(r"^(?:(?P<label>[a-z0-9.-]+)\.)?amazonaws\.com(\.cn)?(:\d+)?$")
_REGION: Final = re.compile(r"^[a-z]{2}(-[a-z]+)+-\d$")
_S3_LABEL: Final = re.compile(r"(^|\.)s3([.-]|$)")


class AwsError(ServiceException):
    """An error of a service, answered in that service's own shape."""

    def __init__(self, code: str, message: str, *, status: int = 0) -> None:
        super().__init__(code, message)
        self.status = status


class PassedOn(Exception):
    """moto's own refusal, to be handed to the caller as it is."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Response(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Identity(NamedTuple):
    """Who asks which service; empty strings where a request does not say."""

    service: str
    region: str
    access_key: str


def body_of(environ: Environ) -> bytes:
    """The whole body, left to be read again."""
    stream = environ["wsgi.input"]
    stream.seek(0)
    body: bytes = stream.read()
    stream.seek(0)
    return body


def _identity_of_scope(scope: str) -> Identity:
    access_key, _, rest = scope.partition("/")
    # SigV4 is date/region/service/aws4_request; SigV4a has no region.
    _date, *region, service = rest.removesuffix("/aws4_request").split("/")
    return Identity(service.lower(), region[0] if region else "", access_key)


def _identity_of_host(host: str) -> Identity:
    match = _AWS_HOST.match(host.lower())
    label = (match and match["label"]) or ""
    if _S3_LABEL.search(label):
        regions = [part for part in label.split(".") if _REGION.match(part)]
        return Identity("s3", regions[-1] if regions else "", "")
    parts = [part for part in label.split(".") if part]
    if len(parts) > 1 and _REGION.match(parts[-1]):
        # api.ecr.us-east-1, api.pricing.us-east-1: the service stands next to the region.
        return Identity(parts[-2], parts[-1], "")
    return Identity(parts[0] if parts else "", "", "")


def identity_of(environ: Environ) -> Identity:
    """From the credential scope, else the host, the action or the path; S3 when nothing tells, as moto has it."""
    query = environ.get("QUERY_STRING", "")
    for text in (environ.get("HTTP_AUTHORIZATION", ""), query):
        if (scope := _CREDENTIAL.search(text)) and scope[1].count("/") + scope[1].upper().count("%2F") >= 3:
            return _identity_of_scope(unquote(scope[1]))
    if (action := form_action(environ)) in _UNSIGNED_ACTIONS:
        return Identity(_UNSIGNED_ACTIONS[action], "", "")
    for pattern, service in _UNSIGNED_PATHS:
        if pattern.match(environ.get("PATH_INFO", "")):
            return Identity(service, "", "")
    found = _identity_of_host(environ.get("HTTP_HOST", ""))
    return found if found.service else Identity("s3", "", "")


def form_action(environ: Environ) -> str:
    """The `Action` of a query protocol's request, from the query or the form; empty when it has none."""
    texts = [environ.get("QUERY_STRING", "")]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        texts.append(body_of(environ).decode("utf-8", "replace"))
    return next((match[1] for text in texts if (match := _ACTION.search(text))), "")


@cache
def model_of(service: str) -> ServiceModel | None:
    """The service's model; None for a name botocore does not know."""
    try:
        return get_service_model(_MODELS.get(service, service))
    except (UnknownServiceError, ValueError):
        return None


def _moto_request(environ: Environ) -> MotoRequest:
    return MotoRequest({**environ, "wsgi.input": io.BytesIO(body_of(environ))})


@dataclass(eq=False)
class Call:
    """One request, and its answer's status once there is one.

    Args:
        time: Unix time.

        service: The signing name.

        region: Of the credential scope; empty when the request has none.

        access_key: Of the credential scope; empty for an unsigned request.

        environ: The request itself; its input can be read again and again.

        principal: The ARN of the role or user whose key it is; the account's root for keys that nobody gave out.

        status: The answer's; 0 while there is none.
    """

    time: float
    service: str
    region: str
    access_key: str
    environ: Environ = field(repr=False)
    principal: str = ""
    status: int = 0

    @cached_property
    def action(self) -> str:
        """The API action; method and path where the service's model has none for them."""
        named = form_action(self.environ) or self.environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if named:
            return str(named)
        operation = self.operation
        return operation.name if operation else f"{self.environ['REQUEST_METHOD']} {self.environ['PATH_INFO']}"

    @cached_property
    def _match(self) -> tuple[OperationModel | None, dict[str, Any]]:
        model = model_of(self.service)
        if model is None:
            return None, {}
        try:
            return get_service_router(model.service_name).match(_moto_request(self.environ))
        except (NotFound, NotImplementedError):
            return None, {}

    @property
    def operation(self) -> OperationModel | None:
        """The operation in the service's model."""
        return self._match[0]

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The request's parameters under their names in the model; empty for a request that the model does not know."""
        operation, in_path = self._match
        if operation is None:
            return {}
        request = _moto_request(self.environ)
        protocol = determine_request_protocol(operation.service_model, request.content_type)
        values, data = request.values, request.data
        parsed = PROTOCOL_PARSERS[protocol](operation).parse(
            {
                "method": request.method,
                "values": values,
                "headers": request.headers,
                "body": data,
                "url_path": request.path,
                "url_params": in_path,
            }
        )
        return dict(parsed)

    def answer(self, result: object) -> Response:
        """A result, or an error, as the service would send it."""
        operation = self.operation
        model = model_of(self.service)
        if model is None or _is_unmodelled(result, model):
            return _error_by_hand(self, result)
        protocol = determine_request_protocol(model, self.environ.get("CONTENT_TYPE", ""))
        serializer = get_serializer_class(model.service_name, protocol)
        sent = serializer(operation or OperationModel({}, model), value_picker=_picker(result)).serialize(result)
        status = getattr(result, "status", 0) or sent["status_code"]
        body = sent["body"]
        return Response(status, dict(sent["headers"]), body.encode() if isinstance(body, str) else body)

    def parse(self, response: Response) -> dict[str, Any]:
        """The documents in an answer, under their names in the model.

        Raises:
            PassedOn: It is an error's answer.
        """
        if response.status >= 300 or self.operation is None:
            raise PassedOn(response)
        protocol = determine_request_protocol(self.operation.service_model, self.environ.get("CONTENT_TYPE", ""))
        parsed = botocore.parsers.create_parser(protocol).parse(
            {"status_code": response.status, "headers": response.headers, "body": response.body},
            self.operation.output_shape,
        )
        parsed.pop("ResponseMetadata", None)
        return dict(parsed)


def _picker(result: object) -> Any:
    """How members are found: by their names in documents, as moto does it in moto's own objects."""
    if isinstance(result, (Mapping, Exception)) or result is None:
        return None
    from moto.ec2.responses import EC2Response  # noqa: PLC0415 - with moto.ec2 come 2 s of tables

    return XFormedAttributePicker(response_transformers=EC2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER)


def _is_unmodelled(result: object, model: ServiceModel) -> bool:
    """Whether it is an error that the service's model has no shape for: moto warns of those."""
    known = {shape.error_code for shape in model.error_shapes}
    return isinstance(result, ServiceException) and bool(known) and result.code not in known


def _error_by_hand(call: Call, result: object) -> Response:
    code, message = getattr(result, "code", "InternalFailure"), getattr(result, "message", str(result))
    status = getattr(result, "status", 0) or 400
    model = model_of(call.service)
    protocol = model.protocol if model else "rest-xml"
    if "json" in (protocol or "") or "HTTP_X_AMZ_TARGET" in call.environ:
        body = json.dumps({"__type": code, "message": message})
        return Response(status, {"Content-Type": "application/json", "X-Amzn-Errortype": code}, body.encode())
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    whole = {"ec2": f"<Response><Errors>{error}</Errors></Response>", "rest-xml": error}
    body = whole.get(protocol or "", f"<ErrorResponse>{error}</ErrorResponse>")
    return Response(status, {"Content-Type": "text/xml"}, body.encode())


def tags_of(specifications: Iterable[Mapping[str, Any]], resource_type: str) -> dict[str, str]:
    """The tags that EC2's tag specifications give to one type of resource."""
    return {
        tag["Key"]: tag.get("Value", "")
        for specification in specifications
        if specification.get("ResourceType") == resource_type
        for tag in specification.get("Tags", ())
    }
