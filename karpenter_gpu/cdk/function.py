"""The functions of this package, and the resources that call them at deployment and at deletion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct, IDependable

from karpenter_gpu.cdk.nag import acknowledge, managed_policy

_HANDLERS = Path(__file__).parent / "functions"
_NETWORK: Final = "karpenter-gpu:function-network"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def keep_in_vpc(scope: Construct, *, subnet_ids: Sequence[str], security_group_ids: Sequence[str]) -> None:
    """Put every function that is made under a construct from now on into a VPC."""
    scope.node.set_context(_NETWORK, {"subnet_ids": list(subnet_ids), "security_group_ids": list(security_group_ids)})


class PackageFunction(Construct):
    """A Lambda function of this package, its log and its role.

    Args:
        handler: Its module in `functions/`.

        description: What it does.

        statements: What it may do.

        wide: Resources with a `*` among those, as cdk-nag names them, and why they must be so.

        network: The subnets and security groups in which it runs. Default: those of `keep_in_vpc`, else outside any VPC.

        environment: Variables, which unlike properties are those of now when what is old is deleted.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        handler: str,
        description: str,
        statements: Sequence[iam.PolicyStatement],
        wide: Mapping[str, str],
        network: lambda_.CfnFunction.VpcConfigProperty | None = None,
        environment: Mapping[str, str] = _NONE,
    ) -> None:
        super().__init__(scope, id)
        self.log = logs.LogGroup(
            self, "Log", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
        )
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self._policy = iam.Policy(self, "Look", roles=[self.role])
        self.allow(*statements, wide=wide)
        self.function = self._function(handler, description, environment, network or self._kept_in)
        write = iam.Policy(self, "WriteLog", roles=[self.role])
        self.log.grant_write(write)
        # What a caller waits for, so that the function can do what it must.
        self.needed: list[IDependable] = [self._policy, write]

    def allow(self, *statements: iam.PolicyStatement, wide: Mapping[str, str] = _NONE) -> None:
        """Let it do more.

        Args:
            wide: As in the constructor.
        """
        self._policy.add_statements(*statements)
        for resource, because in wide.items():
            acknowledge(self._policy, "IAM5", f"Resource::{resource}", because=because)

    @property
    def _kept_in(self) -> lambda_.CfnFunction.VpcConfigProperty | None:
        kept = self.node.try_get_context(_NETWORK)
        return lambda_.CfnFunction.VpcConfigProperty(**kept) if kept else None

    def _function(
        self,
        handler: str,
        description: str,
        environment: Mapping[str, str],
        network: lambda_.CfnFunction.VpcConfigProperty | None,
    ) -> lambda_.Function:
        function = lambda_.Function(
            self,
            "Handler",
            description=description,
            runtime=lambda_.Runtime.PYTHON_3_14,
            handler=f"{handler}.handler",
            code=lambda_.Code.from_asset(str(_HANDLERS), exclude=["__pycache__"]),
            timeout=Duration.minutes(15),
            memory_size=256,
            role=self.role,
            log_group=self.log,
            environment=dict(environment) or None,
        )
        if network:
            of_template = function.node.default_child
            assert isinstance(of_template, lambda_.CfnFunction)
            # The L1's, because an L2 asks for the whole VPC, and of an imported cluster nobody may have it.
            of_template.vpc_config = network
            in_vpc = "service-role/AWSLambdaVPCAccessExecutionRole"
            self.role.add_managed_policy(iam.ManagedPolicy.from_aws_managed_policy_name(in_vpc))
            acknowledge(
                self.role,
                "IAM4",
                managed_policy(in_vpc),
                because="what Lambda asks for in a VPC: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
            )
        return function


class DeployFunction(PackageFunction):
    """A function of this package with the custom resource that calls it.

    Args:
        resource_type, properties: Of the custom resource.

        calls_itself: Whether it goes on in another call of itself when its time is up.

        function: What `PackageFunction` takes.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        resource_type: str,
        properties: Mapping[str, Any],
        calls_itself: bool = False,
        **function: Any,
    ) -> None:
        super().__init__(scope, id, **function)
        if calls_itself:
            # Apart from the role's other policy, because the function waits for that one and this one for the function.
            more = iam.Policy(self, "GoOn", roles=[self.role])
            invoke = iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self.function.function_arn])
            more.add_statements(invoke)
            self.needed.append(more)
        self.resource = self.call(self, "Resource", resource_type=resource_type, properties=properties)

    def call(self, scope: Construct, id: str, *, resource_type: str, properties: Mapping[str, Any]) -> CustomResource:
        """A custom resource that calls the function."""
        resource = CustomResource(
            scope,
            id,
            resource_type=resource_type,
            service_token=self.function.function_arn,
            properties=dict(properties),
            service_timeout=Duration.minutes(60),
        )
        resource.node.add_dependency(*self.needed)
        return resource
