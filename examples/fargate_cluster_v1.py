"""A cluster of `aws_eks` without nodes of its own: Karpenter's controller runs on Fargate.

cdk deploy --app ".venv/bin/python examples/fargate_cluster_v1.py"
"""

import json

from karpenter_gpu import GpuPool, Karpenter, KarpenterSettings, plain_faults

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_eks as eks
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct


class Training(cdk.Stack):
    """Nothing but Karpenter, until there is work for GPUs."""

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        cluster = eks.Cluster(
            self,
            "Cluster",
            cluster_name="training-fargate",
            version=eks.KubernetesVersion.V1_36,
            kubectl_layer=KubectlV36Layer(self, "Kubectl"),
            default_capacity=0,
        )
        cluster.add_fargate_profile("Controller", selectors=[eks.Selector(namespace="karpenter")])
        # Nothing but CoreDNS of kube-system, which GPU pods need before there is any other node.
        dns = cluster.add_fargate_profile(
            "Dns", selectors=[eks.Selector(namespace="kube-system", labels={"k8s-app": "kube-dns"})]
        )
        coredns = eks.CfnAddon(
            self,
            "CoreDns",
            addon_name="coredns",
            cluster_name=cluster.cluster_name,
            configuration_values=json.dumps({"computeType": "Fargate"}),
            # Over the one that EKS has put on the cluster, which waits for EC2 nodes.
            resolve_conflicts="OVERWRITE",
        )
        coredns.node.add_dependency(dns)
        karpenter = Karpenter(
            self,
            "Karpenter",
            cluster=cluster,
            cluster_name="training-fargate",
            kubernetes_version="1.36",
            settings=KarpenterSettings(namespace="karpenter", on_fargate=True),
        )
        karpenter.start_after(coredns)
        karpenter.add_gpu_pool(GpuPool(name="l4", gpu_names=("l4",), gpu_limit=8))


with plain_faults():
    app = cdk.App()
    Training(app, "TrainingFargate")
    app.synth()
