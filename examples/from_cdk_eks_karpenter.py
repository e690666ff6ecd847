"""From cdk-eks-karpenter to this package in two deployments, under running pods: docs/existing-karpenter.md.

cdk deploy --app ".venv/bin/python examples/from_cdk_eks_karpenter.py" -c step=keep
cdk deploy --app ".venv/bin/python examples/from_cdk_eks_karpenter.py" -c step=take --no-rollback

The first is the app as it was, but for what cdk-eks-karpenter installed, which is kept when the app lets go of it. The
second is the app as it stays.
"""

from typing import Any

from karpenter_gpu import GpuPool, Karpenter, KarpenterSettings, plain_faults

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks
from aws_cdk import aws_iam as iam
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct

VERSION = "1.14.3"
NAMESPACE = "karpenter"
REQUIREMENT = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m6i.large"]}


def node_class(cluster: eks.Cluster, role: iam.IRole) -> dict[str, Any]:
    """The team's own EC2NodeClass."""
    subnets = [{"id": subnet.subnet_id} for subnet in cluster.vpc.private_subnets]
    return {
        "amiFamily": "AL2023",
        "amiSelectorTerms": [{"alias": "al2023@v20260714"}],
        "role": role.role_name,
        "subnetSelectorTerms": subnets,
        "securityGroupSelectorTerms": [{"id": cluster.cluster_security_group_id}],
    }


NODE_POOL = {
    "template": {
        "spec": {
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "general"},
            "requirements": [REQUIREMENT],
        }
    }
}


class Training(cdk.Stack):
    """A cluster of `aws_eks` with a Karpenter, by the one construct or by the other."""

    def __init__(self, scope: Construct, id: str, *, step: str) -> None:
        super().__init__(scope, id)
        self.cluster = eks.Cluster(
            self,
            "Cluster",
            cluster_name="training",
            version=eks.KubernetesVersion.V1_36,
            kubectl_layer=KubectlV36Layer(self, "Kubectl"),
            default_capacity=0,
        )
        self.cluster.add_nodegroup_capacity(
            "System",
            instance_types=[ec2.InstanceType("m6i.large")],
            ami_type=eks.NodegroupAmiType.AL2023_X86_64_STANDARD,
            min_size=2,
        )
        if step == "take":
            self.take()
        else:
            self.before()
        if step == "keep":
            self.keep()

    def before(self) -> None:
        """The app as it was."""
        import cdk_eks_karpenter as cek  # noqa: PLC0415 - the app as it stays has no use for it

        karpenter = cek.Karpenter(self, "Karpenter", cluster=self.cluster, version=VERSION, namespace=NAMESPACE)
        karpenter.add_ec2_node_class("general", node_class(self.cluster, karpenter.node_role))
        karpenter.add_node_pool("workers", NODE_POOL)

    def keep(self) -> None:
        """Keep what would be deleted from under the one that comes: chart, service account and namespace."""
        for id in ("chart-karpenter", "karpenter", "manifest-karpenter-namespace"):
            for child in self.cluster.node.find_child(id).node.find_all():
                if isinstance(child, cdk.CfnResource) and child.cfn_resource_type.startswith("Custom::AWSCDK-EKS-"):
                    child.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
                    # CloudFormation does not take a changed DeletionPolicy by itself.
                    child.add_metadata("KeptFor", "karpenter-gpu")

    def take(self) -> None:
        """The app as it stays: the same node role and the same pools, under their old ids, and another construct."""
        old = Construct(self, "Karpenter")
        role = iam.Role(old, "NodeRole", assumed_by=iam.ServicePrincipal(f"ec2.{cdk.Aws.URL_SUFFIX}"))
        for policy in (
            "AmazonEKS_CNI_Policy",
            "AmazonEKSWorkerNodePolicy",
            "AmazonEC2ContainerRegistryReadOnly",
            "AmazonSSMManagedInstanceCore",
        ):
            role.add_managed_policy(iam.ManagedPolicy.from_aws_managed_policy_name(policy))
        karpenter = Karpenter(
            self,
            "KarpenterGpu",
            cluster=self.cluster,
            cluster_name="training",
            kubernetes_version="1.36",
            settings=KarpenterSettings(version=VERSION, namespace=NAMESPACE, adopt=True),
            node_role=role,
            oidc_provider=self.cluster.open_id_connect_provider,
        )
        karpenter.add_gpu_pool(GpuPool(name="h100", gpu_names=("h100",), gpu_limit=16))
        general = self.manifest("karpenter.k8s.aws/v1", "EC2NodeClass", "general", node_class(self.cluster, role))
        workers = self.manifest("karpenter.sh/v1", "NodePool", "workers", NODE_POOL)
        # Made after Karpenter and gone before it.
        general.node.add_dependency(karpenter)
        workers.node.add_dependency(general)

    def manifest(self, api: str, kind: str, name: str, spec: dict[str, Any]) -> eks.KubernetesManifest:
        """A manifest as cdk-eks-karpenter writes it."""
        about = {"name": name, "namespace": NAMESPACE}
        return self.cluster.add_manifest(name, {"apiVersion": api, "kind": kind, "metadata": about, "spec": spec})


with plain_faults():
    app = cdk.App()
    Training(app, "Training", step=app.node.try_get_context("step") or "take")
    app.synth()
