"""A new cluster with one pool: spot, with on-demand behind it, and gone a minute after the last pod.

cdk deploy --app ".venv/bin/python examples/new_cluster.py"
"""

from karpenter_gpu import EksGpuStack, GpuPool, NewCluster, plain_faults

# isort: split
import aws_cdk as cdk

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app,
        "Research",
        cluster=NewCluster(name="research"),
        pools=[GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)],
    )
    app.synth()
