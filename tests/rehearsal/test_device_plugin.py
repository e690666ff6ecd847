"""What the emulated nodes show of their GPUs comes of the plugin's own configuration, and of no setting."""

import json
from types import SimpleNamespace

import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPES

from eks_rehearsal.cluster import device_plugin
from eks_rehearsal.cluster.device_plugin import config_of, mig_instances, shown, shown_by_bottlerocket
from eks_rehearsal.cluster.pods import Pods
from eks_rehearsal.cluster.user_data import registration
from eks_rehearsal.errors import RehearsalError
from karpenter_gpu import AmiAlias, DevicePlugin, GpuPool, MigSharing, Sharing
from karpenter_gpu.gpus import BY_NAME
from karpenter_gpu.manifests.device_plugin import sharing_plugin
from karpenter_gpu.manifests.user_data import user_data
from karpenter_gpu.settings.sharing import mig_model

TURNS, AT_ONCE = Sharing(strategy="time-slicing", replicas=4), Sharing(strategy="mps", replicas=3)


def config(strategy="timeSlicing", version="v1", **shared):
    return {
        "version": version,
        "sharing": {strategy: {"resources": [{"name": "nvidia.com/gpu", "replicas": 4}]} | shared},
    }


@pytest.mark.parametrize(
    ("told", "resources"),
    [
        ({}, {"nvidia.com/gpu": "2"}),
        ({"version": "v1"}, {"nvidia.com/gpu": "2"}),
        (config(), {"nvidia.com/gpu": "8"}),
        (config("mps"), {"nvidia.com/gpu": "8"}),
        (config(renameByDefault=True), {"nvidia.com/gpu.shared": "8"}),
    ],
)
def test_a_plugin_shows_as_many_gpus_as_its_configuration_says(told, resources):
    assert shown(told, 2) == resources


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (config(version="v2"), "unknown version of the device plugin's configuration: 'v2'"),
        (config(resources=[{"name": "nvidia.com/gpu", "replicas": 1}]), "has 1 replicas, and 2 are the least"),
    ],
)
def test_a_configuration_that_the_plugin_refuses_is_said(told, why):
    with pytest.raises(RehearsalError, match=why):
        shown(told, 1)


BOTTLEROCKET = "[settings.kubernetes]\ncluster-name = 'gpu'\n"


def of_bottlerocket(pool, type_):
    told = registration(BOTTLEROCKET + (user_data(pool) or ""))
    return shown_by_bottlerocket(told.device_plugin, INSTANCE_TYPES[type_])


def pool(gpu, sharing):
    return GpuPool(name="p", gpu_names=(gpu,), gpu_limit=8, ami=AmiAlias(alias="bottlerocket@1.62.0"), sharing=sharing)


@pytest.mark.parametrize(
    ("gpu", "sharing", "type_", "count"),
    [
        ("l4", None, "g6.12xlarge", "4"),
        ("l4", TURNS, "g6.12xlarge", "16"),
        ("l4", AT_ONCE, "g6.xlarge", "3"),
        ("h100", MigSharing(mig_profile="1g.10gb"), "p5.48xlarge", "56"),
    ],
)
def test_bottlerockets_plugin_shows_what_its_settings_say(gpu, sharing, type_, count):
    assert of_bottlerocket(pool(gpu, sharing), type_) == {"nvidia.com/gpu": count}


def test_bottlerockets_plugin_renames_shares_unless_it_is_told_not_to():
    assert shown_by_bottlerocket({"device-sharing-strategy": "mps"}, INSTANCE_TYPES["g6.xlarge"]) == {
        "nvidia.com/gpu.shared": "2"
    }


@pytest.mark.parametrize("name", [name for name, kind in BY_NAME.items() if mig_model(kind)])
def test_a_gpu_is_cut_into_as_many_instances_as_its_processors_and_its_memory_make(name):
    model = mig_model(BY_NAME[name])
    assert {
        profile: mig_instances({model.name: profile}, INSTANCE_TYPES[name]) for profile in model.instances
    } == model.instances


# Pods: a cluster of one g6.xlarge, on which the plugin's DaemonSets run.


class Cluster:
    """The API server: a node, the ConfigMap of a way of sharing, and what is patched."""

    def __init__(self, sharing, **data):
        self.documents = list(sharing_plugin(DevicePlugin(), sharing))
        self.data = data or next(one["data"] for one in self.documents if one["kind"] == "ConfigMap")
        self.node = {"metadata": {"labels": {"node.kubernetes.io/instance-type": "g6.xlarge"}}, "status": {}}
        self.status = {}

    def find(self, path):
        return self.node if "/nodes/" in path else {"data": self.data}

    def patch_present(self, path, document, **_):
        of = self.node if "/nodes/" in path else {"status": self.status}
        for key, value in document["status"].items():
            of["status"][key] = {**of["status"].get(key, {}), **value} if isinstance(value, dict) else value

    def pods(self):
        for number, one in enumerate(self.documents):
            if one["kind"] == "DaemonSet":
                spec = one["spec"]["template"]["spec"]
                ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                about = {"uid": str(number), "namespace": "kube-system", "name": one["metadata"]["name"]}
                yield {"metadata": about, "spec": {**spec, "nodeName": "ip-1"}, "status": ready}


def looking_at(cluster):
    aws = SimpleNamespace(
        client=lambda _: SimpleNamespace(
            describe_instance_types=lambda InstanceTypes: {"InstanceTypes": [INSTANCE_TYPES[InstanceTypes[0]]]}  # noqa: N803
        )
    )
    return Pods(SimpleNamespace(kube=cluster), aws, None, {}, {}, "")


def test_the_plugins_pod_shows_what_its_config_map_says_until_it_goes():
    cluster = Cluster(TURNS)
    pods, (plugin,) = looking_at(cluster), cluster.pods()
    pods._seen("ADDED", plugin)
    assert cluster.node["status"] == {"capacity": {"nvidia.com/gpu": "4"}, "allocatable": {"nvidia.com/gpu": "4"}}
    pods._seen("DELETED", plugin)
    assert cluster.node["status"]["allocatable"] == {"nvidia.com/gpu": "0"}


def test_of_two_plugins_on_a_node_both_show_the_same_gpus_and_one_that_goes_takes_none_away():
    cluster = Cluster(TURNS)
    pods, (plugin,) = looking_at(cluster), cluster.pods()
    other = {**plugin, "metadata": {**plugin["metadata"], "uid": "other"}}
    for event in (("ADDED", plugin), ("ADDED", other), ("DELETED", other)):
        pods._seen(*event)
        assert cluster.node["status"]["allocatable"] == {"nvidia.com/gpu": "4"}


def test_with_mps_the_plugin_waits_for_its_daemon():
    cluster = Cluster(AT_ONCE)
    pods, (plugin, daemon) = looking_at(cluster), cluster.pods()
    pods._seen("ADDED", plugin)
    assert "capacity" not in cluster.node["status"]
    pods._seen("ADDED", daemon)
    assert cluster.node["status"]["capacity"] == {"nvidia.com/gpu": "3"}


@pytest.mark.parametrize("data", [{"other.json": "{}"}, {"config.json": json.dumps({"version": "v9"})}])
def test_a_plugin_that_cannot_read_its_configuration_shows_nothing_and_its_pod_says_why(data):
    cluster = Cluster(TURNS, **data)
    looking_at(cluster)._seen("ADDED", next(cluster.pods()))
    (status,) = cluster.status["containerStatuses"]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert "configuration" in status["state"]["waiting"]["message"]
    assert "capacity" not in cluster.node["status"]


def test_a_configuration_that_comes_from_elsewhere_than_a_config_map_is_not_read():
    pod = {
        "metadata": {"namespace": "n"},
        "spec": {
            "containers": [
                {
                    "image": "nvcr.io/nvidia/k8s-device-plugin:v0.19.3",
                    "env": [{"name": "CONFIG_FILE", "value": "/config/config.yaml"}],
                    "volumeMounts": [{"name": "config", "mountPath": "/config"}],
                }
            ],
            "volumes": [{"name": "config", "emptyDir": {}}],
        },
    }
    assert config_of(pod, None) == {}
    assert device_plugin.runs_plugin(pod["spec"])
