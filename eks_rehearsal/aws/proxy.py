"""An HTTPS proxy on loopback that is AWS to whoever trusts the run's authority.

For programs that know no endpoint but AWS's own: Karpenter 1.0's SDK, helm with `oci://public.ecr.aws`, Node.js. A
CONNECT to a known host ends here, with a certificate of the run's, and the bytes go on in the clear to what stands
for the host on loopback. Everything else is refused: a rehearsal reaches nothing outside.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Final, NamedTuple

from typing_extensions import Self

from eks_rehearsal.aws.tls import ProxyCertificates

_AWS: Final = re.compile(r"(^|\.)(amazonaws\.com(\.cn)?|api\.aws)$")
_REQUEST_LINE: Final = re.compile(r"^CONNECT \[?([^\s\]]+?)\]?:(\d+) HTTP/1\.[01]$")
_HEAD: Final = 65_536
_CHUNK: Final = 65_536
_PATIENCE: Final = 30.0

Address = tuple[str, int]


class RefusedConnection(NamedTuple):
    """A request for somewhere outside."""

    target: str
    reason: str


def _split(address: str) -> Address:
    """`http://127.0.0.1:5000` or `127.0.0.1:5000`."""
    host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    return host, int(port)


class AwsProxy:
    """The proxy, as a context manager.

    Attributes:
        url: `http://127.0.0.1:PORT`, for HTTPS_PROXY.

        refused: What was asked for and refused, the newest last.
    """

    def __init__(
        self,
        *,
        trust: ProxyCertificates,
        aws: str,
        registry: str | None = None,
        registries: Collection[str] = (),
        hosts: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        """What stands behind, by plain-http address.

        Args:
            trust: Signs for every host.

            aws: The emulated AWS, for every host of AWS's.

            registry: An OCI registry; None leaves registries outside.

            registries: Hosts it stands for, beside public.ecr.aws.

            hosts: Anything else, by host name.

            port: 0 for a free one.
        """
        self._trust = trust
        self._aws = _split(aws)
        named = dict.fromkeys(("public.ecr.aws", *registries), registry) if registry else {}
        self._hosts = {host: _split(address) for host, address in {**named, **(hosts or {})}.items() if address}
        self._port = port
        self._open: set[socket.socket] = set()
        self.refused: deque[RefusedConnection] = deque(maxlen=1000)
        self.url = ""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True, name="AWS proxy")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program use it, with loopback left out, and trust it."""
        around = "127.0.0.1,localhost,::1"
        proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), self.url)
        return {
            **proxies,
            "NO_PROXY": around,
            "no_proxy": around,
            "NODE_USE_ENV_PROXY": "1",
            **self._trust.environment,
        }

    def backend_of(self, host: str) -> Address | None:
        """What stands for a host; None for the world outside."""
        known = self._hosts.get(host.lower())
        return known or (self._aws if _AWS.search(host.lower()) else None)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True, name="proxied").start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            client.settimeout(_PATIENCE)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._tunnel(client)
        except OSError:
            # A client that went away, or that does not trust the certificate.
            pass
        finally:
            self._open.discard(client)
            client.close()

    def _tunnel(self, client: socket.socket) -> None:
        line = _head(client).split(b"\r\n", 1)[0].decode("latin-1")
        match = _REQUEST_LINE.match(line)
        if match is None:
            self._refuse(client, line, "only CONNECT is answered: plain http goes nowhere in a rehearsal", 405)
            return
        host = match[1]
        backend = self.backend_of(host)
        if backend is None or match[2] != "443":
            self._refuse(
                client, f"{host}:{match[2]}", f"a rehearsal reaches nothing outside, and {host} is outside", 403
            )
            return
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self._trust.context(host).wrap_socket(client, server_side=True) as inner:
            self._open.add(inner)
            try:
                with socket.create_connection(backend, _PATIENCE) as server:
                    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    _splice(inner, server)
            finally:
                self._open.discard(inner)

    def _refuse(self, client: socket.socket, target: str, sentence: str, status: int) -> None:
        self.refused.append(RefusedConnection(target, sentence))
        body = f"{sentence}\n".encode()
        reason = {403: "Forbidden", 405: "Method Not Allowed"}[status]
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode() + body)


def _head(client: socket.socket) -> bytes:
    """A request's head. What a client sends after it waits for the answer, so nothing beyond it is read."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD:
        chunk = client.recv(4096)
        if not chunk:
            raise ConnectionError("the client went away")
        data += chunk
    return data


def _splice(inner: ssl.SSLSocket, server: socket.socket) -> None:
    """Bytes both ways until either side is done; long polls may be silent for as long as they like."""
    while True:
        # TLS may have a record read and decrypted that no select knows of.
        ready = [inner] if inner.pending() else select.select([inner, server], [], [])[0]
        for source in ready:
            data = _read(source)
            if data == b"":
                _close_tls(inner)
                return
            if data:
                target = server if source is inner else inner
                target.settimeout(_PATIENCE)
                target.sendall(data)


def _read(source: socket.socket) -> bytes | None:
    """What there is; None when a TLS record is not whole yet, and nothing at the end."""
    source.settimeout(0)
    try:
        return source.recv(_CHUNK)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    except ssl.SSLEOFError:
        return b""


def _close_tls(inner: ssl.SSLSocket) -> None:
    """TLS's own end: without it a client takes an answer that ends with its connection for a broken one."""
    inner.settimeout(0)
    with contextlib.suppress(OSError):
        inner.unwrap()
