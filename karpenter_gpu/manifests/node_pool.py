"""NodePool: which instances a pool may launch, how many, and when they go."""

from __future__ import annotations

from typing import Any

from karpenter_gpu import labels
from karpenter_gpu.settings import Budget, CpuPool, GpuPool, Pool, Taint
from karpenter_gpu.settings._types import karpenter_duration
from karpenter_gpu.settings.chart import merged
from karpenter_gpu.settings.cpu_pool import FIRST_GENERATION

GROUP = "karpenter.k8s.aws"


def node_pool(pool: Pool) -> dict[str, Any]:
    """The NodePool of one pool; it refers to the EC2NodeClass of the same name.

    Source: NodePool CRD, v1.0.1 to v1.15.1; every field here exists in all of them.
    """
    taints = [*map(dict, pool.own_taints), *map(_taint, pool.taints)]
    template: dict[str, Any] = {
        "nodeClassRef": {"group": GROUP, "kind": "EC2NodeClass", "name": pool.name},
        "requirements": _requirements(pool),
        **({"taints": taints} if taints else {}),
        "expireAfter": karpenter_duration(pool.expire_after),
    }
    if pool.startup_taints:
        template["startupTaints"] = list(map(_taint, pool.startup_taints))
    if pool.termination_grace_period is not None:
        template["terminationGracePeriod"] = karpenter_duration(pool.termination_grace_period)
    disruption: dict[str, Any] = {
        "consolidationPolicy": pool.consolidation_policy,
        "consolidateAfter": karpenter_duration(pool.consolidate_after),
    }
    if pool.budgets:
        disruption["budgets"] = [_budget(budget) for budget in pool.budgets]
    spec: dict[str, Any] = {
        "template": {"metadata": {"labels": node_labels(pool)}, "spec": template},
        "disruption": disruption,
        "limits": _limits(pool),
    }
    if pool.weight is not None:
        spec["weight"] = pool.weight
    whole = merged(spec, pool.pool_spec)
    node = whole["template"]["spec"]
    if node["requirements"] != template["requirements"]:
        # Lists replace each other, and these are added.
        node["requirements"] = [*template["requirements"], *node["requirements"]]
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": pool.name}, "spec": whole}


def _taint(taint: Taint) -> dict[str, str]:
    return {"key": taint.key, "effect": taint.effect} | ({"value": taint.value} if taint.value else {})


def _limits(pool: Pool) -> dict[str, str]:
    """What Karpenter counts on nodes: vCPUs, or GPUs, and shares of them where they are shared."""
    if isinstance(pool, GpuPool):
        return {labels.GPU_RESOURCE: str(pool.effective_gpu_limit * pool.pods_per_gpu)}
    assert isinstance(pool, CpuPool)
    return {"cpu": str(pool.vcpu_limit)}


def node_labels(pool: Pool) -> dict[str, str]:
    """What every node of a pool is labelled with; on Bottlerocket the label that calls a device plugin is left out."""
    if not isinstance(pool, GpuPool):
        return dict(pool.labels)
    plugin = pool.sharing.profile if pool.sharing else labels.DEVICE_PLUGIN_VALUE
    ours = {} if pool.ami.family == "Bottlerocket" else {labels.DEVICE_PLUGIN_LABEL: plugin}
    return {**ours, **pool.labels}


_Row = tuple[str, str, tuple[object, ...]]


def _requirements(pool: Pool) -> list[dict[str, Any]]:
    rows: list[_Row] = [
        *(_of_gpus(pool) if isinstance(pool, GpuPool) else _of_cpus(pool)),
        (labels.CAPACITY_TYPE, "In", pool.capacity_types),
        (labels.ZONE, "In", pool.zones),
        (labels.ARCH, "In", (pool.architecture,)),
        (labels.OS, "In", ("linux",)),
    ]
    return [
        {"key": key, "operator": operator, "values": [str(value) for value in values]}
        for key, operator, values in rows
        if values
    ]


def _of_gpus(pool: GpuPool) -> list[_Row]:
    # EC2 counts no GPU on the fractional types, which no pod could then use.
    counts: _Row = (labels.INSTANCE_GPU_COUNT, "In", pool.gpu_counts)
    if not pool.gpu_counts and not pool.has_fractional_types:
        counts = (labels.INSTANCE_GPU_COUNT, "Gt", (0,))
    return [
        (labels.INSTANCE_GPU_MANUFACTURER, "In", ("nvidia",)),
        (labels.INSTANCE_GPU_NAME, "In", pool.gpu_names),
        (labels.INSTANCE_FAMILY, "In", pool.instance_families),
        (labels.INSTANCE_TYPE, "In", pool.instance_types),
        counts,
    ]


def _of_cpus(pool: Pool) -> list[_Row]:
    assert isinstance(pool, CpuPool)
    return [
        (labels.INSTANCE_CATEGORY, "In", pool.categories),
        (labels.INSTANCE_GENERATION, "Gt", (FIRST_GENERATION - 1,) if pool.categories else ()),
        (labels.INSTANCE_FAMILY, "In", pool.instance_families),
        (labels.INSTANCE_TYPE, "In", pool.instance_types),
    ]


def _budget(budget: Budget) -> dict[str, Any]:
    rendered: dict[str, Any] = {"nodes": budget.nodes}
    if budget.reasons:
        rendered["reasons"] = list(budget.reasons)
    if budget.schedule is not None and budget.duration is not None:
        minutes = int(budget.duration.total_seconds()) // 60
        hours, minutes = divmod(minutes, 60)
        rendered["schedule"] = budget.schedule
        rendered["duration"] = f"{hours}h{minutes}m" if hours and minutes else f"{hours}h" if hours else f"{minutes}m"
    return rendered
