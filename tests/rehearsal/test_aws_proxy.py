import http.client
import http.server
import json
import os
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from eks_rehearsal.aws.proxy import AwsProxy
from eks_rehearsal.aws.server import EmulatedAws
from eks_rehearsal.aws.tls import ProxyCertificates

IDENTITY = "/?Action=GetCallerIdentity&Version=2011-06-15"
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=AKIAX/20260101/us-east-1/{}/aws4_request, SignedHeaders=h, Signature=0"

SIGNED = {"Authorization": AUTHORIZATION.format("sts")}


class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"registry of {self.headers['Host']}".encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def registry():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def aws():
    with EmulatedAws(region="us-east-1") as emulated:
        yield emulated


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, aws, registry):
    trust = ProxyCertificates(tmp_path_factory.mktemp("authority"))
    with AwsProxy(trust=trust, aws=aws.endpoint, registry=registry, registries=["ghcr.io"]) as running:
        yield running


def trusting(proxy):
    return ssl.create_default_context(cafile=proxy.environment["SSL_CERT_FILE"])


def opened(proxy, url, data=None):
    handlers = [urllib.request.ProxyHandler({"https": proxy.url, "http": proxy.url})]
    service = url.removeprefix("https://").split(".", 1)[0]
    request = urllib.request.Request(url, data, {"Authorization": AUTHORIZATION.format(service)})
    return urllib.request.build_opener(*handlers, urllib.request.HTTPSHandler(context=trusting(proxy))).open(request)


@pytest.mark.parametrize(
    "host", ["sts.amazonaws.com", "sts.us-east-1.amazonaws.com", "sts.cn-north-1.amazonaws.com.cn"]
)
def test_awss_own_hosts_are_the_emulated_aws(proxy, host):
    with opened(proxy, f"https://{host}{IDENTITY}") as answer:
        assert b"arn:aws:iam::123456789012:root" in answer.read()


@pytest.mark.parametrize("host", ["public.ecr.aws", "ghcr.io"])
def test_a_registrys_host_is_the_local_registry(proxy, host):
    with opened(proxy, f"https://{host}/v2/") as answer:
        assert answer.read() == f"registry of {host}".encode()


def test_any_other_host_is_refused_and_kept_for_the_report(proxy):
    with pytest.raises(OSError, match="403"), opened(proxy, "https://example.com/"):
        pass
    assert proxy.refused[-1].target == "example.com:443"
    assert "example.com is outside" in proxy.refused[-1].reason


def test_awss_own_hosts_are_outside_on_any_port_but_that_of_https(proxy):
    with pytest.raises(OSError, match="403"), opened(proxy, "https://sts.amazonaws.com:8443/"):
        pass
    assert proxy.refused[-1].target == "sts.amazonaws.com:8443"


@pytest.mark.parametrize("host", ["amazonaws.com.example.com", "169.254.169.254", "evilamazonaws.com"])
def test_what_only_looks_like_aws_is_outside(proxy, host):
    assert proxy.backend_of(host) is None


def test_plain_http_is_refused(proxy):
    with pytest.raises(urllib.error.HTTPError, match="405") as refused:
        opened(proxy, "http://169.254.169.254/latest/meta-data/")
    refused.value.close()
    assert "only CONNECT" in proxy.refused[-1].reason


def test_one_tunnel_serves_many_requests(proxy):
    connection = http.client.HTTPSConnection(proxy.url.removeprefix("http://"), context=trusting(proxy))
    connection.set_tunnel("sts.us-east-1.amazonaws.com", 443)
    sockets = set()
    for _ in range(3):
        connection.request("GET", IDENTITY, headers=SIGNED)
        assert b"GetCallerIdentityResult" in connection.getresponse().read()
        sockets.add(connection.sock)
    assert len(sockets) == 1
    connection.close()


def test_only_http_1_1_is_offered(proxy, aws):
    context = trusting(proxy)
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = http.client.HTTPSConnection(proxy.url.removeprefix("http://"), context=context)
    connection.set_tunnel("ec2.us-east-1.amazonaws.com", 443)
    connection.connect()
    assert connection.sock.selected_alpn_protocol() == "http/1.1"
    connection.close()


def test_who_does_not_trust_the_authority_is_not_served(proxy):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": proxy.url}))
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        opener.open(f"https://sts.amazonaws.com{IDENTITY}")


def test_large_bodies_pass_both_ways(proxy, aws):
    aws.client("s3").create_bucket(Bucket="big")
    signed = {"Authorization": AUTHORIZATION.format("s3")}
    body = bytes(range(256)) * 12_000
    with closing(http.client.HTTPSConnection(proxy.url.removeprefix("http://"), context=trusting(proxy))) as connection:
        connection.set_tunnel("big.s3.us-east-1.amazonaws.com", 443)
        connection.request("PUT", "/chart", body, signed)
        put = connection.getresponse()
        assert (put.status, put.read()) == (200, b"")
        connection.request("GET", "/chart", headers=signed)
        assert connection.getresponse().read() == body


def test_a_queues_url_is_what_the_caller_can_reach(proxy):
    form = b"Action=CreateQueue&QueueName=q&Version=2012-11-05"
    with opened(proxy, "https://sqs.us-east-1.amazonaws.com/", form) as answer:
        assert b"https://sqs.us-east-1.amazonaws.com/123456789012/q" in answer.read()


def test_node_takes_it_for_aws(proxy):
    program = f"require('https').get('https://sts.amazonaws.com{IDENTITY}',{json.dumps({'headers': SIGNED})},r=>r.on('data',d=>process.stdout.write(d)))"
    ran = subprocess.run(
        [os.environ["JSII_NODE"], "-e", program],
        env=proxy.environment,
        capture_output=True,
        check=False,
    )
    assert b"GetCallerIdentityResult" in ran.stdout, ran.stderr
