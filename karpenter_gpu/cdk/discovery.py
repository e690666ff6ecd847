"""Where GPU nodes go: their subnets and security groups, and how Karpenter finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Aspects, Tag, Tags
from aws_cdk import aws_ec2 as ec2
from constructs import Construct, IConstruct

from karpenter_gpu.cdk.target import Target
from karpenter_gpu.cdk.tokens import known
from karpenter_gpu.labels import DISCOVERY_TAG


class Discovery(Construct):
    """Karpenter's selectors, and `karpenter.sh/discovery=<cluster>` on what this app makes, and only there.

    What others made cannot be tagged from a template: it is tagged at deployment by the `Attachment` to a cluster that
    was there before, or selected by id.

    Args:
        cluster: Whose control plane and system nodes the nodes talk to.

        subnets: Where nodes go.

        security_groups: What nodes have. Default: one is made, open between nodes, control plane and system nodes.

        tags_found: Whether what others made will have the tag.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: Target,
        subnets: Sequence[ec2.ISubnet],
        security_groups: Sequence[ec2.ISecurityGroup] | None,
        tags_found: bool,
    ) -> None:
        super().__init__(scope, id)
        self._subnets = list(subnets)
        own_subnets = [one for one in subnets if ec2.Subnet.is_vpc_subnet(one) and _is_free(one, cluster.name)]
        for subnet in own_subnets:
            # The tag of a construct goes to all that is under it, and a subnet has a route table under it.
            _tag(subnet, "AWS::EC2::Subnet", cluster.name)
        self.found_subnets = [subnet.subnet_id for subnet in subnets if subnet not in own_subnets]

        given = security_groups or ()
        own_groups = [one for one in given if isinstance(one, ec2.SecurityGroup) and _is_free(one, cluster.name)]
        self.found_groups = [group.security_group_id for group in given if group not in own_groups]
        if security_groups is None:
            own_groups = [self._group(cluster)]
        for group in own_groups:
            _tag(group, "AWS::EC2::SecurityGroup", cluster.name)
        self.own = [subnet.subnet_id for subnet in own_subnets] + [group.security_group_id for group in own_groups]
        # Of which the cluster's other nodes must have one, to be reached.
        self.shared_groups = [group.security_group_id for group in given] or [cluster.security_group_id]

        by_tag = {"tags": {DISCOVERY_TAG: cluster.name}}

        def terms(own: Sequence[object], found: Sequence[str]) -> list[dict[str, Any]]:
            tagged = bool(own) or (tags_found and bool(found))
            return ([by_tag] if tagged else []) + [{"id": id} for id in found if not tags_found]

        self.subnet_terms = terms(own_subnets, self.found_subnets)
        self.security_group_terms = terms(own_groups, self.found_groups)

    def zones_of(self, ids: Sequence[str]) -> list[str]:
        """The names of the zones of subnets, by default of all; none where one of them is not known."""
        own = {known(subnet.subnet_id): subnet for subnet in self._subnets}
        if not ids:
            return _zones(self._subnets)
        return _zones([own[id] for id in ids]) if own.keys() >= set(ids) else []

    def _group(self, cluster: Target) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            "NodeSecurityGroup",
            vpc=cluster.vpc,
            description=f"Nodes that Karpenter launches for the EKS cluster {cluster.name}",
            allow_all_ipv6_outbound=True,
        )
        nodes, cluster_group = group.security_group_id, cluster.security_group_id
        for rule, to, source, what in (
            ("NodesToNodes", nodes, nodes, "between pods on different nodes"),
            ("ClusterToNodes", nodes, cluster_group, "control plane and system nodes to nodes"),
            ("NodesToCluster", cluster_group, nodes, "nodes to the API server and to CoreDNS"),
        ):
            ec2.CfnSecurityGroupIngress(
                self, rule, group_id=to, source_security_group_id=source, ip_protocol="-1", description=what
            )
        # A way out to everywhere is not enough for EFA: EC2 user guide, "Get started with EFA", step 1.
        ec2.CfnSecurityGroupEgress(
            self,
            "NodesOutToNodes",
            group_id=nodes,
            destination_security_group_id=nodes,
            ip_protocol="-1",
            description="EFA between nodes",
        )
        return group


def _zones(subnets: Sequence[ec2.ISubnet]) -> list[str]:
    """The names of the subnets' zones; none where one of them is known only at deployment, or to others."""
    try:
        zones = [known(subnet.availability_zone) for subnet in subnets]
    except RuntimeError:  # imported by its id alone
        return []
    return [zone for zone in zones if zone] if all(zones) else []


def _is_free(construct: IConstruct, cluster_name: str) -> bool:
    """Whether no other cluster has marked it: a tag has one value, and what has another's is selected by id."""
    marks = [
        aspect.value
        for scope in construct.node.scopes
        for aspect in Aspects.of(scope).all
        if isinstance(aspect, Tag) and aspect.key == DISCOVERY_TAG
    ]
    return all(mark == cluster_name for mark in marks)


def _tag(construct: IConstruct, kind: str, cluster_name: str) -> None:
    Tags.of(construct).add(DISCOVERY_TAG, cluster_name, include_resource_types=[kind])
