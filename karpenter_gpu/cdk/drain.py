"""What holds a destroy until the GPU nodes are gone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from aws_cdk import CustomResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from karpenter_gpu.cdk.nag import acknowledge

RESOURCE_TYPE = "Custom::KarpenterGpuDrain"
_HANDLER = Path(__file__).parent / "drain_handler"
_ONE_CALL = Duration.minutes(15)


class Drain(Construct):
    """A gate between the NodePools and all that their nodes need.

    It is created after what it guards and before the NodePools. When the stack is deleted, the NodePools go first,
    Karpenter starts to drain and terminate, and the gate stays until EC2 shows no instance of the cluster's pools, or
    until the time is up: then the deletion fails, names the instances that are left, and nothing they need is gone.

    Args:
        cluster_name: Literal.

        timeout: At most 58 minutes.
    """

    def __init__(self, scope: Construct, id: str, *, cluster_name: str, timeout: timedelta) -> None:
        super().__init__(scope, id)
        log = logs.LogGroup(self, "Log", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        look = iam.Policy(self, "Look", roles=[role])
        look.add_statements(
            iam.PolicyStatement(
                actions=["ec2:DescribeInstances"],
                resources=["*"],
                conditions={"StringEquals": {"aws:RequestedRegion": Stack.of(self).region}},
            )
        )
        acknowledge(
            look,
            "IAM5",
            "Resource::*",
            because="ec2:DescribeInstances takes no resource: service authorization reference, Amazon EC2",
        )
        function = lambda_.Function(
            self,
            "Handler",
            description="Waits until no instance of the cluster's Karpenter pools is alive",
            runtime=lambda_.Runtime.PYTHON_3_14,
            handler="index.handler",
            code=lambda_.Code.from_asset(str(_HANDLER), exclude=["__pycache__"]),
            timeout=_ONE_CALL,
            memory_size=256,
            role=role,
            log_group=log,
        )
        # Apart from the role's other policy, because the function waits for that one and this one for the function.
        more = iam.Policy(self, "GoOn", roles=[role])
        more.add_statements(iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function.function_arn]))
        write = iam.Policy(self, "WriteLog", roles=[role])
        log.grant_write(write)
        self.resource = CustomResource(
            self,
            "Resource",
            resource_type=RESOURCE_TYPE,
            service_token=function.function_arn,
            properties={"ClusterName": cluster_name, "TimeoutSeconds": str(int(timeout.total_seconds()))},
            service_timeout=Duration.minutes(60),
        )
        self.resource.node.add_dependency(look, more, write)
