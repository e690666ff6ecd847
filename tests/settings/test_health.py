import pytest

from karpenter_gpu import (
    AmiAlias,
    DevicePlugin,
    FeatureGates,
    GpuPool,
    Health,
    InvalidSettings,
    KarpenterSettings,
    Metrics,
    NewCluster,
    Platform,
)
from karpenter_gpu.settings import rules
from karpenter_gpu.settings.gates import with_gates

MIRROR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def platform(**given):
    return Platform(**{"cluster": NewCluster(name="x"), "pools": []} | given)


def karpenter(version="1.14.3", **gates):
    return KarpenterSettings(version=version, feature_gates=FeatureGates(**gates))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"health": {"repair": "yes"}}, "health.repair: 'yes' is not true or false"),
        ({"health": {"repairs": True}}, "health.repairs: 'repairs' is not a setting; did you mean 'repair'?"),
        (
            {"health": {"version": "1.7.0"}},
            "health.version: '1.7.0' is not an add-on's version; write it as in v1.7.0-eksbuild.1",
        ),
        (
            {"health": {"version": "v1.6.2-eksbuild.1"}},
            "health.version: v1.6.2-eksbuild.1 cannot be told to run its GPU part on every GPU node, and calls a GPU that it",
        ),
        (
            {"karpenter": karpenter(node_repair=True)},
            "karpenter.feature_gates.node_repair: would replace every GPU node every ten minutes, for ever, under a monitoring",
        ),
        (
            {"karpenter": karpenter(node_repair=True), "health": Health()},
            "karpenter.feature_gates.node_repair: would replace every GPU node every ten minutes",
        ),
        (
            {"karpenter": karpenter(node_repair=False), "health": Health(repair=True)},
            "health.repair: Karpenter repairs no nodes unless it is told to, and karpenter.feature_gates.node_repair is false, so that",
        ),
        (
            {"metrics": {"image": "dcgm:1"}},
            "metrics.image: 'dcgm:1' is not an image's repository; write it without a tag, as",
        ),
        (
            {"metrics": {"service_monitor_labels": {"release": "monitoring"}}},
            "metrics.service_monitor_labels: are of a ServiceMonitor, and service_monitor makes none; turn it on, or leave them",
        ),
        (
            {"metrics": {"version": "a b"}},
            "metrics.version: 'a b' is not an image's tag; write it as in 4.5.3-4.8.2-distroless",
        ),
    ],
)
def test_one_fault_is_one_sentence(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        platform(**given)
    (found,) = map(str, caught.value.faults)
    assert found.startswith(fault)


def test_a_karpenter_that_cannot_repair_is_told_so():
    old = KarpenterSettings(version="1.0.14")
    (found,) = map(str, rules.repair_is_safe(old, Health(repair=True)))
    assert found.startswith(
        "health.repair: Karpenter repairs no nodes unless it is told to, and Karpenter 1.0.14 cannot be told otherwise; use"
    )
    assert list(rules.repair_is_safe(old, Health())) == []


def test_the_exporter_of_an_isolated_vpc_comes_from_inside():
    settings = KarpenterSettings(
        isolated=True,
        charts=f"oci://{MIRROR}/karpenter",
        values={"controller": {"image": {"repository": f"{MIRROR}/karpenter/controller", "digest": ""}}},
    )
    plugin = DevicePlugin(image=f"{MIRROR}/nvidia/k8s-device-plugin")
    (found,) = map(str, rules.isolation_fits(settings, plugin, Metrics()))
    assert found.startswith(
        "metrics.image: nvcr.io/nvidia/k8s/dcgm-exporter is not reached from an isolated VPC; name a mirror"
    )
    assert list(rules.isolation_fits(settings, plugin, Metrics(image=f"{MIRROR}/nvidia/dcgm-exporter"))) == []


def test_repair_opens_its_gate_and_nothing_else_does():
    assert with_gates(KarpenterSettings(), [], Health(repair=True)).feature_gates.node_repair is True
    assert with_gates(KarpenterSettings(), [], Health()) == KarpenterSettings()


def test_pools_whose_gpus_nobody_watches_are_said():
    arm = GpuPool(name="arm", gpu_names=("t4g",), architecture="arm64", gpu_limit=1)
    bottle = GpuPool(name="bottle", gpu_names=("l4",), gpu_limit=1, ami=AmiAlias(alias="bottlerocket@1.62.0"))
    watched = {pool.name: dict(rules.health_warnings(pool, Health(), Metrics())) for pool in (arm, bottle)}
    assert {name: list(said) for name, said in watched.items()} == {
        "arm": ["arm-unwatched"],
        "bottle": ["bottle-unmeasured"],
    }
    assert not list(rules.health_warnings(arm, None, Metrics())) + list(rules.health_warnings(bottle, Health(), None))
