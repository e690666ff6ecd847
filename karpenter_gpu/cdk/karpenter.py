"""Karpenter on an EKS cluster, whole, in one construct."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct, IDependable

from karpenter_gpu.cdk.charts import Charts
from karpenter_gpu.cdk.cluster import as_interface
from karpenter_gpu.cdk.controller_role import ControllerRole
from karpenter_gpu.cdk.device_plugin import DevicePluginDaemonSet
from karpenter_gpu.cdk.discovery import Discovery
from karpenter_gpu.cdk.drain import Drain
from karpenter_gpu.cdk.gpu_pool import GpuPoolManifests
from karpenter_gpu.cdk.interruption import Interruption
from karpenter_gpu.cdk.node_role import NodeRole
from karpenter_gpu.cdk.tokens import known
from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.manifests.charts import controller_values, crd_values
from karpenter_gpu.settings import IRSA, DevicePlugin, GpuPool, KarpenterSettings, rules
from karpenter_gpu.settings._types import cluster_name_problem
from karpenter_gpu.versions import Minor

_ANY_NODE: Final[Mapping[str, str]] = MappingProxyType({})


class Karpenter(Construct):
    """Karpenter's controller and everything it and its nodes need; GPU pools are added to it.

    The controller starts after the node groups and Fargate profiles that the cluster has by then, and they outlast the
    GPU nodes; for nodes made in another way, or later, say `start_after`.

    Created in this order, and deleted in the reverse: roles, access, queue and rules; CRDs; controller and device
    plugin; EC2NodeClasses; the drain, which holds a deletion until no node is left; NodePools.

    Args:
        cluster: An `aws_eks_v2` cluster with a kubectl provider, and with nodes on which the controller can run.

        cluster_name: Its name, as literal text: it stands inside IAM condition keys.

        kubernetes_version: Its minor. Left out: read from a cluster made in this app.

        settings: The controller. Left out: every default.

        device_plugin: NVIDIA's. Left out: every default.

        subnets: Where nodes go. Left out: the cluster's VPC's private subnets with a way out.

        oidc_provider: The cluster's, for IRSA. Left out: one is made. Give it where the account has it already, or
            where your stack uses `cluster.open_id_connect_provider`; AWS refuses a second one for the same issuer.

        system_node_labels: Labels of the nodes the controller must run on. Left out: any that Karpenter did not make.

    Raises:
        InvalidSettings: Before any resource is made, with every fault.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: eks.Cluster,
        cluster_name: str,
        kubernetes_version: str | None = None,
        settings: KarpenterSettings = KarpenterSettings(),  # noqa: B008 - frozen
        device_plugin: DevicePlugin = DevicePlugin(),  # noqa: B008 - frozen
        subnets: Sequence[ec2.ISubnet] | None = None,
        oidc_provider: iam.IOidcProvider | iam.IOpenIdConnectProvider | None = None,
        system_node_labels: Mapping[str, str] = _ANY_NODE,
    ) -> None:
        faults = [
            *_argument_faults(settings=(settings, KarpenterSettings), device_plugin=(device_plugin, DevicePlugin)),
            *_cluster_faults(cluster, subnets),
        ]
        if faults:
            raise InvalidSettings(faults)
        made = _version_of(cluster)
        version = kubernetes_version or made
        faults = [
            *_name_faults(cluster, cluster_name),
            *_kubernetes_faults(version, made),
            *_identity_faults(cluster, settings, oidc_provider),
            *_faults(cluster_name, version, settings),
        ]
        if faults:
            raise InvalidSettings(faults)
        super().__init__(scope, id)
        self._kubernetes = Minor.parse(version or "")
        self._settings = settings
        self._cluster = as_interface(cluster)
        self._pools: dict[str, GpuPool] = {}

        self._nodes = NodeRole(
            self,
            "NodeRole",
            cluster=self._cluster,
            role_name=settings.node_role_name or f"KarpenterNodeRole-{cluster_name}",
            path=settings.role_path,
            ipv6=cluster.ip_family == eks.IpFamily.IP_V6,
        )
        self._interruption = Interruption(self, "Interruption", karpenter=settings.release.line)
        self._controller_role = ControllerRole(
            self,
            "ControllerRole",
            settings=settings,
            role_name=settings.controller_role_name or f"KarpenterControllerRole-{cluster_name}",
            cluster=self._cluster,
            cluster_name=cluster_name,
            oidc_provider_arn=self._provider_arn(cluster, oidc_provider) if settings.identity == IRSA else None,
            node_role_arn=self.node_role.role_arn,
            queue_arn=self.interruption_queue.queue_arn,
        )
        self._discovery = Discovery(
            self,
            "Discovery",
            cluster=self._cluster,
            cluster_name=cluster_name,
            vpc=cluster.vpc,
            subnets=subnets if subnets is not None else cluster.vpc.private_subnets,
        )
        self.charts = Charts(
            self,
            "Charts",
            cluster=self._cluster,
            settings=settings,
            crd_values=crd_values(settings),
            controller_values=controller_values(
                settings,
                cluster_name=cluster_name,
                queue_name=self.interruption_queue.queue_name,
                region=Stack.of(self).region,
                role_arn=self.controller_role.role_arn if settings.identity == IRSA else None,
                system_nodes=system_node_labels,
            ),
        )
        for needed in (self._nodes, self._interruption, self._controller_role, self._discovery):
            self.charts.controller.node.add_dependency(needed)
        plugin = DevicePluginDaemonSet(self, "DevicePlugin", plugin=device_plugin, cluster=self._cluster)
        self._drain = Drain(self, "Drain", cluster_name=cluster_name, timeout=settings.drain_timeout)
        self._drain.resource.node.add_dependency(plugin, self.charts.controller)
        nodes = (eks.Nodegroup, eks.FargateProfile)
        self.start_after(*(child for child in cluster.node.find_all() if isinstance(child, nodes)))

    @property
    def node_role(self) -> iam.Role:
        """The role of the nodes; grant it what the workloads' nodes may do."""
        return self._nodes.role

    @property
    def controller_role(self) -> iam.Role:
        """The role of Karpenter's controller."""
        return self._controller_role.role

    @property
    def interruption_queue(self) -> sqs.Queue:
        """The queue that warns of interruptions."""
        return self._interruption.queue

    def add_gpu_pool(self, pool: GpuPool) -> GpuPoolManifests:
        """Add a pool of GPU nodes.

        Raises:
            InvalidSettings: Before any resource is made, with every fault.
        """
        if wrong := tuple(_argument_faults(pool=(pool, GpuPool))):
            raise InvalidSettings(wrong)
        faults = [
            *rules.pool_fits(pool, self._kubernetes, self._settings, known(Stack.of(self).region)),
            *rules.pool_names_differ([*self._pools.values(), pool]),
        ]
        if faults:
            raise InvalidSettings(faults)
        self._pools[pool.name] = pool
        manifests = GpuPoolManifests(
            self,
            f"Pool-{pool.name}",
            pool=pool,
            cluster=self._cluster,
            role_name=self.node_role.role_name,
            subnet_terms=self._discovery.subnet_terms,
            security_group_terms=self._discovery.security_group_terms,
            controller=self.charts.controller,
        )
        self._drain.resource.node.add_dependency(manifests.node_class)
        manifests.node_pool.node.add_dependency(self._drain)
        return manifests

    def start_after(self, *ready: IDependable) -> None:
        """Install Karpenter only when these are there, and delete none of them while it, or a GPU node, is left."""
        self.charts.crds.node.add_dependency(*ready)

    def _provider_arn(self, cluster: eks.Cluster, given: iam.IOidcProvider | iam.IOpenIdConnectProvider | None) -> str:
        if given is None:
            given = eks.OidcProviderNative(self, "OidcProvider", url=cluster.cluster_open_id_connect_issuer_url)
        return given.oidc_provider_ref.oidc_provider_arn


def _version_of(cluster: eks.Cluster) -> str | None:
    """The Kubernetes of a cluster made in this app; None for one that is only imported, or known at deployment."""
    return known(getattr(cluster.node.default_child, "version", None))


def _argument_faults(**given: tuple[object, type[Any]]) -> Iterator[Fault]:
    for name, (value, wanted) in given.items():
        if not isinstance(value, wanted):
            yield Fault(name, f"{value!r} is not what goes here; give a {wanted.__name__}")


def _cluster_faults(cluster: eks.Cluster, subnets: object) -> Iterator[Fault]:
    """What keeps anything from being built on a cluster."""
    # An imported cluster of either library is a proxy, which does not say of which.
    if not isinstance(cluster, eks.Cluster) and type(cluster).__name__ != "InterfaceDynamicProxy":
        if type(cluster).__module__ == "aws_cdk.aws_eks":
            yield Fault(
                "cluster", "is an aws_eks cluster, and this takes one of aws_eks_v2; make it with aws_eks_v2.Cluster"
            )
        else:
            yield Fault("cluster", f"{cluster!r} is not a cluster; give an aws_eks_v2 cluster")
        return
    if cluster.kubectl_provider is None:
        yield Fault(
            "cluster",
            "has no kubectl provider, so nothing could be installed on it; give it kubectl_provider_options with the "
            "kubectl layer of its Kubernetes, or kubectl_provider where it is imported",
        )
    try:
        there: Any = cluster.vpc.private_subnets if subnets is None else subnets
        _ = cluster.cluster_security_group_id
    except RuntimeError:
        yield Fault(
            "cluster", "is imported without its network; give vpc and cluster_security_group_id where it is imported"
        )
        return
    if isinstance(there, str) or not isinstance(there, Sequence) or not there:
        yield Fault(
            "subnets", f"{there!r} is no list of subnets, and nodes must go somewhere; give private ones with a way out"
        )


def _name_faults(cluster: eks.Cluster, cluster_name: str) -> Iterator[Fault]:
    made = cluster.node.default_child
    name = known(made.name if isinstance(made, eks.CfnCluster) else cluster.cluster_name)
    if name is None:
        yield Fault(
            "cluster",
            f"has no name of its own, and {cluster_name!r} could not be it; give the cluster its cluster_name",
        )
    elif known(cluster_name) and name != cluster_name:
        yield Fault("cluster_name", f"{cluster_name!r} is not the cluster's name, which is {name!r}; give that one")


def _kubernetes_faults(given: str | None, made: str | None) -> Iterator[Fault]:
    if given and made and given != made:
        yield Fault("kubernetes_version", f"{given!r} is not the cluster's Kubernetes, which is {made}; leave it out")


def _identity_faults(cluster: eks.Cluster, settings: KarpenterSettings, provider: object) -> Iterator[Fault]:
    if settings.identity == IRSA and provider is None and not hasattr(cluster, "cluster_open_id_connect_issuer_url"):
        yield Fault(
            "oidc_provider", "an imported cluster does not show its issuer; give its OIDC provider, or use pod-identity"
        )


def _faults(cluster_name: str, version: str | None, settings: KarpenterSettings) -> Iterator[Fault]:
    problem = cluster_name_problem(cluster_name)
    if problem:
        yield Fault("cluster_name", problem)
    else:
        yield from rules.role_names_fit(cluster_name, settings)
    yield from rules.karpenter_is_known(settings)
    yield from rules.gates_exist(settings)
    try:
        kubernetes = Minor.parse(version or "")
    except ValueError:
        yield Fault(
            "kubernetes_version", f"{version!r} does not say the cluster's Kubernetes; give its minor, as in 1.36"
        )
    else:
        yield from rules.karpenter_supports(kubernetes, settings)
