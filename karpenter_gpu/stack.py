"""A whole GPU platform as one stack, written with the public constructs alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, cast

from aws_cdk import Aws, CfnOutput, Environment, Fn, IPropertyInjector, IStackSynthesizer, Stack, Stage, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct
from typing_extensions import Unpack

from karpenter_gpu import compat
from karpenter_gpu.cdk.cluster import EksCluster
from karpenter_gpu.cdk.existing import ExistingEksCluster, system_node_labels
from karpenter_gpu.cdk.karpenter import Karpenter
from karpenter_gpu.cdk.look_up import look_up
from karpenter_gpu.cdk.network import Network
from karpenter_gpu.cdk.tokens import known
from karpenter_gpu.errors import InvalidSettings
from karpenter_gpu.gpus import PRICES_DATED, PRICES_REGION
from karpenter_gpu.manifests import workload
from karpenter_gpu.settings import (
    AuthenticationMode,
    CpuPool,
    DevicePlugin,
    DiscoveryMode,
    ExistingCluster,
    ExistingVpc,
    GpuPool,
    Health,
    KarpenterSettings,
    Metrics,
    NewCluster,
    Platform,
    rules,
)
from karpenter_gpu.settings._written import in_words_of_caller
from karpenter_gpu.settings.pool import tag_faults
from karpenter_gpu.versions import Minor


class StackOptions(TypedDict, total=False):
    """What `aws_cdk.Stack` takes besides what `EksGpuStack` has a setting for."""

    analytics_reporting: bool | None
    cross_region_references: bool | None
    description: str | None
    notification_arns: Sequence[str] | None
    property_injectors: Sequence[IPropertyInjector] | None
    stack_name: str | None
    suppress_template_indentation: bool | None
    synthesizer: IStackSynthesizer | None
    tags: Mapping[str, str] | None
    termination_protection: bool | None


class _Known(TypedDict, total=False):
    """What `Karpenter` is told of a cluster."""

    authentication_mode: AuthenticationMode | None
    subnets: Sequence[ec2.ISubnet]
    security_groups: Sequence[ec2.ISecurityGroup]
    discovery: DiscoveryMode
    oidc_provider: iam.IOidcProvider
    oidc_issuer: str | None
    system_node_labels: Mapping[str, str]
    function_subnets: Sequence[ec2.ISubnet]


class EksGpuStack(Stack):
    """An EKS cluster, new or existing, that has GPUs when a pod asks for them, and only then.

    Args:
        env: Account and region. Default: whichever the stack is deployed to.

        cluster: The new or existing cluster.

        pools: The pools of nodes.

        karpenter: The controller. Default: every default.

        device_plugin: NVIDIA's. Default: every default.

        health: What says that a node is broken, and whether it is replaced then. Default: nothing does.

        metrics: NVIDIA's metrics of the GPUs. Default: none.

        permissions_boundary: Name or ARN of a managed policy for every role of the stack. Default: none.

        stack: What `aws_cdk.Stack` takes besides: `stack_name`, `description`, `tags`, `termination_protection`.

    Raises:
        InvalidSettings: Before any construct exists, with every fault; what was looked up is checked when it is there.
    """

    @in_words_of_caller()
    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: NewCluster | ExistingCluster,
        pools: Sequence[GpuPool | CpuPool],
        karpenter: KarpenterSettings = KarpenterSettings(),  # noqa: B008 - frozen
        device_plugin: DevicePlugin = DevicePlugin(),  # noqa: B008 - frozen
        health: Health | None = None,
        metrics: Metrics | None = None,
        env: Environment | None = None,
        permissions_boundary: str | None = None,
        **stack: Unpack[StackOptions],
    ) -> None:
        account, region = _place(scope, env)
        platform = Platform(
            cluster=cluster,
            pools=cast("tuple[GpuPool | CpuPool, ...]", pools),
            karpenter=karpenter,
            device_plugin=device_plugin,
            health=health,
            metrics=metrics,
            account=account,
            region=region,
            permissions_boundary=permissions_boundary,
        )
        self._zones = _zones(platform)
        super().__init__(scope, id, env=env, **stack)
        if faults := tuple(tag_faults(self.tags.tag_values())):
            raise InvalidSettings(faults)
        if isinstance(platform.cluster, ExistingCluster):
            platform = _found(self, platform)
        # From here on what was checked, not what was given, which may be a dictionary.
        for about, warning in platform.warnings():
            Validations.of(self).add_warning(f"karpenter-gpu:{about}", warning)
        _apply_boundary(self, permissions_boundary)
        self.eks: EksCluster | ExistingEksCluster
        self.karpenter = self._karpenter(platform)
        self._outputs(platform)

    def _karpenter(self, platform: Platform) -> Karpenter:
        """The cluster, and Karpenter on it with its pools."""
        if isinstance(platform.cluster, ExistingCluster):
            attached = self._attach(platform.cluster)
        else:
            attached = self._make(platform.cluster, platform.karpenter)
        karpenter = Karpenter(
            self,
            "Karpenter",
            cluster=self.eks.cluster,
            cluster_name=platform.cluster.name,
            kubernetes_version=platform.cluster.kubernetes_version,
            settings=platform.karpenter,
            device_plugin=platform.device_plugin,
            health=platform.health,
            metrics=platform.metrics,
            **attached,
        )
        karpenter.start_after(*self.eks.ready)
        for pool in platform.pools:
            tagged = replace(pool, tags={**self.tags.tag_values(), **pool.tags})
            if isinstance(tagged, GpuPool):
                karpenter.add_gpu_pool(tagged)
            else:
                karpenter.add_cpu_pool(tagged)
        return karpenter

    def _make(self, cluster: NewCluster, karpenter: KarpenterSettings) -> _Known:
        """Make the cluster; what Karpenter is told of it."""
        self.network = Network(
            self,
            "Network",
            network=cluster.network,
            ipv6=cluster.ip_family == "ipv6",
            isolated=karpenter.isolated,
        )
        made = EksCluster(
            self,
            "Eks",
            settings=cluster,
            vpc=self.network.vpc,
            identity=karpenter.identity,
            tags=self.tags.tag_values(),
        )
        self.eks = made
        # Nodes, and functions in the VPC, reach AWS through them while they come and while they go.
        made.cluster.node.add_dependency(*self.network.endpoints)
        return {
            "oidc_provider": made.oidc_provider,
            "system_node_labels": made.system_node_labels,
            "function_subnets": self.network.vpc.private_subnets if cluster.functions_in_vpc else (),
        }

    def _attach(self, cluster: ExistingCluster) -> _Known:
        """Import the cluster; what Karpenter is told of it."""
        there = ExistingEksCluster(self, "Eks", settings=cluster)
        self.eks = there
        return {
            "authentication_mode": cluster.authentication_mode,
            "subnets": there.subnets,
            "security_groups": there.security_groups,
            "discovery": cluster.discovery,
            "oidc_issuer": cluster.oidc_issuer,
            "system_node_labels": system_node_labels(cluster),
            "function_subnets": there.function_subnets if cluster.functions_in_vpc else (),
        }

    @property
    def availability_zones(self) -> list[str]:
        """The zones of the VPC; the CDK would look an account's up, and synthesis would need its credentials."""
        return self._zones

    def _outputs(self, platform: Platform) -> None:
        name, namespace = platform.cluster.name, platform.karpenter.namespace
        kubeconfig = f"aws eks update-kubeconfig --name {name} --region {Aws.REGION}"
        if isinstance(self.eks, EksCluster) and self.eks.admin_role:
            kubeconfig += f" --role-arn {self.eks.admin_role.role_arn}"
        overrides = json.dumps({"spec": workload.ai_workload()["spec"]}, separators=(",", ":"))
        for id, value, what in (
            ("Kubeconfig", kubeconfig, "Run this to use kubectl with the cluster"),
            (
                "TryGpu",
                f"kubectl run {workload.NAME} --image={workload.IMAGE} --restart=Never --overrides='{overrides}'",
                "Run this to see a GPU node come for a pod, and go a minute after it",
            ),
            (
                "FollowKarpenter",
                f"kubectl logs -f -l app.kubernetes.io/instance=karpenter -n {namespace}",
                "Run this to follow what Karpenter does",
            ),
            ("FollowDestroy", self.karpenter.follow_destroy, "Run this to follow what a destroy waits for"),
            (
                "MostDollarsPerHour",
                _ceilings(platform),
                f"What each pool costs when full, at the on-demand prices of {PRICES_REGION} of {PRICES_DATED}",
            ),
            ("NodeRoleName", self.karpenter.node_role.role_name, "The role of the GPU nodes"),
            ("ControllerRoleArn", self.karpenter.controller_role.role_arn, "The role of Karpenter's controller"),
            (
                "InterruptionQueueName",
                self.karpenter.interruption_queue.queue_name,
                "Where AWS says which instances go",
            ),
        ):
            CfnOutput(self, id, value=value, description=what)


def _place(scope: Construct, env: Environment | None) -> tuple[str | None, str | None]:
    """The account and region, as the CDK itself has them: what is not given is the stage's."""
    stage = scope if isinstance(scope, Stage) else Stage.of(scope)
    account = (env.account if env else None) or (stage.account if stage else None)
    region = (env.region if env else None) or (stage.region if stage else None)
    return known(account), known(region)


def _ceilings(platform: Platform) -> str:
    """What each pool costs in an hour when it is full of its dearest GPUs."""
    most = {pool.name: pool.worst_case_usd_per_hour for pool in platform.pools}
    return ", ".join(f"{name} {'unknown' if usd is None else f'{usd:.2f}'}" for name, usd in most.items()) or "none"


def _found(stack: Stack, platform: Platform) -> Platform:
    """The platform with all that was left out of its cluster, checked again.

    While an answer is to come, its Kubernetes is the newest with which the rest has no fault.
    """
    assert isinstance(platform.cluster, ExistingCluster)
    karpenter = platform.karpenter
    controllers = 0 if karpenter.on_fargate else int(karpenter.values.get("replicas", 2))
    cluster = look_up(stack, platform.cluster, controllers=controllers)
    if cluster.kubernetes_version is not None:
        return replace(platform, cluster=cluster)
    tried = [_with_version(platform, cluster, minor) for minor in sorted(compat.KUBERNETES, reverse=True)]
    for fitting in tried:
        if isinstance(fitting, Platform):
            return fitting
    raise tried[0]  # type: ignore[misc]  # none fits, so it is not the version's fault


def _with_version(platform: Platform, cluster: ExistingCluster, minor: Minor) -> Platform | InvalidSettings:
    try:
        return replace(platform, cluster=replace(cluster, kubernetes_version=str(minor)))
    except InvalidSettings as error:
        return error


def _zones(platform: Platform) -> list[str]:
    if isinstance(platform.cluster, ExistingCluster):
        return []
    network = platform.cluster.network
    if isinstance(network, ExistingVpc) or network.availability_zones:
        return list(network.availability_zones)
    return [Fn.select(place, Fn.get_azs()) for place in range(rules.zone_count(network, platform.region))]


def _apply_boundary(stack: Stack, boundary: str | None) -> None:
    """Put a permissions boundary on every role of a stack."""
    if boundary is not None:
        iam.PermissionsBoundary.of(stack).apply(_managed_policy(stack, boundary))


def _managed_policy(scope: Construct, boundary: str) -> iam.IManagedPolicy:
    if boundary.startswith("arn:"):
        return iam.ManagedPolicy.from_managed_policy_arn(scope, "PermissionsBoundary", boundary)
    return iam.ManagedPolicy.from_managed_policy_name(scope, "PermissionsBoundary", boundary)
