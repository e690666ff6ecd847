"""Only the construct, in a stack of your own, on your own `aws_eks_v2` cluster.

cdk deploy --app ".venv/bin/python examples/own_cluster.py"
"""

from karpenter_gpu import GpuPool, Karpenter, plain_faults

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_s3 as s3
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct


class Training(cdk.Stack):
    """A cluster of your own, and GPUs for it."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        cluster = eks.Cluster(
            self,
            "Cluster",
            cluster_name="training",
            version=eks.KubernetesVersion.V1_36,
            kubectl_provider_options=eks.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(self, "Kubectl")),
            # The default would be Auto Mode, and a default node group's image AL2, which ended with Kubernetes 1.32.
            default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
            default_capacity=0,
        )
        cluster.add_nodegroup_capacity(
            "System",
            instance_types=[ec2.InstanceType("m6i.large")],
            ami_type=eks.NodegroupAmiType.AL2023_X86_64_STANDARD,
            min_size=2,
        )
        karpenter = Karpenter(self, "Karpenter", cluster=cluster, cluster_name="training")
        karpenter.add_gpu_pool(GpuPool(name="h100", gpu_names=("h100",), gpu_limit=16))
        s3.Bucket.from_bucket_name(self, "Models", "training-models").grant_read(karpenter.node_role)


with plain_faults():
    app = cdk.App()
    Training(app, "Training")
    app.synth()
