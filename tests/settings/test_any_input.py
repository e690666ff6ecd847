"""Whatever is given, a person gets sentences: no value of any shape, at any setting, meets another error."""

import dataclasses

import pytest

import karpenter_gpu
from karpenter_gpu import InvalidSettings, platform_from_context
from karpenter_gpu.settings import rules

VALUES = [
    *(
        None,
        True,
        0,
        -1,
        10**400,
        1.5,
        float("nan"),
        float("inf"),
        "",
        " ",
        "x",
        "9" * 5000,
        "\ud800",
        "١٢",
        "${Token[T.1]}",
    ),
    *([], {}, [[]], [{}], [None], ["x", "x"], [["l4"]], [{"a": 1}], {"": ""}, {"name": 3}, {"a": {"b": [1]}}, {1: 2}),
    *(
        "[",
        "{",
        "[1",
        '{"a":1}',
        "[1,2]",
        "null",
        "NaN",
        "1e999",
        "a,b",
        ",",
        "true",
        "0x1",
        "-0",
        "1d",
        "1h",
        "@daily",
    ),
]
PATHS = [
    *(field.name for field in dataclasses.fields(karpenter_gpu.Platform)),
    *(f"cluster.{field.name}" for field in dataclasses.fields(karpenter_gpu.NewCluster)),
    *(f"cluster.network.{field.name}" for field in dataclasses.fields(karpenter_gpu.NewVpc)),
    *(f"cluster.network.{field.name}" for field in dataclasses.fields(karpenter_gpu.ExistingVpc)),
    *(f"cluster.system_nodes.{field.name}" for field in dataclasses.fields(karpenter_gpu.SystemNodes)),
    *(f"karpenter.{field.name}" for field in dataclasses.fields(karpenter_gpu.KarpenterSettings)),
    *(f"karpenter.feature_gates.{field.name}" for field in dataclasses.fields(karpenter_gpu.FeatureGates)),
    *(f"health.{field.name}" for field in dataclasses.fields(karpenter_gpu.Health)),
    *(f"metrics.{field.name}" for field in dataclasses.fields(karpenter_gpu.Metrics)),
    *(f"device_plugin.{field.name}" for field in dataclasses.fields(karpenter_gpu.DevicePlugin)),
    *(f"pools.inference.{field.name}" for field in dataclasses.fields(karpenter_gpu.GpuPool)),
    *(f"pools.inference.kubelet.{field.name}" for field in dataclasses.fields(karpenter_gpu.Kubelet)),
    *(
        f"pools.inference.{path}"
        for path in (
            "class_spec.kubelet",
            "class_spec.x.y",
            "pool_spec.template",
            "pool_spec.template.spec.requirements",
            "startup_taints.0.key",
        )
    ),
    *(f"pools.inference.sharing.{name}" for name in ("strategy", "replicas", "mig_profile")),
    *(f"pools.web.{field.name}" for field in dataclasses.fields(karpenter_gpu.CpuPool)),
    "cluster.addon_values.vpc-cni",
    *(f"pools.inference.budgets.0.{field.name}" for field in dataclasses.fields(karpenter_gpu.Budget)),
    *(
        f"pools.inference.reservations.0.{name}"
        for name in ("id", "capacity_block", "tags", "tags.team", "owner", "match")
    ),
    *(f"pools.inference.reserve.0.{field.name}" for field in dataclasses.fields(karpenter_gpu.NewReservation)),
    *(f"pools.inference.taints.0.{field.name}" for field in dataclasses.fields(karpenter_gpu.Taint)),
    *(f"pools.inference.ami.{name}" for name in ("alias", "ssm_parameter", "ami_ids", "family")),
    *(
        f"karpenter.values.{path}"
        for path in (
            *(
                "settings",
                "settings.x",
                "controller.env",
                "affinity",
                "affinity.nodeAffinity",
                "replicas",
                "nodeSelector",
            ),
            *("controller.resources", "controller.resources.limits", "controller.resources.requests.cpu", "logLevel"),
            *("settings.minValuesPolicy", "nodeSelector.kubernetes.io/arch", "replicas.x", "logLevel.x"),
        )
    ),
    *(
        "profile",
        "profiles",
        "cluster.",
        ".",
        "..",
        "pools..x",
        "pools.0",
        "pools.inference.labels.a.b/c",
        "cluster.name.x.y",
    ),
]


SMALL = {
    "region": "eu-west-1",
    "cluster": {"name": "gpu", "network": {"availability_zones": ["eu-west-1a", "eu-west-1b"]}},
    "pools": [
        {
            "name": "inference",
            "gpu_names": ["l4"],
            "gpu_limit": 8,
            "capacity_types": ["reserved", "on-demand"],
            "reservations": [{"id": "cr-0a"}],
            "reserve": [{"instance_type": "g6.xlarge", "zone": "eu-west-1a", "count": 1}],
            "taints": [{"key": "a"}],
            "budgets": [{"nodes": "1"}],
            "ami": {"alias": "al2023@v20260714"},
        },
        {"name": "web", "vcpu_limit": 8},
    ],
}


def sentences(path, value):
    """What is said of a value; nothing when a platform can be made of it."""
    try:
        made = platform_from_context({"profiles": {"small": SMALL}} | {path: value})
    except InvalidSettings as error:
        return [fault.problem for fault in error.faults]
    for pool in made.pools:
        _ = pool.worst_case_usd_per_hour, pool.type_names
    warnings = (*made.warnings(), *(one for pool in made.pools for one in rules.pool_warnings(pool)))
    return [warning for _, warning in warnings]


@pytest.mark.parametrize("path", PATHS)
def test_any_value_anywhere_is_a_platform_or_sentences(path):
    assert all(all(sentences(path, value)) for value in VALUES)
