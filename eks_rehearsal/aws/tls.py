"""Whoever trusts a run's bundle takes the rehearsal's proxy for AWS."""

from __future__ import annotations

import ssl
from pathlib import Path
from threading import Lock

import certifi

from eks_rehearsal.certificates import Authority


class ProxyCertificates:
    """A certificate authority for a run's TLS, and what makes a program trust it.

    Args:
        folder: Where its files go.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder, "eks-rehearsal")
        self._lock = Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._bundle = folder / "bundle.pem"
        self._bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + self._authority.file.read_bytes())

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program trust it: Node.js adds the authority, the others replace what they trust."""
        bundle = str(self._bundle)
        return {
            "AWS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "NODE_EXTRA_CA_CERTS": str(self._authority.file),
        }

    def context(self, host: str) -> ssl.SSLContext:
        """A server's TLS for a host name; only HTTP/1.1 is offered, as what stands behind speaks nothing newer."""
        with self._lock:
            if host not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self._authority.server(host.replace(":", "-"), [host]))
                context.set_alpn_protocols(["http/1.1"])
                self._contexts[host] = context
            return self._contexts[host]
