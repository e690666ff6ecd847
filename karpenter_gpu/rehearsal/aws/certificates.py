"""A certificate authority for one run: who trusts its bundle takes the rehearsal's proxy for AWS."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from typing import Final

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE: Final = timedelta(days=2)


def _name(common_name: str) -> x509.Name:
    # A common name has 64 characters at most; the alternative name is what is checked.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class RunAuthority:
    """The authority, in a folder of the run's: made on the first use of the folder, then kept.

    Attributes:
        certificate: The authority's own, PEM: NODE_EXTRA_CA_CERTS.

        bundle: Certifi's authorities and this one: AWS_CA_BUNDLE and SSL_CERT_FILE, which replace what a program
            trusts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "ca.pem"
        self.bundle = folder / "bundle.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._lock = Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._own = self._sign("karpenter-gpu rehearsal", self._key.public_key(), None)
        own = self._own.public_bytes(Encoding.PEM)
        self.certificate.write_bytes(own)
        self.bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + own)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program trust it: Node.js adds, the others replace."""
        bundle = str(self.bundle)
        return {
            "AWS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "NODE_EXTRA_CA_CERTS": str(self.certificate),
        }

    def leaf(self, host: str) -> tuple[Path, Path]:
        """Files of a certificate for a host name or address and its key, for a server of the rehearsal's own."""
        plain = host.replace("*", "any").replace(":", "_")
        chain, key_file = self._folder / f"{plain}.pem", self._folder / f"{plain}.key"
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(host, key.public_key(), host)
        chain.write_bytes(certificate.public_bytes(Encoding.PEM) + self._own.public_bytes(Encoding.PEM))
        key_file.touch(mode=0o600)
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return chain, key_file

    def context(self, host: str) -> ssl.SSLContext:
        """A server's TLS for a host name; only HTTP/1.1 is offered, as what stands behind speaks nothing newer."""
        with self._lock:
            if host not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.leaf(host))
                context.set_alpn_protocols(["http/1.1"])
                self._contexts[host] = context
            return self._contexts[host]

    def _sign(self, name: str, key: ec.EllipticCurvePublicKey, host: str | None) -> x509.Certificate:
        now = datetime.now(timezone.utc)
        # Clocks of a machine's containers may differ by a little.
        builder = x509.CertificateBuilder().not_valid_before(now - timedelta(hours=1)).not_valid_after(now + _LIFE)
        builder = builder.subject_name(_name(name)).issuer_name(_name("karpenter-gpu rehearsal")).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        builder = builder.add_extension(_usage(authority=host is None), critical=True)
        if host is not None:
            server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(server, critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
        return builder.sign(self._key, SHA256())


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
