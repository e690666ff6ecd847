"""The construct on your own cluster of `aws_eks`, the library before `aws_eks_v2`.

cdk deploy --app ".venv/bin/python examples/own_cluster_v1.py"
"""

from karpenter_gpu import GpuPool, Karpenter, plain_faults

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct


class Training(cdk.Stack):
    """A cluster of your own, and GPUs for it."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        cluster = eks.Cluster(
            self,
            "Cluster",
            cluster_name="training-v1",
            version=eks.KubernetesVersion.V1_36,
            kubectl_layer=KubectlV36Layer(self, "Kubectl"),
            default_capacity=0,
        )
        # What an aws_eks cluster would bring by itself is AL2, which ended with Kubernetes 1.32.
        cluster.add_nodegroup_capacity(
            "System",
            instance_types=[ec2.InstanceType("m6i.large")],
            ami_type=eks.NodegroupAmiType.AL2023_X86_64_STANDARD,
            min_size=2,
        )
        # An aws_eks cluster does not show its version.
        karpenter = Karpenter(self, "Karpenter", cluster=cluster, cluster_name="training-v1", kubernetes_version="1.36")
        karpenter.add_gpu_pool(GpuPool(name="h100", gpu_names=("h100",), gpu_limit=16))


with plain_faults():
    app = cdk.App()
    Training(app, "TrainingV1")
    app.synth()
