import hashlib
import http.server
import io
import json
import tarfile
import threading
from urllib.parse import parse_qs, urlparse

import pytest
import yaml

from eks_rehearsal import charts
from eks_rehearsal.errors import RehearsalError


class Registry(http.server.BaseHTTPRequestHandler):
    """As the distribution specification has it: a blob is announced, then put whole."""

    def do_POST(self):
        self.answer(202, {"Location": self.server.location.format(path=self.path)})

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.put[self.path] = (self.headers.get("Content-Type"), body)
        refused = self.server.refuses and self.server.refuses in self.path
        self.answer(400 if refused else 201, {}, b"no space left" if refused else b"")

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        server.put, server.refuses, server.location = {}, "", "{path}upload-1?_state=abc"
        server.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def chart(tmp_path):
    folder = tmp_path / "some-folder"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: karpenter\nversion: 0.0.0\nappVersion: 1.14.3\n")
    (folder / "templates" / "pod.yaml").write_text("kind: Pod\n")
    return folder


def manifest(registry, version="1.14.3"):
    kind, body = registry.put[f"/v2/karpenter/karpenter/manifests/{version}"]
    return kind, json.loads(body)


def blob(registry, described):
    """What was put under a digest, which must be its own."""
    (found,) = [
        body
        for path, (_, body) in registry.put.items()
        if parse_qs(urlparse(path).query).get("digest") == [described["digest"]]
    ]
    assert described["digest"] == f"sha256:{hashlib.sha256(found).hexdigest()}"
    assert described["size"] == len(found)
    return found


def push(registry, chart, version="1.14.3"):
    charts.push(chart, registry.address, "karpenter/karpenter", version)


def test_a_pushed_chart_is_a_manifest_of_a_config_and_one_layer(registry, chart):
    push(registry, chart)
    kind, pushed = manifest(registry)
    assert kind == pushed["mediaType"] == charts.MANIFEST
    assert (pushed["schemaVersion"], pushed["config"]["mediaType"]) == (2, charts.CONFIG)
    assert [layer["mediaType"] for layer in pushed["layers"]] == [charts.LAYER]


def test_the_config_is_the_charts_own_with_the_version_it_gets(registry, chart):
    push(registry, chart)
    config = json.loads(blob(registry, manifest(registry)[1]["config"]))
    assert config == {**yaml.safe_load((chart / "Chart.yaml").read_text()), "version": "1.14.3"}


def test_the_layer_is_the_chart_in_a_folder_of_its_name(registry, chart):
    push(registry, chart)
    packed = blob(registry, manifest(registry)[1]["layers"][0])
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        assert sorted(archive.getnames()) == [
            "karpenter",
            "karpenter/Chart.yaml",
            "karpenter/templates",
            "karpenter/templates/pod.yaml",
        ]
        assert archive.extractfile("karpenter/templates/pod.yaml").read() == b"kind: Pod\n"


def test_blobs_go_where_the_registry_says(registry, chart):
    push(registry, chart)
    uploads = [path for path in registry.put if "/blobs/" in path]
    assert len(uploads) == 2
    assert all(path.startswith("/v2/karpenter/karpenter/blobs/uploads/upload-1?_state=abc&digest=") for path in uploads)
    registry.put.clear()
    registry.location = f"{registry.address}/elsewhere"
    push(registry, chart)
    assert sum(path.startswith("/elsewhere?digest=") for path in registry.put) == 2


def test_a_versions_plus_is_an_underscore_in_the_tag(registry, chart):
    push(registry, chart, "1.0.0+build")
    _, pushed = manifest(registry, "1.0.0_build")
    assert json.loads(blob(registry, pushed["config"]))["version"] == "1.0.0+build"


@pytest.mark.parametrize("what", ["/blobs/", "/manifests/"])
def test_a_registry_that_refuses_is_quoted(registry, chart, what):
    registry.refuses = what
    with pytest.raises(RehearsalError, match="refused karpenter/karpenter: 400 no space left"):
        push(registry, chart)


def test_no_proxy_of_the_machine_is_asked(registry, chart, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    push(registry, chart)
    assert manifest(registry)
