"""Every label, taint and tag key that two places must agree on, written once."""

from __future__ import annotations

from typing import Final

# Karpenter's own, and AWS's. Source: karpenter-provider-aws pkg/apis/v1/labels.go.
DISCOVERY_TAG: Final = "karpenter.sh/discovery"
NODEPOOL: Final = "karpenter.sh/nodepool"
CAPACITY_TYPE: Final = "karpenter.sh/capacity-type"
NODECLAIM: Final = "karpenter.sh/nodeclaim"
NODECLASS: Final = "karpenter.k8s.aws/ec2nodeclass"
EKS_CLUSTER_TAG: Final = "eks:eks-cluster-name"
# What Karpenter 1.0 had in its place.
OLD_CLUSTER_TAG: Final = "karpenter.k8s.aws/cluster"
# The VPC CNI's on its interfaces. Source: amazon-vpc-cni-k8s pkg/awsutils/awsutils.go.
CNI_CLUSTER_TAG: Final = "cluster.k8s.amazonaws.com/name"
ROLE_ANNOTATION: Final = "eks.amazonaws.com/role-arn"
INSTANCE_CATEGORY: Final = "karpenter.k8s.aws/instance-category"
INSTANCE_GENERATION: Final = "karpenter.k8s.aws/instance-generation"
INSTANCE_FAMILY: Final = "karpenter.k8s.aws/instance-family"
INSTANCE_GPU_NAME: Final = "karpenter.k8s.aws/instance-gpu-name"
INSTANCE_GPU_COUNT: Final = "karpenter.k8s.aws/instance-gpu-count"
INSTANCE_GPU_MANUFACTURER: Final = "karpenter.k8s.aws/instance-gpu-manufacturer"

# Kubernetes' well-known ones.
INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
ARCH: Final = "kubernetes.io/arch"
OS: Final = "kubernetes.io/os"
ZONE: Final = "topology.kubernetes.io/zone"
REGION: Final = "topology.kubernetes.io/region"
WINDOWS_BUILD: Final = "node.kubernetes.io/windows-build"
HOSTNAME: Final = "kubernetes.io/hostname"


def cluster_tag(cluster_name: str) -> str:
    """The tag key that says an AWS resource belongs to a cluster; its value is `owned`."""
    return f"kubernetes.io/cluster/{cluster_name}"


# NVIDIA's: the resource a pod asks for, and the key of the taint that keeps other pods away.
GPU_RESOURCE: Final = "nvidia.com/gpu"
GPU_TAINT: Final = {"key": GPU_RESOURCE, "value": "true", "effect": "NoSchedule"}

# The one label that joins a pool's nodes and the device plugin's DaemonSet. It is our own key because
# `nvidia.com/gpu.present` is also set by others (nodeadm on AL2023 from kubelet 1.35, GPU feature
# discovery), and a second plugin on a Bottlerocket node makes its GPUs unusable.
DEVICE_PLUGIN_LABEL: Final = "karpenter-gpu/device-plugin"
DEVICE_PLUGIN_VALUE: Final = "nvidia"

# On what a stack has added to, or created for, an existing cluster, so that just that is removed.
MADE_BY_TAG: Final = "karpenter-gpu/made-by"

# A managed node group's nodes have its name. Source: https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html
NODE_GROUP_LABEL: Final = "eks.amazonaws.com/nodegroup"

# The nodes the controller runs on. The key is the one Karpenter's own EKS examples use.
SYSTEM_NODE_LABEL: Final = "karpenter.sh/controller"
