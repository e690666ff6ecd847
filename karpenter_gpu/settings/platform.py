"""Everything a platform is made from, checked as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import date

from karpenter_gpu.errors import Fault
from karpenter_gpu.settings import rules
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import AccountId, ManagedPolicy, Many, Region, StackName
from karpenter_gpu.settings.cluster import Cluster, NewCluster
from karpenter_gpu.settings.cpu_pool import AnyPool
from karpenter_gpu.settings.device_plugin import DevicePlugin
from karpenter_gpu.settings.existing import ExistingCluster
from karpenter_gpu.settings.health import Health, Metrics
from karpenter_gpu.settings.karpenter import KarpenterSettings
from karpenter_gpu.settings.pool import Pool, tag_faults
from karpenter_gpu.versions import Minor


@setting
class Platform:
    """A cluster, its GPU pools, and where they go.

    Args:
        cluster: The EKS cluster: new or existing.

        pools: The pools of nodes; one with `vcpu_limit` is a `CpuPool`. May be empty.

        karpenter: The controller.

        device_plugin: NVIDIA's.

        health: What says that a node is broken, and whether it is replaced then. Default: nothing does.

        metrics: NVIDIA's metrics of the GPUs. Default: none.

        account: Twelve digits. Default: whichever account the stack is deployed to; for an existing cluster, that of
            the credentials.

        region: As in eu-west-1. Default: whichever region the stack is deployed to; for an
            existing cluster, that of the credentials.

        stack_name: CloudFormation's name for the stack. Default: `eks-gpu-<cluster>`.

        permissions_boundary: Name or ARN of a managed policy put on every role of the stack. Default: none.

        tags: Put on all that the stack makes, and on the instances, volumes and launch templates of system and GPU nodes;
            other tags replace the nodes. Default: none.
    """

    cluster: Cluster
    pools: Many[AnyPool]
    karpenter: KarpenterSettings = KarpenterSettings()
    device_plugin: DevicePlugin = DevicePlugin()
    health: Health | None = None
    metrics: Metrics | None = None
    account: AccountId | None = None
    region: Region | None = None
    stack_name: StackName | None = None
    permissions_boundary: ManagedPolicy | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> Iterator[Fault]:
        yield from rules.arns_fit(self.permissions_boundary, self.account, self.region, "permissions_boundary")
        yield from tag_faults(self.tags)
        yield from faults_between(
            cluster=self.cluster,
            karpenter=self.karpenter,
            device_plugin=self.device_plugin,
            health=self.health,
            metrics=self.metrics,
            pools=self.pools,
            account=self.account,
            region=self.region,
        )

    @property
    def stack(self) -> str:
        """The stack's name; one a cluster, so that another cluster is another stack."""
        return self.stack_name or f"eks-gpu-{self.cluster.name.replace('_', '-')}"

    def warnings(self, today: date | None = None) -> tuple[tuple[str, str], ...]:
        """Sentences for what is allowed and may still surprise, each with a short name that stays the same.

        Those about a pool come with the pool, wherever it is added: `rules.pool_warnings`.
        """
        return (
            *rules.region_warnings(self.region),
            *rules.arn_warnings(self, self.account),
            *rules.kubernetes_warnings(self.cluster, today or rules.today()),
            *(rules.new_cluster_warnings(self.cluster, self.region) if isinstance(self.cluster, NewCluster) else ()),
            *rules.karpenter_warnings(self.karpenter),
        )


def faults_between(
    *,
    cluster: NewCluster | ExistingCluster | None = None,
    cluster_name: str | None = None,
    kubernetes: Minor | None = None,
    karpenter: KarpenterSettings | None = None,
    device_plugin: DevicePlugin | None = None,
    health: Health | None = None,
    metrics: Metrics | None = None,
    pools: tuple[Pool, ...] = (),
    account: str | None,
    region: str | None,
) -> Iterator[Fault]:
    """Every fault between settings that are right by themselves; None for one that is not, or is not a setting here.

    Args:
        cluster_name: Of a cluster of one's own, which no setting is for.

        kubernetes: The same cluster's.
    """
    if cluster:
        # What is yet to be looked up is checked when it has been.
        cluster_name, kubernetes = cluster.name, cluster.kubernetes
        yield from _cluster_faults(cluster, pools, account, region)
    yield from rules.arns_fit(karpenter, account, region, "karpenter")
    if karpenter:
        yield from _karpenter_faults(karpenter, device_plugin, health, metrics)
    if device_plugin:
        yield from rules.plugin_can_share(pools, device_plugin)
    if cluster_name and karpenter:
        yield from rules.role_names_fit(cluster_name, karpenter)
    if isinstance(cluster, NewCluster) and karpenter:
        yield from rules.controllers_fit(cluster, karpenter)
        yield from rules.addons_are_there(cluster, karpenter)
        yield from rules.isolation_is_whole(cluster, karpenter)
    if kubernetes and karpenter:
        yield from rules.karpenter_supports(kubernetes, karpenter)
        for pool in pools:
            yield from rules.pool_fits(pool, kubernetes, karpenter, region)
    yield from rules.pool_names_differ(pools)


def _karpenter_faults(
    karpenter: KarpenterSettings, device_plugin: DevicePlugin | None, health: Health | None, metrics: Metrics | None
) -> Iterator[Fault]:
    yield from rules.karpenter_is_known(karpenter)
    yield from rules.gates_exist(karpenter)
    yield from rules.fargate_fits(karpenter)
    yield from rules.repair_is_safe(karpenter, health)
    if device_plugin:
        yield from rules.isolation_fits(karpenter, device_plugin, metrics)


def _cluster_faults(
    cluster: NewCluster | ExistingCluster, pools: tuple[Pool, ...], account: str | None, region: str | None
) -> Iterator[Fault]:
    if isinstance(cluster, NewCluster):
        today = rules.today()
        yield from rules.kubernetes_can_be_created(cluster, today)
        yield from rules.support_is_chosen(cluster, today)
        yield from rules.network_fits(cluster, region)
        yield from rules.pools_reach_the_network(pools, cluster)
    else:
        yield from rules.kubernetes_is_known(cluster)
        yield from rules.can_be_looked_up(cluster, account, region)
        yield from rules.issuer_fits(cluster.oidc_issuer, region, "cluster.oidc_issuer")
    yield from rules.arns_fit(cluster, account, region, "cluster")
    if cluster.kubernetes:
        yield from rules.kubectl_layer_is_installed(cluster.kubernetes)
