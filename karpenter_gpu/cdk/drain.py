"""What holds a destroy until the GPU nodes are gone."""

from __future__ import annotations

from datetime import timedelta

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.function import DeployFunction

RESOURCE_TYPE = "Custom::KarpenterGpuDrain"


class Drain(DeployFunction):
    """A gate between the NodePools and all that their nodes need.

    It is created after what it guards and before the NodePools. When the stack is deleted, the NodePools go first,
    Karpenter starts to drain and terminate, and the gate stays until EC2 shows no instance of the cluster's pools, or
    until the time is up: then the deletion fails, names the instances that are left, and nothing they need is gone.

    Args:
        cluster_name: Literal.

        timeout: At most 58 minutes.
    """

    def __init__(self, scope: Construct, id: str, *, cluster_name: str, timeout: timedelta) -> None:
        super().__init__(
            scope,
            id,
            handler="drain",
            description="Waits until no instance of the cluster's Karpenter pools is alive",
            statements=[
                iam.PolicyStatement(
                    actions=["ec2:DescribeInstances"],
                    resources=["*"],
                    conditions={"StringEquals": {"aws:RequestedRegion": Stack.of(scope).region}},
                )
            ],
            wide={"*": "ec2:DescribeInstances takes no resource: service authorization reference, Amazon EC2"},
            calls_itself=True,
            resource_type=RESOURCE_TYPE,
            properties={"ClusterName": cluster_name, "TimeoutSeconds": str(int(timeout.total_seconds()))},
        )
