"""What the API server asks a kubelet for when a person types `kubectl logs`: here, the log of a controller that really runs."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

LOOK_SECONDS = 0.3
NO_CONTAINER = b"a rehearsal runs no container of this pod, so it has no log\n"


class Kubelets:
    """The log endpoint of every node of a cluster, on one port of loopback.

    Args:
        certificate: The server's certificate and key.

        logs: The folder with the controllers' logs.
    """

    def __init__(self, certificate: tuple[Path, Path], logs: Path) -> None:
        stopped = self._stopped = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlparse(self.path)
                query = {key: values[0] for key, values in parse_qs(address.query).items()}
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                for part in _log(logs, address.path, query, stopped):
                    self.wfile.write(part)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        """Serve, until `stop`."""
        threading.Thread(target=self._server.serve_forever, daemon=True, name="kubelets").start()

    def stop(self) -> None:
        """Serve no more."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()


def _log(folder: Path, path: str, query: dict[str, str], stopped: threading.Event) -> Iterator[bytes]:
    """The parts of a pod's log: `/containerLogs/NAMESPACE/POD/CONTAINER`, its last lines, and then what comes."""
    parts = path.strip("/").split("/")
    log = folder / f"karpenter-{parts[2]}.log" if len(parts) == 4 and parts[0] == "containerLogs" else folder / "none"
    if not log.is_file():
        yield NO_CONTAINER
        return
    with log.open("rb") as lines:
        text = lines.read().splitlines(keepends=True)
        yield b"".join(text[-int(query["tailLines"]) :] if query.get("tailLines") else text)
        while query.get("follow") == "true" and not stopped.is_set():
            yield lines.read()
            time.sleep(LOOK_SECONDS)
