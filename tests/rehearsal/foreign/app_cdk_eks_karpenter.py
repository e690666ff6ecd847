"""The example of cdk-eks-karpenter's README, in Python, on today's versions and with a pool of GPUs."""

import karpenter_gpu  # noqa: F401 - first: it finds Node.js for the CDK

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks
from aws_cdk import aws_iam as iam
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from cdk_eks_karpenter import Karpenter

app = cdk.App()
stack = cdk.Stack(app, "Karpenter", env=cdk.Environment(account="111122223333", region="us-east-1"))
cluster = eks.Cluster(
    stack,
    "testcluster",
    vpc=ec2.Vpc(stack, "testvpc", nat_gateways=1),
    role=iam.Role(
        stack,
        "clusterRole",
        assumed_by=iam.ServicePrincipal("eks.amazonaws.com"),
        managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("AmazonEKSClusterPolicy")],
    ),
    version=eks.KubernetesVersion.V1_36,
    default_capacity=1,
    kubectl_layer=KubectlV36Layer(stack, "Kubectl"),
)
karpenter = Karpenter(stack, "Karpenter", cluster=cluster, version="1.14.3", namespace="karpenter")
node_class = karpenter.add_ec2_node_class(
    "nodeclass",
    {
        "amiFamily": "AL2023",
        "amiSelectorTerms": [{"alias": "al2023@latest"}],
        "subnetSelectorTerms": [{"tags": {"Name": "Karpenter/testvpc/PrivateSubnet*"}}],
        "securityGroupSelectorTerms": [{"tags": {"aws:eks:cluster-name": cluster.cluster_name}}],
        "role": karpenter.node_role.role_name,
    },
)
reference = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": node_class["name"]}
gpus = {"key": "karpenter.k8s.aws/instance-gpu-name", "operator": "In", "values": ["l4"]}
karpenter.add_node_pool("nodepool", {"template": {"spec": {"nodeClassRef": reference, "requirements": [gpus]}}})
app.synth()
