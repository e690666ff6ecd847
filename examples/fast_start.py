"""A model server's image of 10 GB, pulled in parallel, or fetched with the node's disk.

cdk deploy --app ".venv/bin/python examples/fast_start.py"
"""

import os

from karpenter_gpu import AmiAlias, EksGpuStack, GpuPool, NewCluster, RootVolume, plain_faults

# isort: split
import aws_cdk as cdk

REGION = os.environ.get("CDK_DEFAULT_REGION", "us-west-2")

# Parallel pull onto the instance's NVMe, beside a script of one's own.
pulled = GpuPool(
    name="pulled",
    gpu_names=("l4",),
    gpu_limit=4,
    fast_start=True,
    user_data="#!/bin/bash\necho vm.max_map_count=262144 > /etc/sysctl.d/90-models.conf && sysctl --system\n",
)

# The images are on a snapshot, and what they lack is pulled in parallel.
prepared = GpuPool(
    name="prepared",
    gpu_names=("l4",),
    gpu_limit=4,
    fast_start=True,
    ami=AmiAlias(alias="bottlerocket@1.62.0"),
    image_snapshot="snap-0123456789abcdef0",
    root_volume=RootVolume(size_gib=200, iops=16_000, throughput_mib=1_000),
)

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app,
        "FastStart",
        cluster=NewCluster(name="fast-start"),
        pools=[pulled, prepared],
        env=cdk.Environment(region=REGION),
    )
    app.synth()
