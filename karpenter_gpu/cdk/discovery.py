"""Where GPU nodes go: their subnets and security group, and how Karpenter finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from constructs import Construct

from karpenter_gpu.labels import DISCOVERY_TAG


class Discovery(Construct):
    """The nodes' security group, and `karpenter.sh/discovery=<cluster>` on it and on the node subnets, and only there.

    Subnets that this app does not make cannot be tagged from its template; they are selected by id instead.

    Args:
        cluster: Whose control plane and system nodes the nodes talk to.

        vpc: Where the group is made.

        subnets: Where nodes go.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: eks.ICluster,
        cluster_name: str,
        vpc: ec2.IVpc,
        subnets: Sequence[ec2.ISubnet],
    ) -> None:
        super().__init__(scope, id)
        by_tag = {"tags": {DISCOVERY_TAG: cluster_name}}
        made = [subnet for subnet in subnets if ec2.Subnet.is_vpc_subnet(subnet)]
        for subnet in made:
            # The tag of a construct goes to all that is under it, and a subnet has a route table under it.
            Tags.of(subnet).add(DISCOVERY_TAG, cluster_name, include_resource_types=["AWS::EC2::Subnet"])
        found = [{"id": subnet.subnet_id} for subnet in subnets if subnet not in made]
        self.subnet_terms: list[dict[str, Any]] = ([by_tag] if made else []) + found

        group = ec2.SecurityGroup(
            self,
            "NodeSecurityGroup",
            vpc=vpc,
            description=f"Nodes that Karpenter launches for the EKS cluster {cluster_name}",
            allow_all_ipv6_outbound=True,
        )
        Tags.of(group).add(DISCOVERY_TAG, cluster_name, include_resource_types=["AWS::EC2::SecurityGroup"])
        self.security_group_terms: list[dict[str, Any]] = [by_tag]
        nodes, cluster_group = group.security_group_id, cluster.cluster_security_group_id
        for rule, to, source, what in (
            ("NodesToNodes", nodes, nodes, "between pods on different nodes"),
            ("ClusterToNodes", nodes, cluster_group, "control plane and system nodes to nodes"),
            ("NodesToCluster", cluster_group, nodes, "nodes to the API server and to CoreDNS"),
        ):
            ec2.CfnSecurityGroupIngress(
                self, rule, group_id=to, source_security_group_id=source, ip_protocol="-1", description=what
            )
