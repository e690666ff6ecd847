import base64
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eks_rehearsal.certificates import Authority, service_account_key


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("run") / "pki", "kubernetes")


def handshake(server, client):
    """What each side of a TLS connection in memory knows of the other."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up, server_hostname="127.0.0.1")
    there = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return here, there


def contexts(authority, hosts=("127.0.0.1", "kubernetes.default"), **client):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.server("server", hosts))
    server.load_verify_locations(authority.file)
    trusting = ssl.create_default_context(cafile=authority.file)
    # The default from Python 3.13.
    for context in (server, trusting):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return server, trusting


def loaded(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_server_is_believed_by_who_has_the_authoritys_file(authority):
    here, _ = handshake(*contexts(authority))
    assert ("IP Address", "127.0.0.1") in here.getpeercert()["subjectAltName"]
    assert ("DNS", "kubernetes.default") in here.getpeercert()["subjectAltName"]


def test_a_server_of_other_names_is_not_believed(authority):
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        handshake(*contexts(authority, hosts=("127.0.0.2",)))


def test_a_server_of_another_authority_is_not_believed(authority, tmp_path):
    server, _ = contexts(Authority(tmp_path, "kubernetes"))
    _, client = contexts(authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client)


def test_a_client_is_its_user_and_its_groups(authority):
    server, client = contexts(authority)
    server.verify_mode = ssl.CERT_REQUIRED
    client.load_cert_chain(*authority.client("system:admin", ["system:masters", "others"]))
    _, there = handshake(server, client)
    subject = [pair for name in there.getpeercert()["subject"] for pair in name]
    assert subject == [
        ("organizationName", "system:masters"),
        ("organizationName", "others"),
        ("commonName", "system:admin"),
    ]


def test_each_certificate_is_for_one_use(authority):
    def uses(paths):
        return list(loaded(paths[0]).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)

    assert uses(authority.server("api", ["127.0.0.1"])) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert uses(authority.client("kubelet")) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_servers_long_name_is_cut_and_stays_among_its_names(authority):
    host = "a" * 60 + ".example"
    certificate = loaded(authority.server("long", [host])[0])
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (name.value, names.get_values_for_type(x509.DNSName)) == (host[:64], [host])


def test_a_users_name_is_never_cut_to_another_users(authority):
    with pytest.raises(ValueError, match="64"):
        authority.client("system:node:" + "a" * 64)


def test_only_its_owner_reads_a_key(authority, tmp_path):
    for path in (authority.client("system:kube:one")[1], service_account_key(tmp_path)[0]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_kubeconfig_has_the_authority_in_base64(authority):
    assert base64.b64decode(authority.base64) == authority.file.read_bytes()


def test_the_service_account_key_is_a_pair(tmp_path):
    path, public = service_account_key(tmp_path)
    private = serialization.load_pem_private_key(path.read_bytes(), None)
    assert private.public_key().public_numbers() == public.public_numbers()


def test_the_authority_has_the_name_that_names_its_file(authority):
    (name,) = loaded(authority.file).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert (name.value, authority.file.name) == ("kubernetes", "kubernetes.pem")
