"""The labels and resources of Karpenter, EKS and NVIDIA that stories and watchers look for."""

from __future__ import annotations

from typing import Final

# Source: karpenter-provider-aws pkg/apis/v1/labels.go.
NODEPOOL: Final = "karpenter.sh/nodepool"
CAPACITY_TYPE: Final = "karpenter.sh/capacity-type"
INSTANCE_GPU_COUNT: Final = "karpenter.k8s.aws/instance-gpu-count"
RESERVATION_ID: Final = "karpenter.k8s.aws/capacity-reservation-id"
RESERVATION_TYPE: Final = "karpenter.k8s.aws/capacity-reservation-type"
INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
ZONE: Final = "topology.kubernetes.io/zone"

# Source: https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html
ROLE_ANNOTATION: Final = "eks.amazonaws.com/role-arn"

# What NVIDIA's device plugin advertises and a pod asks for.
GPU_RESOURCE: Final = "nvidia.com/gpu"
