"""The functions' way to the API server: TLS as Python 3.13 and later verify it by default."""

import base64
import datetime as dt
import http.server
import importlib.util
import ssl
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FUNCTIONS = Path(__file__).parents[2] / "karpenter_gpu" / "cdk" / "functions"


def certificate(name, key, issuer, issuer_key, extensions):
    now = dt.datetime.now(dt.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"kind": "Version"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def old_cluster(tmp_path, monkeypatch):
    """An API server whose CA has no key identifiers, and what connects to it as a newer Python does."""
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("kubernetes", root, "kubernetes", root, [x509.BasicConstraints(ca=True, path_length=None)])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "server.pem").write_bytes(certificate("server", own, "kubernetes", root, [names]) + private)
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    made = ssl.create_default_context

    def strict(**given):
        context = made(**given)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    yield server.server_address[1], authority
    server.shutdown()
    server.server_close()


def api(monkeypatch, endpoint, authority):
    monkeypatch.syspath_prepend(FUNCTIONS)
    spec = importlib.util.spec_from_file_location("cluster_api", FUNCTIONS / "cluster_api.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cluster_api", module)
    spec.loader.exec_module(module)
    described = {"endpoint": endpoint, "certificateAuthority": {"data": base64.b64encode(authority).decode()}}
    eks = type("Eks", (), {"describe_cluster": lambda _, **__: {"cluster": described}})()
    monkeypatch.setattr(module.aws, "client", lambda _: eks)
    monkeypatch.setattr(module, "token", lambda *_: "token")
    return module.Api("old")


def test_a_cluster_whose_ca_has_no_key_identifiers_is_reached(old_cluster, monkeypatch):
    port, authority = old_cluster
    assert api(monkeypatch, f"https://localhost:{port}", authority).call("GET", "/version") == {"kind": "Version"}


def test_another_host_name_is_refused(old_cluster, monkeypatch):
    port, authority = old_cluster
    with pytest.raises(OSError, match="127.0.0.1"):
        api(monkeypatch, f"https://127.0.0.1:{port}", authority).call("GET", "/version")


def test_another_ca_is_refused(old_cluster, monkeypatch):
    port, _ = old_cluster
    root = ec.generate_private_key(ec.SECP256R1())
    other = certificate("kubernetes", root, "kubernetes", root, [x509.BasicConstraints(ca=True, path_length=None)])
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        api(monkeypatch, f"https://localhost:{port}", other).call("GET", "/version")
