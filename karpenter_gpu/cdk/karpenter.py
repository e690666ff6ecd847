"""Karpenter on an EKS cluster, whole, in one construct."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from aws_cdk import Aws, CfnOutput, Stack, Stage, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks_v1
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct, IConstruct, IDependable

from karpenter_gpu import labels
from karpenter_gpu.cdk import target
from karpenter_gpu.cdk.attachment import Attachment
from karpenter_gpu.cdk.charts import Charts
from karpenter_gpu.cdk.controller_role import ControllerRole
from karpenter_gpu.cdk.device_plugin import DevicePluginDaemonSet
from karpenter_gpu.cdk.discovery import Discovery
from karpenter_gpu.cdk.drain import Drain
from karpenter_gpu.cdk.existing_facts import EXISTING_CLUSTER, ExistingClusterFacts
from karpenter_gpu.cdk.function import keep_in_vpc
from karpenter_gpu.cdk.interruption import Interruption
from karpenter_gpu.cdk.monitoring import Monitoring
from karpenter_gpu.cdk.node_role import NodeRole
from karpenter_gpu.cdk.own_statements import own_statements
from karpenter_gpu.cdk.pool import PoolManifests
from karpenter_gpu.cdk.system_nodes import SystemNodeOrder
from karpenter_gpu.cdk.takeover import Takeover
from karpenter_gpu.cdk.target import Target
from karpenter_gpu.cdk.tokens import known
from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.manifests.charts import controller_values, crd_values, leader_lease, only_one
from karpenter_gpu.settings import (
    IRSA,
    POD_IDENTITY,
    AuthenticationMode,
    CpuPool,
    DevicePlugin,
    DiscoveryMode,
    GpuPool,
    Health,
    KarpenterSettings,
    Metrics,
    Pool,
    rules,
)
from karpenter_gpu.settings._types import cluster_name_problem
from karpenter_gpu.settings._written import in_words_of_caller, sentence
from karpenter_gpu.settings.existing import API_AND_CONFIG_MAP, CONFIG_MAP, IDS, TAGS
from karpenter_gpu.settings.gates import needs, with_gates
from karpenter_gpu.settings.platform import faults_between
from karpenter_gpu.versions import Minor

# Each manifest keeps two functions busy, the provider's and its handler, so does a gate that asks why an instance is alive,
# and a new account may run ten at a time. Source: Lambda guide, "Lambda quotas", concurrent executions of new accounts.
_MANIFESTS_AT_A_TIME: Final = 3
_GATES_AT_A_TIME: Final = 2

_ANY_NODE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What was said to `Karpenter`; its docstring says what each is."""

    cluster: Any
    cluster_name: str
    kubernetes_version: str | None
    authentication_mode: AuthenticationMode | None
    settings: KarpenterSettings
    subnets: Sequence[ec2.ISubnet] | None
    security_groups: Sequence[ec2.ISecurityGroup] | None
    discovery: DiscoveryMode
    oidc_provider: iam.IOidcProvider | iam.IOpenIdConnectProvider | None
    oidc_issuer: str | None
    system_node_labels: Mapping[str, str]
    node_role: iam.IRole | None
    function_subnets: Sequence[ec2.ISubnet]
    device_plugin: DevicePlugin
    health: Health | None
    metrics: Metrics | None

    @property
    def version(self) -> str | None:
        """The cluster's Kubernetes, said or read."""
        return self.kubernetes_version or target.version_of(self.cluster)


class Karpenter(Construct):
    """Karpenter's controller and everything it and its nodes need; GPU pools are added to it.

    The controller starts after the node groups and Fargate profiles of the cluster that the app has, wherever and whenever
    they are added, and they outlast the GPU nodes; where one cannot, a warning says so. For nodes made in another way, say
    `start_after`.

    Created in this order, and deleted in the reverse: roles, access, queue and rules; CRDs; controller and device
    plugin; EC2NodeClasses; the drain, which holds a deletion until no node is left; each pool's own drain; NodePools.

    Args:
        cluster: Of `aws_eks` or `aws_eks_v2`, made in this app or imported, with kubectl and with nodes on which the
            controller can run.

        cluster_name: Its name, as literal text: it stands inside IAM condition keys.

        kubernetes_version: Its minor. Default: read from an `aws_eks_v2` cluster made in this app.

        authentication_mode: `API`, `API_AND_CONFIG_MAP` or `CONFIG_MAP`, of an imported cluster. Default: read from
            one made in this app.

        settings: The controller. Default: every default.

        device_plugin: NVIDIA's. Default: every default.

        health: What says that a node is broken, and whether it is replaced then. Default: nothing does.

        metrics: NVIDIA's metrics of the GPUs. Default: none.

        subnets: Where nodes go. Default: the cluster's VPC's private subnets with a way out.

        security_groups: What nodes have. Default: one is made, open between nodes, control plane and those nodes of
            the cluster that have its own security group.

        discovery: For what others than this app made: `tags` puts `karpenter.sh/discovery=<name>` on it at
            deployment, and removes at destroy what it added; `ids` leaves it alone, and the pools select it by id.
            An imported cluster's alone; what a cluster of this app uses of others is always selected by id.

        oidc_provider: The cluster's, for IRSA. Default: one is made. Give it where the account has it already, or
            where your stack uses `cluster.open_id_connect_provider`; AWS refuses a second one for the same issuer.

        oidc_issuer: Instead of `oidc_provider`, for an imported cluster: its issuer, `https://oidc.eks.…/id/…`. The
            account's provider is used if it is there at deployment, else made, and then goes with the stack.

        system_node_labels: Labels of the nodes the controller must run on. Default: any that Karpenter did not make.

        node_role: An existing role, which nodes keep; it has what nodes need, and nothing is attached to it.
            Default: one is made.

        function_subnets: Where every function of this construct runs, for accounts that allow functions in a VPC alone.
            They need a way out to AWS other than an internet gateway, and the functions get the cluster's security
            group. Default: outside any VPC, but for those that must reach an API server that only the VPC reaches.

    Raises:
        InvalidSettings: Before any resource is made, with every fault.
    """

    @in_words_of_caller(karpenter="settings")
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: eks.Cluster | eks.ICluster | eks_v1.Cluster | eks_v1.ICluster,
        cluster_name: str,
        kubernetes_version: str | None = None,
        authentication_mode: AuthenticationMode | None = None,
        settings: KarpenterSettings = KarpenterSettings(),  # noqa: B008 - frozen
        device_plugin: DevicePlugin = DevicePlugin(),  # noqa: B008 - frozen
        health: Health | None = None,
        metrics: Metrics | None = None,
        subnets: Sequence[ec2.ISubnet] | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        discovery: DiscoveryMode = TAGS,
        oidc_provider: iam.IOidcProvider | iam.IOpenIdConnectProvider | None = None,
        oidc_issuer: str | None = None,
        system_node_labels: Mapping[str, str] = _ANY_NODE,
        node_role: iam.IRole | None = None,
        function_subnets: Sequence[ec2.ISubnet] = (),
    ) -> None:
        given = _Given(
            cluster=cluster,
            cluster_name=cluster_name,
            kubernetes_version=kubernetes_version,
            authentication_mode=authentication_mode,
            settings=settings,
            subnets=subnets,
            security_groups=security_groups,
            discovery=discovery,
            oidc_provider=oidc_provider,
            oidc_issuer=oidc_issuer,
            system_node_labels=system_node_labels,
            node_role=node_role,
            function_subnets=function_subnets,
            device_plugin=device_plugin,
            health=health,
            metrics=metrics,
        )
        if faults := _faults(given, scope):
            raise InvalidSettings(faults)
        super().__init__(scope, id)
        self._begin(given)
        self._install()
        self._attach()
        self._order_cluster_stack()

    def _begin(self, given: _Given) -> None:
        """What Karpenter has in AWS, before anything is installed on the cluster."""
        self._given, self._settings = given, given.settings
        Construct(_mark(self, given.cluster_name), MARK).node.add_metadata("path", self.node.path)
        for role in filter(known, _roles(given).values()):
            Construct(_role_mark(self, role), MARK).node.add_metadata("path", self.node.path)
        self._kubernetes = Minor.parse(given.version or "")
        self._cluster = Target(given.cluster, name=given.cluster_name, authentication_mode=given.authentication_mode)
        self._pools: dict[str, Pool] = {}
        self._manifests: list[PoolManifests] = []
        self._takeover: Takeover | None = None
        if subnets := given.function_subnets:
            groups = [self._cluster.security_group_id]
            keep_in_vpc(self, subnet_ids=[one.subnet_id for one in subnets], security_group_ids=groups)
        there = given.node_role
        if self._settings.node_role_arn:
            there = iam.Role.from_role_arn(self, "NodeRoleThere", self._settings.node_role_arn)
        self._nodes = NodeRole(
            self,
            "NodeRole",
            cluster=self._cluster,
            role_name=_node_role_name(given),
            path=self._settings.role_path,
            there=there,
        )
        if self._settings.node_statements and isinstance(self.node_role, iam.Role):
            own_statements(self.node_role, "karpenter.node_statements", self._settings.node_statements)
        self._instance_profile = self._settings.instance_profile
        if self._settings.isolated and self._instance_profile is None:
            # IAM has no endpoint, so Karpenter could make none.
            profile = iam.InstanceProfile(self, "NodeInstanceProfile", role=self.node_role)
            self._instance_profile = profile.instance_profile_name
        self._interruption = Interruption(self, "Interruption", karpenter=self._settings.release.line)
        self._controller_role = ControllerRole(
            self,
            "ControllerRole",
            settings=self._settings,
            role_name=_controller_role_name(given),
            cluster=self._cluster,
            oidc_provider_arn=self._provider_arn() if self._settings.identity == IRSA else None,
            node_role_arn=self.node_role.role_arn,
            queue_arn=self.interruption_queue.queue_arn,
        )
        self._discovery = Discovery(
            self,
            "Discovery",
            cluster=self._cluster,
            subnets=given.subnets if given.subnets is not None else self._cluster.vpc.private_subnets,
            security_groups=given.security_groups,
            tags_found=not self._cluster.is_made and given.discovery == TAGS,
        )

    def _install(self) -> None:
        """The charts, the device plugin, what watches the nodes, and the drain that holds a deletion of them."""
        self.charts = Charts(
            self,
            "Charts",
            cluster=self._cluster,
            settings=self._settings,
            crd_values=crd_values(self._settings),
            controller_values=self._controller_values(),
        )
        self.charts.controller.node.add_dependency(
            self._nodes, self._nodes.access, self._interruption, self._controller_role, self._discovery
        )
        self._plugin = DevicePluginDaemonSet(
            self, "DevicePlugin", plugin=self._given.device_plugin, cluster=self._cluster
        )
        self._monitoring = Monitoring(
            self, "Monitoring", cluster=self._cluster, health=self._given.health, metrics=self._given.metrics
        )
        self._drain = Drain(self, "Drain", cluster=self._cluster, settings=self._settings)
        self._drain.resource.node.add_dependency(self._plugin, self._monitoring, self.charts.controller)
        # Deleted when the controller is gone, which removes its own things, and before the node role and the nodes' group.
        # A Karpenter that was adopted may have templates and profiles of NodeClasses that stay.
        kinds = ["interfaces"] if self._settings.adopt else ["interfaces", "templates"]
        if not self._settings.adopt and self._instance_profile is None:
            kinds.append("profiles")
        swept = self._drain.sweep(self, "Sweep", *kinds)
        swept.node.add_dependency(self._nodes, self._discovery)
        self._swept = swept
        self.charts.crds.node.add_dependency(swept)
        after = (self.charts.crds, self._plugin, self._monitoring)
        self._system_nodes = SystemNodeOrder(self, self._cluster, after, self._drain, self._settings.namespace)

    def _controller_values(self) -> dict[str, Any]:
        """The controller's values, with the gates open that the pools need."""
        return controller_values(
            with_gates(self._settings, self._pools.values(), self._given.health),
            cluster_name=self._cluster.name,
            queue_name=self.interruption_queue.queue_name,
            region=Stack.of(self).region,
            role_arn=self.controller_role.role_arn if self._settings.identity == IRSA else None,
            system_nodes=self._given.system_node_labels,
        )

    def _order_cluster_stack(self) -> None:
        """Keep the stack that makes the cluster from being deleted before this one, and its GPU nodes.

        A weak reference, which the CDK may make, does not; CloudFormation deletes no stack whose export another imports.
        """
        theirs, ours = Stack.of(self._cluster.cluster), Stack.of(self)
        nested = theirs.nested_stack_parent or ours.nested_stack_parent
        if not self._cluster.is_made or theirs is ours or nested or theirs.environment != ours.environment:
            return
        held = theirs.export_value(
            self._cluster.cluster_name, name=f"{theirs.stack_name}-karpenter-{self._cluster.name}".replace("_", "-")
        )
        CfnOutput(
            self, "OnCluster", value=held, description="Holds the stack that makes the cluster while this one is there"
        )

    def _attach(self) -> None:
        """What a cluster needs on which there may be more than this app made."""
        checked: list[IConstruct] = [self._nodes.access, self.charts.crds, self._plugin, self._monitoring]
        checked += self._drain.on_cluster
        if self._settings.adopt or not self._cluster.is_made:
            self._takeover = self._look_first()
            checked.append(self._takeover)
        else:
            stack = Stack.of(self).stack_name
            self._install_after(self._cluster.manifest(self, "OnlyOne", only_one(stack), overwrite=False))
        if self._cluster.is_made:
            return
        if not self._settings.adopt:
            # So that a destroy leaves nothing of Karpenter on a cluster that stays, be it an earlier one's.
            lease = self._cluster.manifest(self, "LeaderLease", leader_lease(self._settings.namespace), overwrite=True)
            lease.node.add_dependency(self.charts.crds)
            self.charts.controller.node.add_dependency(lease)
        attachment = self._attachment()
        # First, so that what is wrong with the cluster is said by it, and not by whoever fails of it.
        for one in checked:
            one.node.add_dependency(attachment)
        self._note()

    @property
    def node_role(self) -> iam.IRole:
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

    def add_gpu_pool(self, pool: GpuPool) -> PoolManifests:
        """Add a pool of GPU nodes.

        Raises:
            InvalidSettings: Before any resource is made, with every fault.
        """
        return self._add_pool(pool, GpuPool)

    def add_cpu_pool(self, pool: CpuPool) -> PoolManifests:
        """Add a pool of nodes without GPUs.

        Raises:
            InvalidSettings: Before any resource is made, with every fault.
        """
        return self._add_pool(pool, CpuPool)

    def _add_pool(self, pool: Pool, kind: type[Pool]) -> PoolManifests:
        if faults := tuple(_argument_faults(pool=(pool, kind))) or tuple(self._pool_faults(pool)):
            raise InvalidSettings(faults, self._sentences(pool, faults))
        self._pools[pool.name] = pool
        shared = self._prepare(pool)
        manifests = PoolManifests(
            self,
            f"Pool-{pool.name}",
            pool=pool,
            cluster=self._cluster,
            role_name=self.node_role.role_name,
            subnet_terms=self._discovery.subnet_terms,
            security_group_terms=self._discovery.security_group_terms,
            controller=self.charts.controller,
            instance_profile=self._instance_profile,
            volume_key_arn=self._settings.volume_key_arn,
            drain=self._drain,
            overwrite=self._takeover is not None,
        )
        if self._takeover:
            self._takeover.look_for(*shared, *manifests.paths)
        # It is deleted when they are gone, so that no more is under way at a time then, too.
        manifests.node_class.node.add_dependency(self._plugin)
        if len(self._manifests) >= _MANIFESTS_AT_A_TIME:
            earlier = self._manifests[-_MANIFESTS_AT_A_TIME]
            manifests.node_class.node.add_dependency(earlier.node_class)
            manifests.node_pool.node.add_dependency(earlier.node_pool)
        if len(self._manifests) >= _GATES_AT_A_TIME:
            manifests.drain.node.add_dependency(self._manifests[-_GATES_AT_A_TIME].drain)
        self._manifests.append(manifests)
        self._drain.resource.node.add_dependency(manifests.node_class)
        return manifests

    def _sentences(self, pool: Pool, faults: Sequence[Fault]) -> list[str]:
        """Faults of a pool in the words of what was called."""
        words: dict[str, tuple[str, object]] = {"pool": ("pool", pool), "pools": ("pool", pool)}
        words |= {
            "karpenter": ("settings", self._settings),
            "device_plugin": ("device_plugin", self._plugin.settings),
        }
        return [sentence(fault, words) for fault in faults]

    def _prepare(self, pool: Pool) -> list[str]:
        """What a pool needs of the controller and beside it; the paths of what is made for it on the cluster."""
        if any(needs(pool)):
            self.charts.renew(self._controller_values())
        if not isinstance(pool, GpuPool):
            return []
        self._monitoring.warn(pool)
        if pool.reserve and not self._discovery.zones_of(pool.subnet_ids):
            zones = ", ".join(dict.fromkeys(made.zone for made in pool.reserve))
            Validations.of(self).add_warning(
                f"karpenter-gpu:{pool.name}-reserve-zones",
                f"pool {pool.name!r}: reserve in {zones} is paid for and never used where the pool has no subnet, and the zones of "
                "its subnets are not known here; compare them",
            )
        return self._plugin.share(pool)

    def _pool_faults(self, pool: Pool) -> Iterator[Fault]:
        yield from faults_between(
            kubernetes=self._kubernetes,
            karpenter=self._settings,
            device_plugin=self._plugin.settings,
            health=self._given.health,
            metrics=self._given.metrics,
            pools=(pool,),
            account=known(Stack.of(self).account),
            region=known(Stack.of(self).region),
        )
        yield from rules.pool_names_differ([*self._pools.values(), pool])
        yield from (fault.under(f"pools.{pool.name}") for fault in self._zone_faults(pool))

    def _zone_faults(self, pool: Pool) -> Iterator[Fault]:
        there = self._discovery.zones_of(pool.subnet_ids)
        for where, zone in pool.placed if there else ():
            # One of another region has its own sentence.
            if zone not in there and zone.startswith(there[0][:-1]):
                zones = ", ".join(dict.fromkeys(there))
                yield Fault(where, f"{zone!r} has no subnet of the nodes, whose zones are {zones}; use one of these")

    @property
    def follow_destroy(self) -> str:
        """The command that follows, while a destroy waits for nodes, what it waits for."""
        return self._drain.follow

    def start_after(self, *ready: IDependable) -> None:
        """Install Karpenter only when these are there, and delete none of them while it, or a GPU node, is left."""
        self._system_nodes.named += ready
        self.charts.crds.node.add_dependency(*ready)
        self._plugin.node.add_dependency(*ready)
        self._monitoring.node.add_dependency(*ready)

    def _look_first(self) -> Takeover:
        takeover = Takeover(
            self,
            "Takeover",
            cluster=self._cluster,
            settings=self._settings,
            queue_name=self.interruption_queue.queue_name,
        )
        takeover.look_for(*self._plugin.paths, *self._monitoring.paths)
        self._install_after(takeover.resource)
        return takeover

    def _install_after(self, found_alone: IDependable) -> None:
        """Change nothing of another Karpenter's before it is known that there is none, nor when this one is rolled back."""
        others: list[IConstruct] = [*self._controller_role.associations, *self._drain.on_cluster]
        # The map of a cluster that the app makes is the cluster's, and there before.
        others += [self._nodes.access] if self in self._nodes.access.node.scopes else []
        for one in (self._swept, self._plugin, self._monitoring, *others):
            one.node.add_dependency(found_alone)

    def _provider_arn(self) -> str:
        given, issuer = self._given.oidc_provider, self._given.oidc_issuer
        if given is None and issuer is not None:
            return _arn_of_provider(issuer)
        if given is None:
            url = self._cluster.cluster.cluster_open_id_connect_issuer_url
            given = eks.OidcProviderNative(self, "OidcProvider", url=url)
        return given.oidc_provider_ref.oidc_provider_arn

    def _attachment(self) -> Attachment:
        issuer = self._given.oidc_issuer if self._settings.identity == IRSA else None
        return Attachment(
            self,
            "Attachment",
            cluster_name=self._cluster.name,
            authentication_mode=self._cluster.authentication_mode,
            identity=self._settings.identity,
            discovery=self._given.discovery,
            subnet_ids=self._discovery.found_subnets,
            security_group_ids=self._discovery.found_groups,
            own_ids=self._discovery.own,
            node_security_group_ids=self._discovery.shared_groups,
            kubectl_in_vpc=self._cluster.kubectl_in_vpc,
            function_subnet_ids=list(
                dict.fromkeys(
                    [*self._cluster.kubectl_subnet_ids, *(one.subnet_id for one in self._given.function_subnets)]
                )
            ),
            oidc_issuer=issuer,
            oidc_provider_arn=_arn_of_provider(issuer) if issuer else None,
        )

    def _note(self) -> None:
        """Write into the template what it takes for granted of the existing cluster: to be read, and rehearsed on."""
        issuer, provider = self._given.oidc_issuer, self._given.oidc_provider
        if provider is not None:
            arn = known(provider.oidc_provider_ref.oidc_provider_arn) or ""
            issuer = f"https://{arn.partition(':oidc-provider/')[2]}" if arn else None
        vpc = None if self._discovery.own == [] else known(self._cluster.vpc.vpc_id)
        facts: ExistingClusterFacts = {
            "Version": 1,
            "Name": self._cluster.name,
            "KubernetesVersion": str(self._kubernetes),
            "AuthenticationMode": self._cluster.authentication_mode,
            "IpFamily": "ipv6" if self._cluster.is_ipv6 else "ipv4",
            "OidcIssuer": issuer,
            "OidcProvider": provider is not None,
            "VpcId": vpc,
            "SubnetIds": [id for id in self._discovery.found_subnets if known(id)],
            "ClusterSecurityGroupId": known(self._cluster.security_group_id),
            "SecurityGroupIds": [id for id in self._discovery.shared_groups if known(id)],
            "NodeGroup": self._given.system_node_labels.get(labels.NODE_GROUP_LABEL),
            "KubectlRoleArn": known(self._cluster.kubectl_role_arn),
            "PodIdentityAgent": self._settings.identity != IRSA,
        }
        Stack.of(self).add_metadata(EXISTING_CLUSTER, {key: value for key, value in facts.items() if value is not None})


def _arn_of_provider(issuer: str) -> str:
    return f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:oidc-provider/{issuer.removeprefix('https://')}"


def _faults(given: _Given, scope: Construct) -> list[Fault]:
    """Every fault that can be seen; what a sound cluster and sound settings are needed for is looked at when they are."""
    cluster, settings, stack = given.cluster, given.settings, Stack.of(scope)
    account, region = known(stack.account), known(stack.region)
    faults = [
        *_argument_faults(settings=(settings, KarpenterSettings), device_plugin=(given.device_plugin, DevicePlugin))
    ]
    faults += target.faults(
        cluster,
        mode=given.authentication_mode,
        network_given=given.subnets is not None and given.security_groups is not None,
        issuer_given=bool(given.oidc_provider or given.oidc_issuer),
        needs_issuer=not faults and settings.identity == IRSA,
    )
    return faults or [
        *_network_faults(cluster, given.subnets, given.security_groups, given.discovery),
        *target.name_faults(cluster, given.cluster_name),
        *(tuple(_second_faults(scope, given.cluster_name)) or _role_faults(scope, given)),
        *_kubernetes_faults(cluster, given.kubernetes_version),
        *_name_faults(given.cluster_name),
        *faults_between(
            cluster_name=None if cluster_name_problem(given.cluster_name) else given.cluster_name,
            kubernetes=_minor(given.version),
            karpenter=settings,
            device_plugin=given.device_plugin,
            health=given.health,
            metrics=given.metrics,
            account=account,
            region=region,
        ),
        *_isolated_function_faults(given),
        *_function_subnet_faults(given),
        *_takeover_faults(scope, cluster, given.node_role, settings),
        *rules.issuer_fits(given.oidc_issuer, region, "oidc_issuer"),
    ]


MARK: Final = "KarpenterGpu"


def _mark(scope: Construct, cluster_name: str) -> Construct:
    """Where a cluster's Karpenter leaves its mark: one for the name, account and region in a stage or app.

    It is a construct, for what Python holds of a construct goes when its maker lets go of it.
    """
    stack = Stack.of(scope)
    place = (cluster_name, known(stack.account) or "any", known(stack.region) or "any")
    above = Stage.of(scope) or scope.node.root
    id = f"{MARK}-{'-'.join(place)}"
    found: Any = above.node.try_find_child(id)
    return found or Construct(cast("Construct", above), id)


def _second_faults(scope: Construct, cluster_name: str) -> Iterator[Fault]:
    """Two controllers on one cluster would each delete what the other launches."""
    if known(cluster_name) is None:
        return
    there = _mark(scope, cluster_name).node.try_find_child(MARK)
    if there is not None:
        yield Fault(
            "cluster_name",
            f"{cluster_name!r} has a Karpenter already, at {there.node.metadata[0].data}, and a cluster works with one; add the "
            "pools to that one with add_gpu_pool, or if this is another cluster give it another name",
        )


def _node_role_name(given: _Given) -> str:
    return given.settings.node_role_name or f"KarpenterNodeRole-{given.cluster_name}"


def _controller_role_name(given: _Given) -> str:
    return given.settings.controller_role_name or f"KarpenterControllerRole-{given.cluster_name}"


def _roles(given: _Given) -> dict[str, str]:
    """The names of the roles that are made, by the setting that says another one."""
    roles = {"controller_role_name": _controller_role_name(given)}
    if given.node_role is None and not given.settings.node_role_arn:
        roles["node_role_name"] = _node_role_name(given)
    return roles


def _role_mark(scope: Construct, role: str) -> Construct:
    """Where a role's maker leaves its mark: one for the name and account in an app; IAM knows no region."""
    root = cast("Construct", scope.node.root)
    id = f"{MARK}Role-{known(Stack.of(scope).account) or Stack.of(scope).node.path}-{role}"
    found: Any = root.node.try_find_child(id)
    return found or Construct(root, id)


def _role_faults(scope: Construct, given: _Given) -> Iterator[Fault]:
    """Two clusters whose roles have one name, of one account: clusters of one name in two regions, say."""
    for setting, role in _roles(given).items():
        there = _role_mark(scope, role).node.try_find_child(MARK) if known(role) else None
        if there is not None:
            yield Fault(
                f"karpenter.{setting}",
                f"{role!r} is a role of {there.node.metadata[0].data} already, and IAM is the same in all regions of an account; "
                f"say another {setting}, or give the cluster another name",
            )


def _argument_faults(**given: tuple[object, type[Any]]) -> Iterator[Fault]:
    for name, (value, wanted) in given.items():
        if not isinstance(value, wanted):
            yield Fault(name, f"{value!r} is not what goes here; give a {wanted.__name__}")


def _network_faults(
    cluster: Any, subnets: object, security_groups: object, discovery: DiscoveryMode
) -> Iterator[Fault]:
    there: Any = cluster.vpc.private_subnets if subnets is None else subnets
    if isinstance(there, str) or not isinstance(there, Sequence) or not there:
        yield Fault("subnets", f"{there!r} is not a list of subnets with a member; give private ones with a way out")
    if security_groups is not None and (isinstance(security_groups, str) or not isinstance(security_groups, Sequence)):
        yield Fault(
            "security_groups", f"{security_groups!r} is not a list of security groups; give one, or leave it out"
        )
    elif security_groups is not None and not security_groups:
        yield Fault("security_groups", "is empty, and nodes must have one; name those of the cluster's other nodes")
    if discovery not in {TAGS, IDS}:
        yield Fault("discovery", f"{discovery!r} is not a way to find what nodes use; use {TAGS!r} or {IDS!r}")


def _isolated_function_faults(given: _Given) -> Iterator[Fault]:
    """What looks after the cluster's OIDC provider asks IAM, which has no endpoint."""
    settings = given.settings
    if settings.isolated and given.function_subnets and given.oidc_issuer and settings.identity == IRSA:
        yield Fault(
            "karpenter.identity",
            f"{IRSA!r} needs IAM, which functions in a VPC without a way out do not reach; use {POD_IDENTITY!r}, or leave the "
            "functions outside the VPC",
        )


def _function_subnet_faults(given: _Given) -> Iterator[Fault]:
    """Functions in subnets that the app itself knows to be public; those of kubectl the CDK refuses by itself.

    Source: Lambda guide, "Enable internet access for VPC-connected Lambda functions".
    """
    public: set[str] = set()
    with contextlib.suppress(RuntimeError):
        public = {one.subnet_id for one in given.cluster.vpc.public_subnets}
    if wrong := [known(one.subnet_id) or one.node.path for one in given.function_subnets if one.subnet_id in public]:
        yield Fault(
            "function_subnets",
            f"{', '.join(wrong)} is public: its way out is an internet gateway, and a function has no public address; give "
            "private ones, with a NAT gateway or endpoints",
        )


def _takeover_faults(
    scope: Construct, cluster: Any, role: iam.IRole | None, settings: KarpenterSettings
) -> Iterator[Fault]:
    """What of another's can be kept: a node role beside none to be made, and what aws-auth can name in time."""
    if role is not None and not hasattr(role, "role_arn"):
        yield Fault(
            "node_role", f"{role!r} is not what goes here; give a role, as iam.Role.from_role_arn makes one of an ARN"
        )
        return
    for name in ("node_role_name", "node_role_arn") if role is not None else ():
        if said := getattr(settings, name):
            yield Fault(
                f"karpenter.{name}", f"{said!r} says a node role, and node_role is one too; give one of the two"
            )
    if target.mode_of(cluster) != CONFIG_MAP:
        return
    first = Stack.of(cluster)
    if role is not None and known(role.role_name) is None and Stack.of(role) is not first:
        yield Fault(
            "node_role",
            f"is made in stack {Stack.of(role).stack_name}, and aws-auth, which names it, in {first.stack_name}, which goes "
            "first; make it there, or import it by its name",
        )
    if settings.adopt and Stack.of(scope) is not first:
        yield Fault(
            "karpenter.adopt",
            f"needs a way into a cluster that {first.stack_name} makes and that lets in by aws-auth alone; put Karpenter into that "
            f"stack, or give the cluster authentication_mode=AuthenticationMode.{API_AND_CONFIG_MAP}",
        )


def _name_faults(cluster_name: str) -> Iterator[Fault]:
    if problem := cluster_name_problem(cluster_name):
        yield Fault("cluster_name", problem)


def _minor(version: str | None) -> Minor | None:
    try:
        return Minor.parse(version or "")
    except ValueError:
        return None


def _kubernetes_faults(cluster: Any, given: str | None) -> Iterator[Fault]:
    made = target.version_of(cluster)
    if given and made and given != made:
        yield Fault("kubernetes_version", f"{given!r} is not the cluster's Kubernetes, which is {made}; leave it out")
    if minor := _minor(given or made):
        yield from target.image_faults(cluster, minor)
    else:
        yield Fault(
            "kubernetes_version",
            f"{given or made!r} does not say the cluster's Kubernetes; give its minor, as in 1.36",
        )
