"""kubectl and Helm for the handler that applies manifests and charts, of the cluster's own minor."""

from __future__ import annotations

import importlib

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from karpenter_gpu.versions import Minor


def kubectl_layer(scope: Construct, id: str, kubernetes: Minor) -> lambda_.ILayerVersion:
    """The layer of a Kubernetes minor; each is a 37 MB wheel, so it is imported only here."""
    name = f"v{kubernetes.minor}"
    module = importlib.import_module(f"aws_cdk.lambda_layer_kubectl_{name}")
    layer: lambda_.ILayerVersion = getattr(module, f"Kubectl{name.upper()}Layer")(scope, id)
    return layer
