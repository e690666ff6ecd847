"""An existing VPC without a way out but endpoints, no public endpoint, Pod Identity, everything pulled from mirrors.

The VPC needs the endpoints of docs/private-networks.md, and the registry the charts and images.

cdk deploy --app ".venv/bin/python examples/private_cluster.py"
"""

from karpenter_gpu import (
    POD_IDENTITY,
    DevicePlugin,
    EksGpuStack,
    ExistingVpc,
    GpuPool,
    KarpenterSettings,
    NewCluster,
    plain_faults,
)

# isort: split
import aws_cdk as cdk

MIRROR = "111122223333.dkr.ecr.us-west-2.amazonaws.com"

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app,
        "Private",
        env=cdk.Environment(account="111122223333", region="us-west-2"),
        cluster=NewCluster(
            name="private",
            network=ExistingVpc(
                vpc_id="vpc-0123456789abcdef0",
                availability_zones=("us-west-2a", "us-west-2b"),
                private_subnet_ids=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
            ),
            public_access_cidrs=(),
            admins=("arn:aws:iam::111122223333:role/platform",),
        ),
        karpenter=KarpenterSettings(
            isolated=True,
            identity=POD_IDENTITY,
            charts=f"oci://{MIRROR}/karpenter",
            # An empty digest, because the chart's own is of the public image.
            values={"controller": {"image": {"repository": f"{MIRROR}/karpenter/controller", "digest": ""}}},
        ),
        device_plugin=DevicePlugin(image=f"{MIRROR}/nvidia/k8s-device-plugin"),
        pools=[GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)],
        permissions_boundary="PlatformBoundary",
    )
    app.synth()
