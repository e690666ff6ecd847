import json

import pytest
import yaml

from karpenter_gpu import AmiAlias, DevicePlugin, GpuPool, InvalidSettings, Taint
from karpenter_gpu.compat import DEVICE_PLUGINS
from karpenter_gpu.manifests.device_plugin import device_plugin
from karpenter_gpu.manifests.node_overlay import node_overlays
from karpenter_gpu.manifests.node_pool import node_labels, node_pool
from karpenter_gpu.manifests.workload import ai_workload
from tests.shapes import ROOT, platform


def pod_of(daemon_set):
    return daemon_set["spec"]["template"]["spec"]


def tolerated(pod, taints):
    return all(
        any(
            rule.get("operator") == "Exists"
            and rule.get("key") in {None, taint["key"]}
            and rule.get("effect") in {None, taint["effect"]}
            for rule in pod["tolerations"]
        )
        for taint in taints
    )


@pytest.mark.parametrize("version", DEVICE_PLUGINS, ids=str)
def test_the_plugin_runs_on_every_node_of_a_pool_whatever_its_taints(version):
    pod = pod_of(device_plugin(DevicePlugin(version=str(version))))
    pool = GpuPool(name="a", gpu_names=("l4",), gpu_limit=1, taints=(Taint(key="x", effect="NoExecute"),))
    assert pod["nodeSelector"].items() <= node_labels(pool).items()
    assert tolerated(pod, node_pool(pool)["spec"]["template"]["spec"]["taints"])


def test_the_plugin_stays_away_from_bottlerocket():
    pool = GpuPool(name="a", gpu_names=("l4",), gpu_limit=1, ami=AmiAlias(alias="bottlerocket@1.62.0"))
    assert not pod_of(device_plugin(DevicePlugin()))["nodeSelector"].items() <= node_labels(pool).items()


def test_a_plugin_that_finds_no_gpu_is_seen_to_fail():
    (container,) = pod_of(device_plugin(DevicePlugin()))["containers"]
    assert container["env"] == [{"name": "FAIL_ON_INIT_ERROR", "value": "true"}]


def test_the_image_is_of_the_version_and_the_mirror_asked_for():
    (container,) = pod_of(device_plugin(DevicePlugin(version="0.16.1", image="mirror.example/plugin")))["containers"]
    assert container["image"] == "mirror.example/plugin:v0.16.1"


def test_an_unknown_version_is_refused():
    with pytest.raises(
        InvalidSettings, match=r"'0.99.0' is not a device plugin this package knows; use one of 0.16.1,"
    ):
        DevicePlugin(version="0.99.0")


@pytest.mark.parametrize("image", ["", "foo bar", "nvcr.io/plugin:v1", "plugin"])
def test_an_image_that_is_no_repository_is_refused(image):
    with pytest.raises(InvalidSettings, match="is not an image's repository; write it without a tag"):
        DevicePlugin(image=image)


def test_the_example_workload_fits_the_pools_of_both_profiles():
    workload = ai_workload()["spec"]
    assert workload["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    for profile, name in (("default", "inference"), ("walkthrough", "gpu-node")):
        (pool,) = (pool for pool in platform(profile).pools if pool.name == name)
        assert tolerated(workload, node_pool(pool)["spec"]["template"]["spec"]["taints"])


def test_the_example_file_is_the_workload_itself():
    assert yaml.safe_load((ROOT / "examples" / "ai-workload.yaml").read_text()) == ai_workload()


def test_a_fractional_type_is_given_one_gpu_and_only_in_its_pool():
    pool = GpuPool(name="a", instance_types=("g6f.xlarge", "g6.xlarge"), gpu_limit=4)
    (overlay,) = node_overlays(pool)
    spec = overlay["spec"]
    assert spec["capacity"] == {"nvidia.com/gpu": "1"}
    assert json.dumps(spec["requirements"]).count("g6") == 1
    assert spec["requirements"][0] == {"key": "karpenter.sh/nodepool", "operator": "In", "values": ["a"]}


def test_other_pools_need_no_overlay():
    assert list(node_overlays(GpuPool(name="a", gpu_names=("l4",), gpu_limit=1))) == []
