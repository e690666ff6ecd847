"""The same work with this project: the number of pools (default: 2), and how many GPUs each may have (default: 8)."""

import sys

from karpenter_gpu import EksGpuStack, GpuPool, NewCluster

# isort: split
import aws_cdk as cdk

count, limit = (*map(int, sys.argv[1:]), *(2, 8)[len(sys.argv) - 1 :])
pools = [GpuPool(name=f"pool-{n}", gpu_names=("l4",), gpu_counts=(1,), gpu_limit=limit) for n in range(count)]
app = cdk.App()
EksGpuStack(app, "Ours", cluster=NewCluster(name="ours"), pools=pools)
app.synth()
