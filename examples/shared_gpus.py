"""Four notebooks on one L4, and six on one of another pool; whoever asks for a GPU gets a share of it.

cdk deploy --app ".venv/bin/python examples/shared_gpus.py"
"""

from karpenter_gpu import MPS, TIME_SLICING, AmiAlias, EksGpuStack, GpuPool, NewCluster, Sharing, plain_faults

# isort: split
import aws_cdk as cdk

# By turns, each with the whole memory: for people, who mostly think.
notebooks = GpuPool(
    name="notebooks",
    gpu_names=("l4",),
    gpu_counts=(1,),
    gpu_limit=2,
    sharing=Sharing(strategy=TIME_SLICING, replicas=4),
)

# At once, each with a sixth of the memory: for small models. Bottlerocket's own device plugin does it.
models = GpuPool(
    name="models",
    gpu_names=("l4",),
    gpu_counts=(1,),
    gpu_limit=2,
    ami=AmiAlias(alias="bottlerocket@1.62.0"),
    sharing=Sharing(strategy=MPS, replicas=6),
)

with plain_faults():
    app = cdk.App()
    EksGpuStack(app, "SharedGpus", cluster=NewCluster(name="shared-gpus"), pools=[notebooks, models])
    app.synth()
