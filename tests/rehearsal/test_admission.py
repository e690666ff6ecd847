import pytest

from eks_rehearsal.cluster.admission import is_image, refusal


class Kube:
    def __init__(self, **there):
        self.there = there

    def find(self, path):
        return self.there.get(path)


def pod(image="nginx", container=None, **spec):
    containers = [{"name": "a", "image": image, **(container or {})}]
    return {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": containers, **spec}}


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nvcr.io/nvidia/k8s-device-plugin:v0.19.3",
        "localhost:5000/a/b__c:1",
        "[::1]:5000/a",
        "Registry.example/a",
        "public.ecr.aws/karpenter/controller:1.14.3@sha256:" + "0" * 64,
    ],
)
def test_a_name_that_a_runtime_can_read_is_started(image):
    assert is_image(image)
    assert refusal(pod(image), Kube()) is None


@pytest.mark.parametrize(
    "image",
    [
        "nvcr.io/nvidia/k8s-device-plugin:",
        "nvcr.io/NVIDIA/k8s-device-plugin:v1",
        "a@sha256:123",
        "a:" + "t" * 129,
        "a/" * 130 + "a",
        "a b",
        "https://nvcr.io/a",
        "a..b",
        "0" * 64,
    ],
)
def test_a_name_that_no_runtime_can_read_is_refused_as_a_kubelet_does(image):
    said = refusal(pod(image), Kube())
    assert said.reason == "InvalidImageName"
    assert repr(image) in said.message


def test_the_image_of_an_init_container_counts_too():
    assert refusal(pod(initContainers=[{"name": "i", "image": "a:"}]), Kube()).reason == "InvalidImageName"


ENV = {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
FROM = {"envFrom": [{"configMapRef": {"name": "s"}}]}
VOLUME = [{"name": "v", "secret": {"secretName": "s"}}]
PROJECTED = [{"name": "v", "projected": {"sources": [{"configMap": {"name": "s"}}]}}]


ITEMS = [{"name": "v", "configMap": {"name": "s", "items": [{"key": "k", "path": "p"}]}}]


@pytest.mark.parametrize(
    ("what", "kind", "reason"),
    [
        ({"container": ENV}, "secrets", "CreateContainerConfigError"),
        ({"container": FROM}, "configmaps", "CreateContainerConfigError"),
        ({"volumes": VOLUME}, "secrets", "FailedMount"),
        ({"volumes": PROJECTED}, "configmaps", "FailedMount"),
    ],
)
def test_a_pod_waits_for_what_it_takes_from_other_objects(what, kind, reason):
    assert refusal(pod(**what), Kube()).reason == reason
    assert refusal(pod(**what), Kube(**{f"/api/v1/namespaces/n/{kind}/s": {"data": {"k": "v"}}})) is None


@pytest.mark.parametrize(
    ("what", "kind", "reason"),
    [
        ({"container": ENV}, "secrets", "CreateContainerConfigError"),
        ({"volumes": ITEMS}, "configmaps", "FailedMount"),
    ],
)
def test_a_pod_waits_for_a_key_too(what, kind, reason):
    path = f"/api/v1/namespaces/n/{kind}/s"
    said = refusal(pod(**what), Kube(**{path: {"data": {"other": "v"}}}))
    assert (said.reason, "has no key 'k'" in said.message) == (reason, True)
    assert refusal(pod(**what), Kube(**{path: {"binaryData": {"k": "v"}}})) is None


def test_a_key_that_a_pod_can_do_without_is_not_waited_for():
    variable = {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k", "optional": True}}}
    assert refusal(pod(container={"env": [variable]}), Kube(**{"/api/v1/namespaces/n/configmaps/s": {}})) is None


def of_driver(spec=None):
    path = "/apis/storage.k8s.io/v1/csidrivers/secrets-store.csi.k8s.io"
    volumes = [{"name": "v", "csi": {"driver": "secrets-store.csi.k8s.io"}}]
    return refusal(pod(volumes=volumes), Kube() if spec is None else Kube(**{path: {"spec": spec}}))


def test_a_volume_of_a_driver_that_is_not_there_or_makes_none_for_one_pod_is_not_mounted():
    assert of_driver().reason == "FailedMount"
    assert of_driver().message.endswith("(no CSIDriver object)")
    assert of_driver({}).message.endswith("(only supports Persistent)")
    assert of_driver({"volumeLifecycleModes": ["Persistent", "Ephemeral"]}) is None


def test_an_image_that_is_to_be_on_the_node_already_is_not_there():
    assert refusal(pod(container={"imagePullPolicy": "Never"}), Kube()).reason == "ErrImageNeverPull"


def test_a_volume_that_is_an_image_has_a_name_that_a_runtime_must_read_too():
    assert refusal(pod(volumes=[{"name": "v", "image": {"reference": "a:"}}]), Kube()).reason == "InvalidImageName"
    assert refusal(pod(volumes=[{"name": "v", "image": {"reference": "a:1"}}]), Kube()) is None


def test_what_a_pod_can_do_without_is_not_waited_for():
    optional = [{"name": "v", "secret": {"secretName": "s", "optional": True}}]
    root = [{"name": "v", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}]
    assert refusal(pod(volumes=[*optional, *root]), Kube()) is None
