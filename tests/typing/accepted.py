"""What works at run time and in cdk.json passes strict type checkers; read by them alone: make types."""

from datetime import timedelta
from typing import Literal

from karpenter_gpu import (
    NEVER,
    AuthenticationMode,
    Budget,
    CapacityType,
    EksGpuStack,
    GpuPool,
    Karpenter,
    KarpenterSettings,
    NewCluster,
    Taint,
    __version__,
)

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_eks_v2 as eks
from typing_extensions import assert_type


def pool(capacity_types: list[CapacityType]) -> GpuPool:
    taints = [Taint(key="team", value="research")]
    return GpuPool(
        name="inference",
        gpu_names=["l4"],
        gpu_counts=(1, 2),
        gpu_limit=8,
        capacity_types=capacity_types,
        taints=taints,
        budgets=[Budget(nodes="0", reasons=["Drifted"], schedule="@daily", duration="1h")],
        consolidate_after="1m",
        expire_after=NEVER,
        termination_grace_period=timedelta(hours=1),
    )


def stack(app: cdk.App) -> EksGpuStack:
    return EksGpuStack(
        app,
        "Platform",
        cluster=NewCluster(name="gpu", admins=["arn:aws:iam::111122223333:role/ops"]),
        pools=[pool(["spot"])],
        karpenter=KarpenterSettings(drain_timeout="30m"),
        tags={"team": "research"},
        termination_protection=True,
    )


def construct(stack: cdk.Stack, cluster: eks.Cluster, mode: AuthenticationMode) -> Karpenter:
    karpenter = Karpenter(stack, "Karpenter", cluster=cluster, cluster_name="gpu", authentication_mode=mode)
    karpenter.add_gpu_pool(pool(["on-demand"]))
    return karpenter


made = pool(["spot", "on-demand"])
assert_type(made.gpu_names, tuple[str, ...])
assert_type(made.taints, tuple[Taint, ...])
assert_type(made.capacity_types, tuple[CapacityType, ...])
assert_type(made.consolidate_after, timedelta | Literal["Never"])
assert_type(made.termination_grace_period, timedelta | None)
assert_type(__version__, str)
