"""The default profile's work with cdk-eks-karpenter: VPC, cluster, system nodes, Karpenter, two pools, device plugin."""

import karpenter_gpu  # first: it finds Node.js for the CDK

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from cdk_eks_karpenter import Karpenter

from karpenter_gpu.manifests.device_plugin import device_plugin
from karpenter_gpu.manifests.node_class import ec2_node_class
from karpenter_gpu.manifests.node_pool import node_pool

POOLS = [
    karpenter_gpu.GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8),
    karpenter_gpu.GpuPool(name="training", gpu_names=("h100",), gpu_limit=16, capacity_types=("on-demand",)),
]

app = cdk.App()
stack = cdk.Stack(app, "Peer")
cluster = eks.Cluster(
    stack,
    "Cluster",
    cluster_name="peer",
    version=eks.KubernetesVersion.V1_36,
    vpc=ec2.Vpc(stack, "Vpc", nat_gateways=1),
    kubectl_layer=KubectlV36Layer(stack, "Layer"),
    authentication_mode=eks.AuthenticationMode.API_AND_CONFIG_MAP,
    default_capacity=2,
)
karpenter = Karpenter(stack, "Karpenter", cluster=cluster, version="1.14.3", namespace="kube-system")
for pool in POOLS:
    node_class = ec2_node_class(
        pool,
        role=karpenter.node_role.role_name,
        subnets=[{"tags": {"karpenter.sh/discovery": "peer"}}],
        security_groups=[{"tags": {"karpenter.sh/discovery": "peer"}}],
    )
    karpenter.add_ec2_node_class(f"{pool.name}-class", node_class["spec"])
    spec = node_pool(pool)["spec"]
    spec["template"]["spec"]["nodeClassRef"]["name"] = f"{pool.name}-class"
    karpenter.add_node_pool(pool.name, spec)
cluster.add_manifest("DevicePlugin", device_plugin(karpenter_gpu.DevicePlugin()))
app.synth()
