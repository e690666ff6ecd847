"""The same work with this project; the first argument is the number of pools, two if it is left out."""

import sys

from karpenter_gpu import EksGpuStack, GpuPool, NewCluster

# isort: split
import aws_cdk as cdk

pools = [
    GpuPool(name=f"pool-{n}", gpu_names=("l4",), gpu_limit=8) for n in range(int(sys.argv[1]) if sys.argv[1:] else 2)
]
app = cdk.App()
EksGpuStack(app, "Ours", cluster=NewCluster(name="ours"), pools=pools)
app.synth()
