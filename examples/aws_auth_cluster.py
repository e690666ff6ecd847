"""A cluster that lets in by aws-auth alone, and of which all is said, so that nothing is looked up.

cdk deploy --app ".venv/bin/python examples/aws_auth_cluster.py"
"""

from karpenter_gpu import EksGpuStack, ExistingCluster, GpuPool, plain_faults

# isort: split
import aws_cdk as cdk

with plain_faults():
    app = cdk.App()
    EksGpuStack(
        app,
        "Veteran",
        env=cdk.Environment(account="111122223333", region="us-west-2"),
        cluster=ExistingCluster(
            name="veteran",
            kubernetes_version="1.36",
            authentication_mode="CONFIG_MAP",
            ip_family="ipv4",
            oidc_issuer="https://oidc.eks.us-west-2.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
            cluster_security_group_id="sg-0123456789abcdef0",
            node_group="system",
            subnet_ids=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
            # Has system:masters in aws-auth, and any role of the account may take it.
            kubectl_role_arn="arn:aws:iam::111122223333:role/ops",
            kubectl_in_vpc=False,
        ),
        pools=[GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)],
    )
    app.synth()
