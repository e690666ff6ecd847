"""An existing cluster, by its name, with what it takes to install something on it."""

from __future__ import annotations

from typing import Any

from aws_cdk import Acknowledgment, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks_v1
from aws_cdk import aws_eks_v2 as eks
from constructs import Construct, IConstruct, IDependable

from karpenter_gpu.cdk.kubectl import answer_for_kubectl, kubectl_layer
from karpenter_gpu.labels import NODE_GROUP_LABEL
from karpenter_gpu.settings import ExistingCluster
from karpenter_gpu.versions import Minor


class ExistingEksCluster(Construct):
    """The cluster as an import, with a kubectl of this stack's own, and its nodes' network.

    Args:
        settings: With nothing left that would have to be looked up.
    """

    def __init__(self, scope: Construct, id: str, *, settings: ExistingCluster) -> None:
        super().__init__(scope, id)
        assert not settings.unknown
        self.ready: list[IDependable] = []
        self.subnets = [self._subnet(f"Subnet{place}", id) for place, id in enumerate(settings.subnet_ids)]
        self.function_subnets = self.subnets
        if settings.function_subnet_ids:
            ids = enumerate(settings.function_subnet_ids)
            self.function_subnets = [self._subnet(f"FunctionSubnet{place}", id) for place, id in ids]
        self._function_subnet_ids = [subnet.subnet_id for subnet in self.function_subnets]
        cluster_group = str(settings.cluster_security_group_id)
        self.security_groups = [
            self._group(f"NodeSecurityGroup{place}", id)
            for place, id in enumerate(settings.security_group_ids or [cluster_group])
        ]
        self.cluster: Any = self._as_role(settings) if settings.kubectl_role_arn else self._by_entry(settings)

    def _as_role(self, settings: ExistingCluster) -> eks_v1.ICluster:
        """With the kubectl of `aws_eks`, which takes a role that is let in already."""
        private = settings.has_kubectl_in_vpc
        cluster = eks_v1.Cluster.from_cluster_attributes(
            self,
            "Cluster",
            cluster_name=settings.name,
            cluster_security_group_id=settings.cluster_security_group_id,
            ip_family=eks_v1.IpFamily.IP_V6 if settings.ip_family == "ipv6" else eks_v1.IpFamily.IP_V4,
            kubectl_role_arn=settings.kubectl_role_arn,
            kubectl_layer=self._layer(settings),
            vpc=self._vpc(settings) if private else None,
            kubectl_private_subnet_ids=self._function_subnet_ids if private else None,
            kubectl_security_group_id=settings.cluster_security_group_id if private else None,
        )
        for child in cluster.node.children:
            if ec2.Subnet.is_resource(child) and private:
                _adds_no_route(child)
        answer_for_kubectl(eks_v1.KubectlProvider.get_or_create(self, cluster))
        return cluster

    def _by_entry(self, settings: ExistingCluster) -> eks.ICluster:
        """With the kubectl of `aws_eks_v2`, let in by an access entry of its own."""
        private = settings.has_kubectl_in_vpc
        attributes: dict[str, Any] = {
            "cluster_name": settings.name,
            "cluster_security_group_id": settings.cluster_security_group_id,
            "ip_family": eks.IpFamily.IP_V6 if settings.ip_family == "ipv6" else eks.IpFamily.IP_V4,
            "vpc": self._vpc(settings) if private else None,
        }
        # An import ignores options for a provider: one is made for it, and then it is imported again with that.
        plain = eks.Cluster.from_cluster_attributes(self, "Plain", **attributes)
        cluster_group = self._group("ClusterSecurityGroup", str(settings.cluster_security_group_id))
        provider = eks.KubectlProvider(
            self,
            "KubectlProvider",
            cluster=plain,
            kubectl_layer=self._layer(settings),
            private_subnets=self.function_subnets if private else None,
            security_groups=[cluster_group] if private else None,
        )
        answer_for_kubectl(provider)
        cluster = eks.Cluster.from_cluster_attributes(self, "Cluster", kubectl_provider=provider, **attributes)
        role = provider.role
        assert role is not None
        policy = eks.AccessPolicy.from_access_policy_name(
            "AmazonEKSClusterAdminPolicy", access_scope_type=eks.AccessScopeType.CLUSTER
        )
        entry = eks.AccessEntry(
            self, "KubectlAccess", cluster=cluster, principal=role.role_arn, access_policies=[policy]
        )
        self.ready.append(entry)
        return cluster

    def _layer(self, settings: ExistingCluster) -> Any:
        return kubectl_layer(self, "KubectlLayer", Minor.parse(str(settings.kubernetes_version)))

    def _vpc(self, settings: ExistingCluster) -> ec2.IVpc:
        """The VPC as far as a function in it must know it: its subnets; its id and zones are never used."""
        ids = self._function_subnet_ids
        vpc = ec2.Vpc.from_vpc_attributes(
            self, "Vpc", vpc_id=f"vpc-of-{settings.name}", availability_zones=ids, private_subnet_ids=ids
        )
        for subnet in vpc.private_subnets:
            _adds_no_route(subnet)
        return vpc

    def _subnet(self, construct: str, id: str) -> ec2.ISubnet:
        subnet = ec2.Subnet.from_subnet_id(self, construct, id)
        _adds_no_route(subnet)
        return subnet

    def _group(self, construct: str, id: str) -> ec2.ISecurityGroup:
        return ec2.SecurityGroup.from_security_group_id(self, construct, id, mutable=False)


def system_node_labels(settings: ExistingCluster) -> dict[str, str]:
    """What tells the nodes that the controller runs on; none where any will do."""
    return {NODE_GROUP_LABEL: settings.node_group} if settings.node_group else {}


def _adds_no_route(subnet: IConstruct) -> None:
    Validations.of(subnet).acknowledge(
        Acknowledgment(id="Annotation::@aws-cdk/aws-ec2:noSubnetRouteTableId", reason="nothing here adds a route to it")
    )
