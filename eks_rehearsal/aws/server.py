"""An AWS on loopback: moto in this process, extended where it falls short, behind one HTTP endpoint.

moto's state belongs to the process, so one `EmulatedAws` runs at a time, and each starts empty.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, cast

import boto3
import moto.backends
from botocore.config import Config
from moto.core.config import default_user_config
from moto.core.exceptions import ServiceException
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from typing_extensions import Self
from werkzeug.exceptions import HTTPException

from eks_rehearsal.aws.authorization import Authorization
from eks_rehearsal.aws.extensions import extend
from eks_rehearsal.aws.hooks import Hooks
from eks_rehearsal.aws.wire import AwsError, Call, Environ, PassedOn, Response, body_of, identity_of
from eks_rehearsal.aws.world import World
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.iam.evaluator import Policy

StartResponse = Callable[..., Any]

_REMEMBERED_CALLS: Final = 20_000
# What a body may have to be remembered; templates and charts are not for the record.
_REMEMBERED_BYTES: Final = 65_536
# A request that is not answered in its turn, as moto waits in it for up to 20 seconds.
_LONG_POLL: Final = ("sqs", "ReceiveMessage")
# Of one client; a booting node has a thread of its own, and what comes above it opens one for a single call.
_CONNECTIONS: Final = 64
# An access key that no role has: who uses it is the account's root.
_ROOT_KEY: Final = "AKIAREHEARSALROOT001"


class Front(Protocol):
    """Something that answers some requests before the emulated AWS does."""

    def matches(self, environ: Environ, service: str, action: str) -> bool:
        """Whether this request is its own."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer it, as WSGI has it; `wsgi.input` is the whole body."""


class Unknown(NamedTuple):
    """A request that nothing here knows how to answer."""

    service: str
    action: str
    reason: str


class Launched(NamedTuple):
    """An instance of the account, in few words.

    Args:
        id: Its id.

        type: Its type.

        state: As EC2 names it: `running`, `terminated` and so on.

        spot: Whether it is a spot instance.

        tags: By key.
    """

    id: str
    type: str
    state: str
    spot: bool
    tags: dict[str, str]


class _Moto(DomainDispatcherApplication):
    """moto's dispatch, by the service that was found once for each request.

    moto itself looks at the credential scope only, so presigned requests and those that came through the proxy
    to a service's own host would all go to S3.
    """

    def __init__(self) -> None:
        super().__init__(create_backend_app)

    def infer_service_region_host(self, environ: Environ, path: str) -> str | None:
        service, region = environ["rehearsal.service"], environ["rehearsal.region"]
        if environ.get("HTTP_AUTHORIZATION"):
            return super().infer_service_region_host(environ, path)
        return f"{service}.{region}.amazonaws.com"

    def knows(self, environ: Environ) -> bool:
        """Whether moto has the service at all."""
        host = self.infer_service_region_host(environ, environ.get("PATH_INFO", "")) or "s3"
        patterns = self.backend_url_patterns
        return host in moto.backends.list_of_moto_modules() or any(
            pattern.match(f"http://{host}") for _, pattern in patterns
        )


class _Handler(MotoRequestHandler):
    """werkzeug's handler, which reads a body whole and then keeps the connection for the next request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(self._body(environ))
        status, headers, body = _run(cast("_Server", self.server).app, environ)
        self.send_response(status)
        # Of the response's own framing only the length is kept: a HEAD of S3 tells it without a body.
        named = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if "content-length" not in named and status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    @staticmethod
    def _body(environ: Environ) -> bytes:
        stream = environ["wsgi.input"]
        if environ.pop("wsgi.input_terminated", False):
            data: bytes = stream.read()
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        else:
            data = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["CONTENT_LENGTH"] = str(len(data))
        return data

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing: the calls are remembered."""


class _Server(ThreadingHTTPServer):
    """One thread a connection; the attributes are what werkzeug's handler looks for."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    multithread = True
    multiprocess = False
    ssl_context = None
    passthrough_errors = False
    _server_version = "rehearsal"

    def __init__(self, address: tuple[str, int], app: Any) -> None:
        self.app = app
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks a name server for the name of this host.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing: the calls are remembered."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def _run(app: Any, environ: Environ) -> tuple[int, list[tuple[str, str]], bytes]:
    """A WSGI application's whole answer."""
    started: list[tuple[int, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], None]:
        started.append((int(status.split(maxsplit=1)[0]), headers))
        return lambda _data: None

    chunks = app(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    status, headers = started[-1]
    return status, headers, body


class EmulatedAws:
    """AWS for one account and region, as a context manager.

    Args:
        authorize: Whether calls of roles and users are decided by their policies.

        controls: Service control policies; they count where `authorize` is on.

        spread: For how many seconds a change of policies does not count yet.

    Attributes:
        endpoint: `http://127.0.0.1:PORT`, for AWS_ENDPOINT_URL.

        calls: Every request there was, with who asked and its answer's status; the oldest go first.

        unknown: The requests nothing here knows; each was answered with 501.
    """

    def __init__(
        self,
        *,
        region: str,
        account: str = "123456789012",
        port: int = 0,
        hooks: Hooks | None = None,
        fronts: Sequence[Front] = (),
        authorize: bool = False,
        controls: Sequence[Policy] = (),
        spread: float = 0.0,
    ) -> None:
        self.region, self.account = region, account
        self.hooks = hooks or Hooks()
        self.fronts = list(fronts)
        self._authorize, self._controls, self._spread = authorize, controls, spread
        self.calls: deque[Call] = deque(maxlen=_REMEMBERED_CALLS)
        self.unknown: list[Unknown] = []
        self.endpoint = ""
        self._port = port
        self._moto = _Moto()
        self._server: _Server | None = None
        self._lock = threading.Lock()
        self._clients: dict[tuple[Any, ...], Any] = {}
        self._session: Any = boto3.session.Session(region_name=region)

    # Its life.

    def __enter__(self) -> Self:
        self._reset()
        self.world = World(self.region, self.account, self.hooks, self._ask_moto, self._moto_response)
        self.extensions = extend(self.world)
        self.authorization = Authorization(self.world, self.extensions.roles, self._controls, self._spread)
        if self._authorize:
            self.world.refusal = self.authorization.refusal
        try:
            self._server = _Server(("127.0.0.1", self._port), self)
        except OSError as error:
            way_out = (
                f"port {self._port} of 127.0.0.1 is not available ({error.strerror}); name another one with --port"
            )
            raise RehearsalError(way_out) from error
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="emulated AWS").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self._clients.clear()
        default_user_config["iam"]["load_aws_managed_policies"] = False
        moto_api_backend.reset()

    @staticmethod
    def _reset() -> None:
        # The policies that templates name by ARN: moto has them, and leaves them out unless told.
        default_user_config["iam"]["load_aws_managed_policies"] = True
        moto_api_backend.reset()

    # What the rest of the rehearsal asks of it.

    @contextlib.contextmanager
    def backend(self, service: str) -> Iterator[Any]:
        """Moto's backend object of a service, in this account and region, while no request is answered."""
        with self.world.turn:
            yield self.world.backend(service)

    def client(self, service: str, **credentials: str) -> Any:
        """A boto3 client of this AWS, as the account's root unless given other credentials (boto3's names).

        Each is made once: a client is good for all threads, and making one takes longer than most calls.
        """
        asked = (service, *sorted(credentials.items()))
        with self._lock:
            # A session reads botocore's models once; making clients of one is not safe in two threads.
            if asked not in self._clients:
                self._clients[asked] = self._made(service, credentials)
            return self._clients[asked]

    def _made(self, service: str, credentials: dict[str, str]) -> Any:
        keys = {"aws_access_key_id": _ROOT_KEY, "aws_secret_access_key": "rehearsal", **credentials}
        options = Config(
            retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, max_pool_connections=_CONNECTIONS
        )
        return self._session.client(service, endpoint_url=self.endpoint, config=options, **keys)

    def instances(self) -> list[Launched]:
        """Every instance that was launched, those that are terminated, too.

        Read where moto keeps them: whoever looks twice a second at hundreds would keep the account busy with XML.
        """
        with self.backend("ec2") as ec2:
            return [
                Launched(
                    one.id,
                    one.instance_type,
                    one.state,
                    one.lifecycle == "spot",
                    {tag["key"]: tag["value"] for tag in one.get_tags()},
                )
                for reservation in ec2.all_reservations()
                for one in reservation.instances
            ]

    def role_of(self, access_key: str) -> str | None:
        """The ARN of the role whose session this access key is; None for any other key."""
        return self.extensions.roles.role_of(access_key)

    def credentials_for(self, role: str, session: str) -> dict[str, str]:
        """Environment variables with which a program acts as a role (by its ARN), whatever the role's trust says."""
        with self.world.turn:
            return self.extensions.roles.credentials_for(role, session)

    def put_aws_event(self, source: str, detail_type: str, detail: dict[str, Any], resources: Sequence[str]) -> int:
        """Send an event as AWS itself does, through the default bus's rules; how many targets had it."""
        with self.world.turn:
            return self.extensions.events.put(source, detail_type, detail, resources)

    # Answering.

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        call = self._call(environ)
        self.calls.append(call)
        response = self._refused(call)
        for front in self.fronts if response is None else ():
            if front.matches(environ, call.service, call.action):
                return front(environ, self._noting(call, start_response))
        response = response or self._answer(call)
        headers = list(response.headers.items())
        self._noting(call, start_response)(f"{response.status} -", headers)
        self._forget_large(call)
        return [response.body]

    def _call(self, environ: Environ) -> Call:
        service, region, key = identity_of(environ)
        environ["rehearsal.service"], environ["rehearsal.region"] = service, region or self.region
        # moto takes the account from the access key unless told.
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.account
        if ".amazonaws.com" in environ.get("HTTP_HOST", ""):
            # It came through the proxy, where TLS ended: URLs in answers (a queue's) must say what the caller used.
            environ["wsgi.url_scheme"] = "https"
        with self.world.turn:
            principal = self.extensions.roles.principal_of(key)
        return Call(time.time(), service, region or self.region, key, environ, principal)

    @staticmethod
    def _noting(call: Call, start_response: StartResponse) -> StartResponse:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            call.status = int(status.split(maxsplit=1)[0])
            return start_response(status, headers, exc_info)

        return start

    @staticmethod
    def _forget_large(call: Call) -> None:
        if len(body_of(call.environ)) > _REMEMBERED_BYTES:
            _ = call.action
            call.environ = {**call.environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}

    def _refused(self, call: Call) -> Response | None:
        """The answer to a call that its caller may not make."""
        try:
            self.hooks.trouble(call)
            if self._authorize:
                with self.world.turn:
                    self.authorization.check(call)
        except ServiceException as error:
            return call.answer(error)
        except Exception as error:  # noqa: BLE001 - a fault here must reach the report, not end a connection
            return self._failed(call, error)
        return None

    def _answer(self, call: Call) -> Response:
        turn = contextlib.nullcontext() if (call.service, call.action) == _LONG_POLL else self.world.turn
        try:
            with turn:
                return self._own_or_moto(call)
        except PassedOn as refused:
            return refused.response
        except ServiceException as error:
            return call.answer(error)
        except HTTPException as error:
            return call.answer(AwsError(getattr(error, "error_type", "Invalid"), getattr(error, "message", str(error))))
        except NotImplementedError as error:
            return self._not_known(call, str(error))
        except Exception as error:  # noqa: BLE001 - moto's faults must reach the report, not end a connection
            return self._failed(call, error)

    def _own_or_moto(self, call: Call) -> Response:
        operations = self.extensions.operations
        operation = operations.get((call.service, call.action)) or operations.get((call.service, "*"))
        if operation is None:
            return self._moto_response(call)
        result = operation(call)
        return result if isinstance(result, Response) else call.answer(result)

    def _moto_response(self, call: Call) -> Response:
        if not self._moto.knows(call.environ):
            return self._not_known(call, "the service is not emulated")
        environ = {**call.environ, "wsgi.input": io.BytesIO(body_of(call.environ))}
        status, headers, body = _run(self._moto, environ)
        if status == 404 and b"Not yet implemented" in body:
            return self._not_known(call, "moto has no such operation")
        return Response(status, dict(headers), body)

    def _ask_moto(self, call: Call) -> dict[str, Any]:
        return call.parse(self._moto_response(call))

    def _not_known(self, call: Call, reason: str) -> Response:
        self.unknown.append(Unknown(call.service, call.action, reason))
        message = f"the rehearsal's AWS does not know {call.service}:{call.action}: {reason}"
        return call.answer(AwsError("NotImplemented", message, status=501))

    def _failed(self, call: Call, error: Exception) -> Response:
        reason = f"{type(error).__name__}: {error}"
        self.unknown.append(Unknown(call.service, call.action, reason))
        # 501 and not 500: SDKs ask again and again after a 500, and the answer would be the same.
        return call.answer(AwsError("InternalFailure", f"the rehearsal's AWS failed at this: {reason}", status=501))
