"""The same pools on many clusters, in a loop.

cdk deploy --all --app ".venv/bin/python examples/many_clusters.py"
"""

from karpenter_gpu import EksGpuStack, GpuPool, NewCluster, plain_faults

# isort: split
import aws_cdk as cdk

POOLS = [
    GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8),
    GpuPool(name="training", gpu_names=("h100",), gpu_limit=16),
]

with plain_faults():
    app = cdk.App()
    for team in ("research", "product", "support"):
        EksGpuStack(app, team.capitalize(), cluster=NewCluster(name=team), pools=POOLS)
    app.synth()
