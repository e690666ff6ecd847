import pytest

from eks_rehearsal.cluster.admission import is_image, refusal


class Kube:
    def __init__(self, *there):
        self.there = there

    def find(self, path):
        return {} if path in self.there else None


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
    assert refusal(pod(**what), Kube(f"/api/v1/namespaces/n/{kind}/s")) is None


def test_what_a_pod_can_do_without_is_not_waited_for():
    optional = [{"name": "v", "secret": {"secretName": "s", "optional": True}}]
    root = [{"name": "v", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}]
    assert refusal(pod(volumes=[*optional, *root]), Kube()) is None
