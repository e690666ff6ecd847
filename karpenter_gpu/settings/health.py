"""What watches the GPU nodes: EKS's node monitoring agent, repair by Karpenter, and NVIDIA's metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field

from karpenter_gpu.compat import (
    DCGM_EXPORTER_IMAGE,
    DEFAULT_DCGM_EXPORTER,
    DEFAULT_MONITORING_AGENT,
    FIRST_MONITORING_AGENT,
)
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import LabelKey, LabelValue
from karpenter_gpu.settings.device_plugin import image_faults
from karpenter_gpu.versions import Version


@setting
class Health:
    """EKS's node monitoring agent, which says on a node when its hardware, kernel, network or disk is broken.

    It is installed as the add-on `eks-node-monitoring-agent`, told to run its GPU part on every GPU node, whatever its taints and
    its instance type.

    Args:
        repair: Replace nodes that the agent calls broken: after 10 minutes for GPUs, after 30 for anything else, and at most
            a fifth of a pool's nodes, rounded up (Karpenter 1.1). It heeds neither budgets nor do-not-disrupt.

        version: Of the add-on, as `aws eks describe-addon-versions` lists it; from v1.6.3.

    Sources: https://docs.aws.amazon.com/eks/latest/userguide/node-health.html; karpenter-provider-aws
    pkg/cloudprovider/cloudprovider.go, RepairPolicies.
    """

    repair: bool = False
    version: str = DEFAULT_MONITORING_AGENT

    def check(self) -> Iterator[Fault]:
        found = re.fullmatch(r"v([0-9]+)\.([0-9]+)\.([0-9]+)-eksbuild\.[0-9]+", self.version)
        if not found:
            yield Fault(
                "version", f"{self.version!r} is not an add-on's version; write it as in {DEFAULT_MONITORING_AGENT}"
            )
        elif Version(*map(int, found.groups())) < FIRST_MONITORING_AGENT:
            yield Fault(
                "version",
                f"{self.version} cannot be told to run its GPU part on every GPU node, and calls a GPU that it does not know "
                f"broken; use v{FIRST_MONITORING_AGENT} or later",
            )


@setting
class Metrics:
    """NVIDIA's DCGM exporter on every GPU node but Bottlerocket's: use, memory, temperature, power and XID errors of each GPU.

    Args:
        image: Repository of the image; name a mirror here.

        version: Its tag.

        service_monitor: Whether Prometheus's operator is told of it, by a ServiceMonitor; its CRD must be on the cluster.

        service_monitor_labels: Of the ServiceMonitor, by which a Prometheus selects it: the chart kube-prometheus-stack wants
            `release` with the name of its release.

    Source: NVIDIA/dcgm-exporter dcgm-exporter.yaml, 4.5.3-4.8.2.
    """

    image: str = DCGM_EXPORTER_IMAGE
    version: str = DEFAULT_DCGM_EXPORTER
    service_monitor: bool = False
    service_monitor_labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)

    def check(self) -> Iterator[Fault]:
        yield from image_faults(self.image, DCGM_EXPORTER_IMAGE)
        if self.service_monitor_labels and not self.service_monitor:
            yield Fault(
                "service_monitor_labels",
                "are of a ServiceMonitor, and service_monitor makes none; turn it on, or leave them out",
            )
        # https://github.com/distribution/reference, reference.go.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", self.version):
            yield Fault("version", f"{self.version!r} is not an image's tag; write it as in {DEFAULT_DCGM_EXPORTER}")
