import json
from dataclasses import replace

import pytest
import tomllib

from karpenter_gpu import AmiAlias, DevicePlugin, GpuPool, MigSharing, Sharing
from karpenter_gpu.manifests.device_plugin import device_plugin, sharing_plugin
from karpenter_gpu.manifests.node_overlay import node_overlays
from karpenter_gpu.manifests.node_pool import node_labels, node_pool
from karpenter_gpu.manifests.user_data import user_data

TURNS, AT_ONCE = Sharing(strategy="time-slicing", replicas=4), Sharing(strategy="mps", replicas=3)
POOL = GpuPool(name="p", gpu_names=("l4",), gpu_counts=(1, 4), gpu_limit=8, sharing=TURNS)
BOTTLEROCKET = AmiAlias(alias="bottlerocket@1.62.0")
SLICES = GpuPool(
    name="p", gpu_names=("h100",), gpu_limit=8, sharing=MigSharing(mig_profile="1g.20gb"), ami=BOTTLEROCKET
)


def made(kind, sharing):
    return [one for one in sharing_plugin(DevicePlugin(), sharing) if one["kind"] == kind]


@pytest.mark.parametrize("pool", [POOL, replace(POOL, sharing=AT_ONCE)], ids=["turns", "at once"])
def test_just_the_plugin_of_its_way_of_sharing_goes_on_a_node(pool):
    daemons = [device_plugin(DevicePlugin())]
    daemons += [*made("DaemonSet", TURNS), *made("DaemonSet", AT_ONCE)]
    labels = node_labels(pool).items()
    on_node = [one for one in daemons if one["spec"]["template"]["spec"]["nodeSelector"].items() <= labels]
    assert on_node == made("DaemonSet", pool.sharing)


@pytest.mark.parametrize(("sharing", "key"), [(TURNS, "timeSlicing"), (AT_ONCE, "mps")])
def test_the_plugin_reads_how_many_pods_share_a_gpu_and_that_none_may_ask_for_two(sharing, key):
    (config,) = made("ConfigMap", sharing)
    told = json.loads(config["data"]["config.json"])
    assert told["sharing"][key] == {
        "failRequestsGreaterThanOne": True,
        "resources": [{"name": "nvidia.com/gpu", "replicas": sharing.replicas}],
    }
    for daemon in made("DaemonSet", sharing):
        pod = daemon["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert {"name": "CONFIG_FILE", "value": "/config/config.json"} in container["env"]
        assert {"name": "config", "mountPath": "/config"} in container["volumeMounts"]
        assert {"name": "config", "configMap": {"name": config["metadata"]["name"]}} in pod["volumes"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


def test_karpenter_is_told_the_shares_of_each_number_of_gpus_and_the_ceiling_is_in_shares():
    overlays = {one["metadata"]["name"]: one["spec"] for one in node_overlays(POOL)}
    assert {name: spec["capacity"] for name, spec in overlays.items()} == {
        "p.1": {"nvidia.com/gpu": "4"},
        "p.4": {"nvidia.com/gpu": "16"},
    }
    assert overlays["p.4"]["requirements"] == [
        {"key": "karpenter.sh/nodepool", "operator": "In", "values": ["p"]},
        {"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "In", "values": ["4"]},
    ]
    assert node_pool(POOL)["spec"]["limits"] == {"nvidia.com/gpu": "32"}
    assert {one["spec"]["capacity"]["nvidia.com/gpu"] for one in node_overlays(SLICES)} == {"4", "32"}


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        (
            replace(POOL, ami=BOTTLEROCKET),
            {
                "device-sharing-strategy": "time-slicing",
                "time-slicing": {
                    "replicas": 4,
                    "rename-by-default": False,
                    "fail-requests-greater-than-one": True,
                },
            },
        ),
        (
            replace(POOL, ami=BOTTLEROCKET, sharing=AT_ONCE),
            {"device-sharing-strategy": "mps", "mps": {"replicas": 3, "rename-by-default": False}},
        ),
        (SLICES, {"device-partitioning-strategy": "mig", "mig": {"profile": {"h100.80gb": "1g.20gb"}}}),
    ],
)
def test_bottlerockets_own_plugin_shares_under_the_name_that_pods_ask_for(pool, told):
    assert tomllib.loads(user_data(pool)) == {"settings": {"kubelet-device-plugins": {"nvidia": told}}}
    assert node_labels(pool) == {}


def test_user_data_of_ones_own_is_kept_beside_ours():
    own = "[settings.kernel]\nlockdown = 'integrity'\n"
    assert user_data(replace(POOL, sharing=None, ami=BOTTLEROCKET, user_data=own)) == own
    both = tomllib.loads(user_data(replace(POOL, ami=BOTTLEROCKET, user_data=own)))["settings"]
    assert both.keys() == {"kernel", "kubelet-device-plugins"}
    assert user_data(POOL) is None


def test_another_version_of_the_plugin_leaves_the_mps_daemon_to_the_pods_that_use_it():
    made = {
        one["metadata"]["name"]: one for one in sharing_plugin(DevicePlugin(), AT_ONCE) if one["kind"] == "DaemonSet"
    }
    strategies = {name: one["spec"]["updateStrategy"]["type"] for name, one in made.items()}
    assert strategies == {"nvidia-device-plugin-mps-3": "RollingUpdate", "nvidia-mps-3-daemon": "OnDelete"}
