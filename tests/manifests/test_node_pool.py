from dataclasses import replace
from datetime import timedelta

import pytest

from karpenter_gpu import AmiAlias, Budget, GpuPool, Taint
from karpenter_gpu.manifests.node_pool import node_pool
from karpenter_gpu.settings.rest import OWNED_REQUIREMENTS, POOL_OWNED, REQUIREMENTS

POOL = GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)


def requirements(pool):
    return {
        (rule["key"], rule["operator"]): rule["values"]
        for rule in node_pool(pool)["spec"]["template"]["spec"]["requirements"]
    }


def test_a_pool_asks_for_nvidia_gpus_that_ec2_counts():
    found = requirements(POOL)
    assert found["karpenter.k8s.aws/instance-gpu-manufacturer", "In"] == ["nvidia"]
    assert found["karpenter.k8s.aws/instance-gpu-name", "In"] == ["l4"]
    assert found["karpenter.k8s.aws/instance-gpu-count", "Gt"] == ["0"]
    assert found["karpenter.sh/capacity-type", "In"] == ["spot", "on-demand"]
    assert found["kubernetes.io/arch", "In"] == ["amd64"]


def test_fractional_pools_do_not_ask_for_a_count_that_is_none():
    pool = GpuPool(name="a", instance_families=("g6f",), gpu_limit=4)
    assert not any(key == "karpenter.k8s.aws/instance-gpu-count" for key, _ in requirements(pool))


@pytest.mark.parametrize(
    ("change", "key", "values"),
    [
        ({"gpu_counts": (1, 4)}, "karpenter.k8s.aws/instance-gpu-count", ["1", "4"]),
        ({"instance_families": ("g6",)}, "karpenter.k8s.aws/instance-family", ["g6"]),
        ({"instance_types": ("g6.xlarge",)}, "node.kubernetes.io/instance-type", ["g6.xlarge"]),
        ({"zones": ("eu-west-1a",)}, "topology.kubernetes.io/zone", ["eu-west-1a"]),
        ({"capacity_types": ("on-demand",)}, "karpenter.sh/capacity-type", ["on-demand"]),
    ],
)
def test_what_a_pool_says_is_required(change, key, values):
    assert requirements(replace(POOL, **change))[key, "In"] == values


def test_the_gpu_taint_comes_first_and_others_after_it():
    pool = replace(POOL, taints=(Taint(key="team", value="blue"), Taint(key="batch", effect="NoExecute")))
    assert node_pool(pool)["spec"]["template"]["spec"]["taints"] == [
        {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"},
        {"key": "team", "effect": "NoSchedule", "value": "blue"},
        {"key": "batch", "effect": "NoExecute"},
    ]


def test_the_limit_is_in_gpus():
    assert node_pool(POOL)["spec"]["limits"] == {"nvidia.com/gpu": "8"}


def test_nodes_never_expire_unless_asked():
    assert node_pool(POOL)["spec"]["template"]["spec"]["expireAfter"] == "Never"
    aged = replace(POOL, expire_after=timedelta(hours=720), termination_grace_period="1h")
    spec = node_pool(aged)["spec"]["template"]["spec"]
    assert (spec["expireAfter"], spec["terminationGracePeriod"]) == ("720h", "1h")


def test_empty_nodes_go_after_a_minute():
    assert node_pool(POOL)["spec"]["disruption"] == {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "1m"}


@pytest.mark.parametrize(("duration", "written"), [("8h", "8h"), ("90m", "1h30m"), ("45m", "45m")])
def test_budgets_are_written_in_hours_and_minutes(duration, written):
    budget = Budget(nodes="0", reasons=("Drifted",), schedule="0 9 * * mon-fri", duration=duration)
    (found,) = node_pool(replace(POOL, budgets=(budget,)))["spec"]["disruption"]["budgets"]
    assert found == {"nodes": "0", "reasons": ["Drifted"], "schedule": "0 9 * * mon-fri", "duration": written}


def test_the_weight_is_there_when_it_was_given():
    assert "weight" not in node_pool(POOL)["spec"]
    assert node_pool(replace(POOL, weight=50))["spec"]["weight"] == 50


def test_bottlerocket_nodes_do_not_call_a_second_device_plugin():
    labelled = node_pool(replace(POOL, labels={"team": "blue"}))
    assert labelled["spec"]["template"]["metadata"]["labels"] == {
        "karpenter-gpu/device-plugin": "nvidia",
        "team": "blue",
    }
    bottle = node_pool(replace(POOL, ami=AmiAlias(alias="bottlerocket@1.62.0")))
    assert bottle["spec"]["template"]["metadata"]["labels"] == {}


def test_startup_taints_are_apart_from_those_that_stay():
    pool = replace(
        POOL, startup_taints=(Taint(key="node.cilium.io/agent-not-ready", value="true", effect="NoExecute"),)
    )
    spec = node_pool(pool)["spec"]["template"]["spec"]
    assert spec["startupTaints"] == [{"key": "node.cilium.io/agent-not-ready", "value": "true", "effect": "NoExecute"}]
    assert [taint["key"] for taint in spec["taints"]] == ["nvidia.com/gpu"]
    assert "startupTaints" not in node_pool(POOL)["spec"]["template"]["spec"]


def test_the_rest_of_a_node_pool_is_merged_and_its_requirements_are_added():
    rule = {"key": "karpenter.k8s.aws/instance-memory", "operator": "Gt", "values": ["65536"]}
    pool = replace(
        POOL,
        pool_spec={
            "limits": {"cpu": "512"},
            "template": {"metadata": {"annotations": {"a": "b"}}, "spec": {"requirements": [rule]}},
        },
    )
    spec, plain = node_pool(pool)["spec"], node_pool(POOL)["spec"]
    assert spec["limits"] == {"nvidia.com/gpu": "8", "cpu": "512"}
    assert spec["template"]["metadata"] == {**plain["template"]["metadata"], "annotations": {"a": "b"}}
    assert spec["template"]["spec"]["requirements"] == [*plain["template"]["spec"]["requirements"], rule]


EVERYTHING = GpuPool(
    name="all",
    gpu_names=("l4",),
    instance_families=("g6",),
    instance_types=("g6.xlarge",),
    gpu_counts=(1,),
    zones=("eu-west-1a",),
    gpu_limit=8,
    weight=1,
    labels={"a": "b"},
    taints=(Taint(key="a"),),
    startup_taints=(Taint(key="b"),),
    budgets=(Budget(nodes="1"),),
    termination_grace_period="1h",
)


def paths(document, above=()):
    for key, value in document.items():
        if isinstance(value, dict) and (*above, key) not in POOL_OWNED:
            yield from paths(value, (*above, key))
        else:
            yield (*above, key)


def test_all_that_a_pool_has_from_its_settings_is_refused_beside_them():
    spec = node_pool(EVERYTHING)["spec"]
    assert set(paths(spec)) - set(POOL_OWNED) == {REQUIREMENTS}
    assert {rule["key"] for rule in spec["template"]["spec"]["requirements"]} == set(OWNED_REQUIREMENTS)
