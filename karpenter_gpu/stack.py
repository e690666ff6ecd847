"""A whole GPU platform as one stack, written with the public constructs alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aws_cdk import Aws, CfnOutput, Environment, Fn, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import Construct

from karpenter_gpu.cdk.cluster import EksCluster
from karpenter_gpu.cdk.karpenter import Karpenter
from karpenter_gpu.cdk.network import Network
from karpenter_gpu.cdk.tokens import known
from karpenter_gpu.gpus import PRICES_DATED, PRICES_REGION
from karpenter_gpu.manifests import workload
from karpenter_gpu.settings import DevicePlugin, ExistingVpc, GpuPool, KarpenterSettings, NewCluster, Platform, rules


class EksGpuStack(Stack):
    """An EKS cluster that has GPUs when a pod asks for them, and only then.

    Args:
        env: Account and region. Left out: whichever the stack is deployed to; the VPC then has two zones, else three.

        cluster: The cluster to make.

        pools: The GPU pools.

        karpenter: The controller. Left out: every default.

        device_plugin: NVIDIA's. Left out: every default.

        permissions_boundary: Name or ARN of a managed policy for every role of the stack. Left out: none.

        stack: What `aws_cdk.Stack` takes besides: `stack_name`, `description`, `tags`, `termination_protection`.

    Raises:
        InvalidSettings: Before any construct exists, with every fault.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster: NewCluster,
        pools: Sequence[GpuPool],
        karpenter: KarpenterSettings = KarpenterSettings(),  # noqa: B008 - frozen
        device_plugin: DevicePlugin = DevicePlugin(),  # noqa: B008 - frozen
        env: Environment | None = None,
        permissions_boundary: str | None = None,
        **stack: Any,
    ) -> None:
        platform = Platform(
            cluster=cluster,
            pools=pools,  # type: ignore[arg-type]
            karpenter=karpenter,
            device_plugin=device_plugin,
            account=known(env.account if env else None),
            region=known(env.region if env else None),
            permissions_boundary=permissions_boundary,
        )
        # From here on what was checked, not what was given, which may be a dictionary.
        cluster, karpenter = platform.cluster, platform.karpenter
        self._zones = _zones(platform)
        super().__init__(scope, id, env=env, **stack)
        for about, warning in platform.warnings():
            Validations.of(self).add_warning(f"karpenter-gpu:{about}", warning)
        if permissions_boundary is not None:
            iam.PermissionsBoundary.of(self).apply(_managed_policy(self, permissions_boundary))

        self.network = Network(self, "Network", network=cluster.network, ipv6=cluster.ip_family == "ipv6")
        self.eks = EksCluster(self, "Eks", settings=cluster, vpc=self.network.vpc, identity=karpenter.identity)
        self.karpenter = Karpenter(
            self,
            "Karpenter",
            cluster=self.eks.cluster,
            cluster_name=cluster.name,
            kubernetes_version=cluster.kubernetes_version,
            settings=karpenter,
            device_plugin=platform.device_plugin,
            oidc_provider=self.eks.oidc_provider,
            system_node_labels=self.eks.system_node_labels,
        )
        self.karpenter.start_after(*self.eks.ready)
        for pool in platform.pools:
            self.karpenter.add_gpu_pool(pool)
        self._outputs(platform)

    @property
    def availability_zones(self) -> list[str]:
        """The zones of the VPC; the CDK would look an account's up, and synthesis would need its credentials."""
        return self._zones

    def _outputs(self, platform: Platform) -> None:
        name, namespace = platform.cluster.name, platform.karpenter.namespace
        kubeconfig = f"aws eks update-kubeconfig --name {name} --region {Aws.REGION}"
        if self.eks.admin_role:
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


def _ceilings(platform: Platform) -> str:
    """What each pool costs in an hour when it is full of its dearest GPUs."""
    most = {pool.name: pool.worst_case_usd_per_hour for pool in platform.pools}
    return ", ".join(f"{name} {'unknown' if usd is None else f'{usd:.2f}'}" for name, usd in most.items()) or "none"


def _zones(platform: Platform) -> list[str]:
    network = platform.cluster.network
    if isinstance(network, ExistingVpc) or network.availability_zones:
        return list(network.availability_zones)
    return [Fn.select(place, Fn.get_azs()) for place in range(rules.zone_count(network, platform.region))]


def _managed_policy(scope: Construct, boundary: str) -> iam.IManagedPolicy:
    if boundary.startswith("arn:"):
        return iam.ManagedPolicy.from_managed_policy_arn(scope, "PermissionsBoundary", boundary)
    return iam.ManagedPolicy.from_managed_policy_name(scope, "PermissionsBoundary", boundary)
