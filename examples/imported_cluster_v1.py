"""The construct on a cluster that you import with `aws_eks`, whose kubectl takes a role that aws-auth lets in.

cdk deploy --app ".venv/bin/python examples/imported_cluster_v1.py"
"""

from karpenter_gpu import GpuPool, Karpenter, plain_faults

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct

CLUSTER_GROUP = "sg-0123456789abcdef0"
SUBNETS = ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1")


class Training(cdk.Stack):
    """GPUs for a cluster that another stack, or another tool, has made."""

    def __init__(self, scope: Construct, id: str, *, env: cdk.Environment) -> None:
        super().__init__(scope, id, env=env)
        cluster = eks.Cluster.from_cluster_attributes(
            self,
            "Cluster",
            cluster_name="imported-v1",
            cluster_security_group_id=CLUSTER_GROUP,
            kubectl_role_arn="arn:aws:iam::111122223333:role/ops",
            kubectl_layer=KubectlV36Layer(self, "KubectlLayer"),
        )
        karpenter = Karpenter(
            self,
            "Karpenter",
            cluster=cluster,
            cluster_name="imported-v1",
            kubernetes_version="1.36",
            authentication_mode="CONFIG_MAP",
            oidc_issuer="https://oidc.eks.us-west-2.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
            subnets=[ec2.Subnet.from_subnet_id(self, id, id) for id in SUBNETS],
            security_groups=[ec2.SecurityGroup.from_security_group_id(self, "Nodes", CLUSTER_GROUP)],
            # Leaves the subnets and the security group untagged; the pools select them by id.
            discovery="ids",
        )
        karpenter.add_gpu_pool(GpuPool(name="h100", gpu_names=("h100",), gpu_limit=16))


with plain_faults():
    app = cdk.App()
    Training(app, "ImportedV1", env=cdk.Environment(account="111122223333", region="us-west-2"))
    app.synth()
