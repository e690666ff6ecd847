"""Pools are values: make one, replace what differs, or build them in a loop; a ceiling can be money.

cdk deploy --app ".venv/bin/python examples/many_pools.py"
"""

from dataclasses import replace
from datetime import timedelta

from karpenter_gpu import ON_DEMAND, SPOT, Budget, CpuPool, EksGpuStack, GpuPool, NewCluster, Taint, plain_faults

# isort: split
import aws_cdk as cdk

batch = GpuPool(
    name="batch",
    gpu_names=("l4", "a10g", "t4"),
    gpu_limit=64,
    capacity_types=(SPOT,),
    weight=50,
    termination_grace_period=timedelta(minutes=30),
)
steady = replace(batch, name="steady", capacity_types=(ON_DEMAND,), weight=10)

# At most 20 dollars an hour, whatever Karpenter chooses.
notebooks = GpuPool(name="notebooks", gpu_names=("l4",), gpu_counts=(1,), hourly_limit_usd=20)

# One pool a team, each for its own pods alone, and nobody's job moved in working hours.
office_hours = Budget(nodes="0", reasons=("Drifted",), schedule="0 8 * * mon-fri", duration=timedelta(hours=10))
teams = [
    GpuPool(
        name=f"team-{team}",
        instance_families=("g6e",),
        gpu_limit=8,
        labels={"team": team},
        taints=(Taint(key="team", value=team),),
        budgets=(office_hours,),
    )
    for team in ("blue", "green")
]

# What runs beside the models: no GPUs, no taint, and a ceiling of its own.
services = CpuPool(name="services", vcpu_limit=64)

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app, "ManyPools", cluster=NewCluster(name="many-pools"), pools=[batch, steady, notebooks, *teams, services]
    )
    app.synth()
