"""The cluster in one stack, and Karpenter in another, which is deployed after it and destroyed before.

An export that the upper stack imports keeps CloudFormation from deleting the lower one first.

cdk deploy --all --app ".venv/bin/python examples/two_stacks.py"
"""

from karpenter_gpu import GpuPool, Karpenter, plain_faults

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer

with plain_faults():
    app = cdk.App()
    below = cdk.Stack(app, "Below")
    cluster = eks.Cluster(
        below,
        "Cluster",
        cluster_name="shared",
        version=eks.KubernetesVersion.V1_36,
        kubectl_provider_options=eks.KubectlProviderOptions(kubectl_layer=KubectlV36Layer(below, "Kubectl")),
        default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
        default_capacity=0,
    )
    cluster.add_nodegroup_capacity(
        "System",
        instance_types=[ec2.InstanceType("m6i.large")],
        ami_type=eks.NodegroupAmiType.AL2023_X86_64_STANDARD,
        min_size=2,
    )
    above = cdk.Stack(app, "Above")
    karpenter = Karpenter(above, "Karpenter", cluster=cluster, cluster_name="shared", kubernetes_version="1.36")
    karpenter.add_gpu_pool(GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8))
    app.synth()
