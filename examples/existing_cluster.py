"""An existing cluster, by its name; the rest is looked up and kept in cdk.context.json.

cdk deploy --app ".venv/bin/python examples/existing_cluster.py"
"""

import os

from karpenter_gpu import EksGpuStack, ExistingCluster, GpuPool, plain_faults

# isort: split
import aws_cdk as cdk

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app,
        "Platform",
        # Where to look: the account and region of your credentials.
        env=cdk.Environment(account=os.environ.get("CDK_DEFAULT_ACCOUNT"), region=os.environ.get("CDK_DEFAULT_REGION")),
        cluster=ExistingCluster(name="platform"),
        pools=[GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)],
    )
    app.synth()
