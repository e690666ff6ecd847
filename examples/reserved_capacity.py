"""Use what is reserved first: an On-Demand Capacity Reservation that the stack makes, and a Capacity Block that was bought.

Account and region are the credentials': cdk deploy --app ".venv/bin/python examples/reserved_capacity.py"
"""

import os
from datetime import timedelta

from karpenter_gpu import (
    ON_DEMAND,
    RESERVED,
    SPOT,
    EksGpuStack,
    GpuPool,
    NewCluster,
    NewReservation,
    NewVpc,
    ReservationById,
    plain_faults,
)

# isort: split
import aws_cdk as cdk

region = os.environ.get("CDK_DEFAULT_REGION", "us-west-2")
zones = (f"{region}a", f"{region}b")

# Two instances that are paid for, used or not; what is needed beyond them is spot, and on-demand where spot is out.
inference = GpuPool(
    name="inference",
    instance_types=("g6.xlarge",),
    capacity_types=(RESERVED, SPOT, ON_DEMAND),
    reserve=(NewReservation(instance_type="g6.xlarge", zone=zones[0], count=2),),
    gpu_limit=8,
)

# A Capacity Block is bought beside every template, and named here. Its nodes are drained before it ends.
training = GpuPool(
    name="training",
    instance_types=("p5.48xlarge",),
    capacity_types=(RESERVED,),
    reservations=(ReservationById(id="cr-0123456789abcdef0", capacity_block=True),),
    zones=zones[:1],
    gpu_limit=16,
    termination_grace_period=timedelta(minutes=9),
)

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app,
        "ReservedCapacity",
        env=cdk.Environment(account=os.environ.get("CDK_DEFAULT_ACCOUNT"), region=region),
        cluster=NewCluster(name="reserved-capacity", network=NewVpc(availability_zones=zones)),
        pools=[inference, training],
    )
    app.synth()
