"""A new EKS cluster with all that must run before the first GPU node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct, IDependable

from karpenter_gpu import labels
from karpenter_gpu.cdk.kubectl import answer_for_kubectl, kubectl_layer
from karpenter_gpu.cdk.nag import acknowledge, managed_policy
from karpenter_gpu.policies.node import MANAGED_POLICIES, ipv6_cni_policy
from karpenter_gpu.settings import POD_IDENTITY, NewCluster, SystemNodes
from karpenter_gpu.settings.cluster import ANYWHERE

_EKS_GUIDE = "https://docs.aws.amazon.com/eks/latest/userguide"
_LOGS: Final = {
    "api": eks.ClusterLoggingTypes.API,
    "audit": eks.ClusterLoggingTypes.AUDIT,
    "authenticator": eks.ClusterLoggingTypes.AUTHENTICATOR,
    "controllerManager": eks.ClusterLoggingTypes.CONTROLLER_MANAGER,
    "scheduler": eks.ClusterLoggingTypes.SCHEDULER,
}
_NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})


class EksCluster(Construct):
    """The cluster, its OIDC provider, add-ons, system nodes and administrators.

    Args:
        settings: What the user asked for.

        vpc: With private subnets that reach AWS.

        identity: With `pod-identity` the EKS Pod Identity agent is installed.

        tags: Put on the instances and volumes of the system nodes, which a stack's own tags do not reach.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: NewCluster,
        vpc: ec2.IVpc,
        identity: str,
        tags: Mapping[str, str] = _NO_TAGS,
    ) -> None:
        super().__init__(scope, id)
        self.ready: list[IDependable] = []
        self._ipv6 = settings.ip_family == "ipv6"
        self.cluster = self._cluster(settings, vpc)
        self.oidc_provider = eks.OidcProviderNative(
            self, "OidcProvider", url=self.cluster.cluster_open_id_connect_issuer_url
        )
        answer_for_kubectl(self.cluster.node.find_child("KubectlProvider"))
        self.admin_role = self._administrators(settings)

        before = [self._addon("vpc-cni", settings), self._addon("kube-proxy", settings)]
        if identity == POD_IDENTITY:
            before.append(self._addon("eks-pod-identity-agent", settings))
        self.system_nodes = self._system_nodes(settings, tags)
        for addon in before:
            self.system_nodes.node.add_dependency(addon)
        coredns = self._addon("coredns", settings)
        coredns.node.add_dependency(self.system_nodes)
        self.ready += [self.oidc_provider, self.system_nodes, coredns]

    @property
    def system_node_labels(self) -> dict[str, str]:
        """What tells the system nodes from others."""
        return {labels.SYSTEM_NODE_LABEL: "true"}

    def _secrets_key(self, settings: NewCluster) -> kms.IKey:
        if settings.secrets_key_arn:
            return kms.Key.from_key_arn(self, "SecretsKey", settings.secrets_key_arn)
        return kms.Key(
            self,
            "SecretsKey",
            description=f"Kubernetes secrets of the EKS cluster {settings.name}",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.DESTROY,
            pending_window=Duration.days(7),
        )

    def _cluster(self, settings: NewCluster, vpc: ec2.IVpc) -> eks.Cluster:
        access = eks.EndpointAccess.PRIVATE
        if settings.public_access_cidrs:
            access = eks.EndpointAccess.PUBLIC_AND_PRIVATE.only_from(*settings.public_access_cidrs)
        cluster = eks.Cluster(
            self,
            "Cluster",
            cluster_name=settings.name,
            version=eks.KubernetesVersion.of(settings.kubernetes_version),
            vpc=vpc,
            vpc_subnets=[ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)],
            ip_family=eks.IpFamily.IP_V6 if self._ipv6 else eks.IpFamily.IP_V4,
            endpoint_access=access,
            cluster_logging=[_LOGS[log] for log in settings.control_plane_logs] or None,
            secrets_encryption_key=self._secrets_key(settings),
            kubectl_provider_options=eks.KubectlProviderOptions(
                kubectl_layer=kubectl_layer(self, "KubectlLayer", settings.kubernetes)
            ),
            # The default is Auto Mode, which brings a Karpenter of its own.
            default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
            default_capacity=0,
            bootstrap_self_managed_addons=False,
            # Else whatever role CloudFormation runs as stays cluster-admin, without an entry anyone could see here.
            bootstrap_cluster_creator_admin_permissions=False,
            output_config_command=False,
            # Every manifest here holds one object, so there is nothing to prune.
            prune=False,
        )
        acknowledge(
            cluster.role,
            "IAM4",
            managed_policy("AmazonEKSClusterPolicy"),
            because=f"EKS asks for this policy on a cluster's role: {_EKS_GUIDE}/cluster-iam-role.html",
        )
        self._beyond_the_l2(cluster, settings)
        return cluster

    def _beyond_the_l2(self, cluster: eks.Cluster, settings: NewCluster) -> None:
        """What the L2 has no property for."""
        resource = cluster.node.default_child
        assert isinstance(resource, eks.CfnCluster)
        resource.upgrade_policy = eks.CfnCluster.UpgradePolicyProperty(support_type=settings.upgrade_policy)
        # Said even when they are off: EKS leaves what vanishes from a template as it was.
        resource.deletion_protection = settings.deletion_protection
        if not settings.control_plane_logs:
            resource.add_property_override("Logging.ClusterLogging.EnabledTypes", [])
        if not settings.public_access_cidrs:
            # Once it was in a template it must stay; this is EKS's own default, and nothing while the endpoint is closed.
            # Source: CloudFormation reference, AWS::EKS::Cluster ResourcesVpcConfig.
            resource.add_property_override("ResourcesVpcConfig.PublicAccessCidrs", [ANYWHERE])
        if settings.control_plane_logs and settings.control_plane_log_days is not None:
            # Made before EKS would make it, which keeps it for ever and leaves it behind.
            group = logs.CfnLogGroup(
                self,
                "ControlPlaneLogs",
                log_group_name=f"/aws/eks/{settings.name}/cluster",
                retention_in_days=settings.control_plane_log_days,
            )
            group.apply_removal_policy(RemovalPolicy.DESTROY)
            resource.add_resource_dependency(group)
        if missing := [f"LogExport::{log}" for log in _LOGS if log not in settings.control_plane_logs]:
            acknowledge(
                cluster,
                "EKS2",
                *missing,
                because="chosen by NewCluster.control_plane_logs; without the audit log by default, which is nearly all of "
                "what these logs cost",
            )

    def _administrators(self, settings: NewCluster) -> iam.Role | None:
        """Cluster-admin for those named; for nobody else but a role that the account can take, if none are."""
        # Named for whom it is, so that a list in another order, or a shorter one, touches no other entry.
        principals = {f"Admin{hashlib.sha256(arn.encode()).hexdigest()[:8]}": arn for arn in settings.admins}
        role = None
        if not principals:
            role = iam.Role(
                self,
                "AdminRole",
                assumed_by=iam.AccountRootPrincipal(),
                description=f"kubectl with cluster-admin on the EKS cluster {settings.name}",
            )
            principals = {"Admin": role.role_arn}
        policy = eks.AccessPolicy.from_access_policy_name(
            "AmazonEKSClusterAdminPolicy", access_scope_type=eks.AccessScopeType.CLUSTER
        )
        # Whoever looks after a destroy that waits must still be let in.
        self.ready += [
            eks.AccessEntry(self, id, cluster=as_interface(self.cluster), principal=arn, access_policies=[policy])
            for id, arn in principals.items()
        ]
        return role

    def _addon(self, name: str, settings: NewCluster) -> eks.Addon:
        return eks.Addon(
            self,
            f"Addon-{name}",
            cluster=as_interface(self.cluster),
            addon_name=name,
            preserve_on_delete=False,
            configuration_values=settings.addon_values.get(name),
        )

    def _system_nodes(self, settings: NewCluster, tags: Mapping[str, str]) -> eks.Nodegroup:
        """The node group, under a name for its image and launch template.

        EKS changes neither together with size or tags ("Version and ReleaseVersion updates cannot be combined with other
        updates": aws/containers-roadmap#1258, aws/aws-cdk#16644), and takes no node back to an older Kubernetes. So another
        image or template is another group: its nodes are there before the old ones go, and a deployment that fails later
        still has the old ones.
        """
        nodes = settings.system_nodes
        version = nodes.kubernetes_version or settings.kubernetes_version
        data = _launch_template_data(nodes, tags)
        is_of = json.dumps([version, nodes.release_version, data], sort_keys=True)
        suffix = hashlib.sha256(is_of.encode()).hexdigest()[:8]
        role = iam.Role(self, "SystemNodeRole", assumed_by=ec2_principal())
        grant_node_policies(role, ipv6=self._ipv6)
        template = ec2.CfnLaunchTemplate(self, f"SystemNodeTemplate{suffix}", launch_template_data={})
        template.add_property_override("LaunchTemplateData", data)
        group = eks.Nodegroup(
            self,
            f"SystemNodes{suffix}",
            cluster=as_interface(self.cluster),
            node_role=role,
            subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            ami_type=eks.NodegroupAmiType.AL2023_X86_64_STANDARD,
            release_version=nodes.release_version,
            instance_types=[ec2.InstanceType(name) for name in nodes.instance_types],
            min_size=nodes.count,
            desired_size=nodes.count,
            # One more, so that EKS can bring up a new node before it takes an old one.
            max_size=nodes.count + 1,
            labels=self.system_node_labels,
            launch_template_spec=eks.LaunchTemplateSpec(id=template.ref, version=template.attr_latest_version_number),
        )
        # The L2 has no property for it, and without one an upgrade of the cluster would leave its nodes behind.
        resource = group.node.default_child
        assert isinstance(resource, eks.CfnNodegroup)
        resource.add_property_override("Version", version)
        # The nodes call AWS while they join and while they leave.
        group.node.add_dependency(role)
        return group


def _launch_template_data(nodes: SystemNodes, tags: Mapping[str, str]) -> dict[str, Any]:
    """As CloudFormation has it, because its text decides the node group's name."""
    ebs: dict[str, Any] = {
        "VolumeSize": nodes.disk_gib,
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    if nodes.volume_key_arn:
        ebs["KmsKeyId"] = nodes.volume_key_arn
    data: dict[str, Any] = {
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": ebs}],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
    }
    if tags:
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        data["TagSpecifications"] = [{"ResourceType": kind, "Tags": pairs} for kind in ("instance", "volume")]
    return data


def as_interface(cluster: eks.Cluster) -> eks.ICluster:
    """A cluster as the interface that its own library asks for, which the generated types do not say it has."""
    interface: eks.ICluster = cluster  # type: ignore[assignment]
    return interface


def ec2_principal() -> iam.ServicePrincipal:
    """EC2 by the name it has in the stack's partition, as Karpenter's own template writes it."""
    return iam.ServicePrincipal(f"ec2.{Aws.URL_SUFFIX}")


def grant_node_policies(role: iam.Role, *, ipv6: bool) -> None:
    """Give a node role what every node needs, and answer for it."""
    for name in MANAGED_POLICIES:
        role.add_managed_policy(iam.ManagedPolicy.from_aws_managed_policy_name(name))
    acknowledge(
        role,
        "IAM4",
        *map(managed_policy, MANAGED_POLICIES),
        because=f"EKS asks for these policies on a node's role: {_EKS_GUIDE}/create-node-role.html",
    )
    if ipv6:
        partition = Stack.of(role).partition
        policy = iam.Policy(
            role,
            "Ipv6Cni",
            document=iam.PolicyDocument.from_json(ipv6_cni_policy(partition)),
        )
        role.attach_inline_policy(policy)
        acknowledge(
            policy,
            "IAM5",
            "Resource::*",
            f"Resource::arn:{partition}:ec2:*:*:network-interface/*",
            because=f"EKS's own policy for IPv6, whose actions take no narrower resource: {_EKS_GUIDE}/cni-iam-role.html",
        )
