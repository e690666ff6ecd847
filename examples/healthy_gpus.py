"""GPU nodes that are replaced when they are sick, and whose GPUs Prometheus sees.

cdk deploy --app ".venv/bin/python examples/healthy_gpus.py"
"""

from karpenter_gpu import EksGpuStack, GpuPool, Health, Metrics, NewCluster, plain_faults

# isort: split
import aws_cdk as cdk

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app,
        "HealthyGpus",
        cluster=NewCluster(name="healthy-gpus"),
        pools=[GpuPool(name="inference", gpu_names=("l4",), gpu_counts=(1,), gpu_limit=4)],
        health=Health(repair=True),
        metrics=Metrics(),
    )
    app.synth()
