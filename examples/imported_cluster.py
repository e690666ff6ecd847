"""The construct on a cluster that you import, with `aws_eks_v2` and Pod Identity.

cdk deploy --app ".venv/bin/python examples/imported_cluster.py"
"""

from karpenter_gpu import POD_IDENTITY, GpuPool, Karpenter, KarpenterSettings, plain_faults

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct

CLUSTER_GROUP = "sg-0123456789abcdef0"
SUBNETS = ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1")


class Training(cdk.Stack):
    """GPUs for a cluster that another stack, or another tool, has made."""

    def __init__(self, scope: Construct, id: str, *, env: cdk.Environment) -> None:
        super().__init__(scope, id, env=env)
        # An import of aws_eks_v2 takes a kubectl provider, and the provider a cluster: so it is imported twice.
        plain = eks.Cluster.from_cluster_attributes(
            self, "Plain", cluster_name="imported", cluster_security_group_id=CLUSTER_GROUP
        )
        kubectl = eks.KubectlProvider(
            self, "Kubectl", cluster=plain, kubectl_layer=KubectlV36Layer(self, "KubectlLayer")
        )
        cluster = eks.Cluster.from_cluster_attributes(
            self,
            "Cluster",
            cluster_name="imported",
            cluster_security_group_id=CLUSTER_GROUP,
            kubectl_provider=kubectl,
        )
        assert kubectl.role
        admin = eks.AccessPolicy.from_access_policy_name(
            "AmazonEKSClusterAdminPolicy", access_scope_type=eks.AccessScopeType.CLUSTER
        )
        access = eks.AccessEntry(
            self, "KubectlAccess", cluster=cluster, principal=kubectl.role.role_arn, access_policies=[admin]
        )
        karpenter = Karpenter(
            self,
            "Karpenter",
            cluster=cluster,
            cluster_name="imported",
            kubernetes_version="1.36",
            authentication_mode="API_AND_CONFIG_MAP",
            # The cluster's Pod Identity agent gives the controller its role; with IRSA it would be the OIDC provider.
            settings=KarpenterSettings(identity=POD_IDENTITY),
            subnets=[ec2.Subnet.from_subnet_id(self, id, id) for id in SUBNETS],
            security_groups=[ec2.SecurityGroup.from_security_group_id(self, "Nodes", CLUSTER_GROUP)],
        )
        karpenter.start_after(access)
        karpenter.add_gpu_pool(GpuPool(name="h100", gpu_names=("h100",), gpu_limit=16))


with plain_faults():
    app = cdk.App()
    Training(app, "Imported", env=cdk.Environment(account="111122223333", region="us-west-2"))
    app.synth()
