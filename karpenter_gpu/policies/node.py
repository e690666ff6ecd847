"""What a node may do."""

from __future__ import annotations

from typing import Any, Final

# Source: karpenter-provider-aws getting-started cloudformation.yaml of v1.14 (KarpenterNodeRole). PullOnly replaced
# ReadOnly there in 2025-04 (#7963).
MANAGED_POLICIES: Final = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
)


def ipv6_cni_policy(partition: str) -> dict[str, Any]:
    """What the VPC CNI needs on an IPv6 cluster; AWS has no managed policy for it.

    Source: amazon-eks-user-guide, cni-iam-role, "Create IAM policy for clusters that use the IPv6 family".
    """
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AssignAddresses",
                "Effect": "Allow",
                "Action": [
                    "ec2:AssignIpv6Addresses",
                    "ec2:DescribeInstances",
                    "ec2:DescribeTags",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeInstanceTypes",
                ],
                "Resource": ["*"],
            },
            {
                "Sid": "TagInterfaces",
                "Effect": "Allow",
                "Action": ["ec2:CreateTags"],
                "Resource": [f"arn:{partition}:ec2:*:*:network-interface/*"],
            },
        ],
    }
