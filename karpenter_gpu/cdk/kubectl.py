"""The CDK's function that applies manifests and charts: its kubectl and Helm, its logs, and what cdk-nag finds in it."""

from __future__ import annotations

import importlib
from typing import Final

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct, IConstruct

from karpenter_gpu.cdk.nag import acknowledge, managed_policy
from karpenter_gpu.versions import Minor

# As the package's own functions.
_LOG_DAYS: Final = 30


def kubectl_layer(scope: Construct, id: str, kubernetes: Minor) -> lambda_.ILayerVersion:
    """The layer of a Kubernetes minor; each is a 37 MB wheel, so it is imported only here."""
    name = f"v{kubernetes.minor}"
    module = importlib.import_module(f"aws_cdk.lambda_layer_kubectl_{name}")
    layer: lambda_.ILayerVersion = getattr(module, f"Kubectl{name.upper()}Layer")(scope, id)
    return layer


def answer_for_kubectl(provider: IConstruct) -> None:
    """Answer what cdk-nag finds in the CDK's own kubectl handler, which has no setting that would change it."""
    for child in provider.node.find_all():
        if isinstance(child, lambda_.CfnFunction):
            _outlive(child)
    handler = provider.node.find_child("Handler")
    assert isinstance(handler, Construct)
    role = handler.node.find_child("ServiceRole")
    reason = (
        "the CDK's kubectl handler attaches it and offers no other: aws-cdk-lib aws-eks-v2/lib/kubectl-provider.ts; "
        "the handler runs in the VPC, pulls charts from ECR and writes its log"
    )
    acknowledge(
        role,
        "IAM4",
        managed_policy("service-role/AWSLambdaBasicExecutionRole"),
        managed_policy("service-role/AWSLambdaVPCAccessExecutionRole"),
        managed_policy("AmazonEC2ContainerRegistryReadOnly"),
        managed_policy("AmazonEC2ContainerRegistryPullOnly"),
        because=reason,
    )
    has_ecr_public = Stack.of(provider).get_logical_id(handler.node.find_child("HasEcrPublic"))  # type: ignore[arg-type]
    public = {
        "Fn::If": [
            has_ecr_public,
            {
                "Fn::Join": [
                    "",
                    [
                        "arn:",
                        {"Ref": "AWS::Partition"},
                        ":iam::aws:policy/AmazonElasticContainerRegistryPublicReadOnly",
                    ],
                ]
            },
            {"Ref": "AWS::NoValue"},
        ]
    }
    acknowledge(role, "IAM4", ("Policy::", public), because=reason)
    acknowledge(
        handler, "L1", because="the CDK chooses the handler's Python and tests it with that: kubectl-provider.ts"
    )
    framework = provider.node.find_child("Provider").node.find_child("framework-onEvent")
    framework_role = framework.node.find_child("ServiceRole")
    acknowledge(
        framework_role,
        "IAM4",
        managed_policy("service-role/AWSLambdaBasicExecutionRole"),
        managed_policy("service-role/AWSLambdaVPCAccessExecutionRole"),
        because="the CDK's provider framework attaches it and offers no other: custom-resources/lib/provider-framework",
    )
    function = Stack.of(provider).get_logical_id(handler.node.default_child)  # type: ignore[arg-type]
    acknowledge(
        framework_role.node.find_child("DefaultPolicy"),
        "IAM5",
        f"Resource::<{function}.Arn>:*",
        because="the CDK's provider framework may call any version of this one handler: grantInvoke in aws-lambda",
    )


def _outlive(function: lambda_.CfnFunction) -> None:
    """Give a function of the CDK a log group that is deleted with the stack, and after the function.

    The CDK names the log group for the function, so that it is deleted first, and Lambda creates it anew for whatever the
    function still logs: https://github.com/aws/aws-cdk/issues/31487. Without the feature flag there is none at all.
    """
    scope = function.node.scope
    assert isinstance(scope, Construct)
    made = [child for child in scope.node.find_all() if isinstance(child, logs.CfnLogGroup)]
    log = made[0] if made else logs.CfnLogGroup(scope, "Log", retention_in_days=_LOG_DAYS)
    log.add_property_deletion_override("LogGroupName")
    log.add_property_override("RetentionInDays", _LOG_DAYS)
    log.apply_removal_policy(RemovalPolicy.DESTROY)
    function.add_property_override("LoggingConfig.LogGroup", log.ref)
