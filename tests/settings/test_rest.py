"""What a user may add to the documents and roles that settings make, and the sentence for what they may not."""

import pytest

from karpenter_gpu import GpuPool, InvalidSettings, Kubelet, Taint, platform_from_context

POOL = {"name": "inference", "gpu_names": ("l4",), "gpu_limit": 8}


def only_fault(make, **given):
    with pytest.raises(InvalidSettings) as caught:
        make(**given)
    (fault,) = caught.value.faults
    return str(fault)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"class_spec": {"role": "x"}},
            "class_spec.role: is managed by karpenter-gpu; leave it out: the stack's node role is used",
        ),
        (
            {"class_spec": {"kubelet": {"maxPods": 5}}},
            "class_spec.kubelet.maxPods: is managed by karpenter-gpu; use kubelet.max_pods",
        ),
        ({"class_spec": {"kubelet": 5}}, "class_spec.kubelet: 5 would replace what must be there; give a mapping"),
        ({"class_spec": {"context": None}}, "class_spec.context: is null, which says nothing; leave the key out"),
        ({"class_spec": {"context": float("nan")}}, "class_spec.context: nan cannot be written as JSON; use text"),
        ({"pool_spec": {"weight": 5}}, "pool_spec.weight: is managed by karpenter-gpu; use weight"),
        (
            {"pool_spec": {"limits": {"nvidia.com/gpu": "99"}}},
            "pool_spec.limits.nvidia.com/gpu: is managed by karpenter-gpu; use gpu_limit or hourly_limit_usd",
        ),
        ({"pool_spec": {"template": []}}, "pool_spec.template: [] would replace what must be there; give a mapping"),
        (
            {"pool_spec": {"template": {"spec": {"requirements": {"key": "a"}}}}},
            "pool_spec.template.spec.requirements: {'key': 'a'} is not a list of requirements",
        ),
        (
            {"pool_spec": {"template": {"spec": {"requirements": [{"key": "kubernetes.io/arch", "operator": "In"}]}}}},
            "pool_spec.template.spec.requirements: 'kubernetes.io/arch' is managed by karpenter-gpu; use architecture",
        ),
        (
            {"pool_spec": {"template": {"spec": {"requirements": [{"key": "a"}]}}}},
            "pool_spec.template.spec.requirements: {'key': 'a'} is not a requirement, which is a mapping with a key and",
        ),
        (
            {"subnet_ids": ("sn-1",)},
            "subnet_ids: 'sn-1' is not the id of a subnet; ids look like subnet-0123456789abcdef0",
        ),
        (
            {"taints": (Taint(key="a"),), "startup_taints": (Taint(key="a"),)},
            "startup_taints: a:NoSchedule is set already, and Karpenter refuses a pool with the same key and effect",
        ),
        (
            {"startup_taints": (Taint(key="nvidia.com/gpu"),)},
            "startup_taints: nvidia.com/gpu:NoSchedule is set already",
        ),
    ],
)
def test_what_a_pools_own_settings_say_cannot_be_said_beside_them(given, fault):
    assert only_fault(GpuPool, **POOL, **given).startswith(fault)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"max_pods": 0}, "max_pods: 0 is too small; the least is 1"),
        (
            {"kube_reserved": {"gpu": "1"}},
            "kube_reserved.gpu: 'gpu' is not one of 'cpu', 'memory', 'ephemeral-storage' or",
        ),
        ({"kube_reserved": {"cpu": "-1"}}, "kube_reserved.cpu: '-1' is not an amount; write it as in '500m' or '1Gi'"),
        ({"eviction_hard": {"memory.available": "5"}}, None),
        ({"eviction_hard": {"memory.available": "101%"}}, "eviction_hard.memory.available: '101%' is not an amount"),
        (
            {"eviction_soft": {"pid.available": "5%"}},
            "eviction_soft: pid.available is given without eviction_soft_grace_period, and Karpenter takes both",
        ),
        (
            {"eviction_soft_grace_period": {"pid.available": "1m"}},
            "eviction_soft_grace_period: pid.available is given without eviction_soft, and Karpenter takes both",
        ),
        (
            {"image_gc_high_threshold_percent": 60, "image_gc_low_threshold_percent": 60},
            "image_gc_high_threshold_percent: 60 is not above image_gc_low_threshold_percent, which is 60",
        ),
    ],
)
def test_a_kubelet_that_karpenter_would_refuse_is_refused(given, fault):
    if fault is None:
        assert Kubelet(**given)
    else:
        assert only_fault(Kubelet, **given).startswith(fault)


def test_bottlerocket_takes_no_pods_per_core():
    given = {**POOL, "ami": {"alias": "bottlerocket@1.62.0"}, "kubelet": {"pods_per_core": 4}}
    assert only_fault(GpuPool, **given) == "kubelet.pods_per_core: is not taken by Bottlerocket; use kubelet.max_pods"


def test_what_has_no_setting_can_be_said_by_its_path():
    small = {"cluster": {"name": "gpu"}, "pools": [{**POOL, "gpu_names": ["l4"]}]}
    made = platform_from_context(
        {
            "profiles": {"small": small},
            "pools.inference.class_spec.detailedMonitoring": "true",
            "pools.inference.kubelet.max_pods": "110",
            "pools.inference.kubelet.eviction_hard.memory.available": "5%",
            "pools.inference.startup_taints": '[{"key": "node.cilium.io/agent-not-ready"}]',
        }
    )
    (pool,) = made.pools
    assert pool.class_spec == {"detailedMonitoring": True}
    assert (pool.kubelet.max_pods, pool.kubelet.eviction_hard) == (110, {"memory.available": "5%"})
    assert pool.startup_taints == (Taint(key="node.cilium.io/agent-not-ready"),)
