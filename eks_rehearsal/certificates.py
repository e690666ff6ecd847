"""Certificates of one run, from an authority that is made for it and goes with it."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=7)
PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority, and the files it writes into a folder.

    Args:
        folder: Where the files go; made when it is not there.

        name: The authority's common name, which names the files, too.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self._certificate = (
            self._unsigned(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(PEM))

    @property
    def base64(self) -> str:
        """The authority's certificate as a kubeconfig has it."""
        return base64.b64encode(self._certificate.public_bytes(PEM)).decode()

    def server(self, file: str, hosts: Sequence[str]) -> tuple[Path, Path]:
        """A server's certificate and key for host names and addresses."""
        names = [_general_name(host) for host in hosts]
        # A common name has 64 characters at most; of a server, the alternative names are what is checked.
        return self._issue(file, hosts[0][:64], [], ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client(self, user: str, groups: Sequence[str] = ()) -> tuple[Path, Path]:
        """A client's certificate and key; Kubernetes reads the user and its groups from it."""
        return self._issue(user.replace(":", "-"), user, groups, ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def _issue(
        self, file: str, name: str, groups: Sequence[str], use: x509.ObjectIdentifier, names: Sequence[x509.GeneralName]
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        certificate = (
            self._unsigned(x509.Name(subject), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            certificate = certificate.add_extension(x509.SubjectAlternativeName(names), critical=False)
        crt, pem = self._folder / f"{file}.crt", self._folder / f"{file}.key"
        crt.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        write_key(pem, key)
        return crt, pem

    def _unsigned(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + LIFE)
        )


def service_account_key(folder: Path) -> tuple[Path, rsa.RSAPublicKey]:
    """The key that signs service account tokens: its file, and its public half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = folder / "service-accounts.key"
    write_key(path, key)
    return path, key.public_key()


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """Write a private key that only its owner reads."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
