"""Karpenter's controller: version, identity, chart and names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal

from karpenter_gpu.compat import DEFAULT_KARPENTER
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings import rest
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import (
    ROLE_ARN,
    DnsLabel,
    Duration,
    Many,
    default,
    karpenter_duration,
    key_arn_faults,
)
from karpenter_gpu.settings.chart import value_faults
from karpenter_gpu.versions import Minor, Version

PUBLIC_CHARTS: Final = "oci://public.ecr.aws/karpenter"

# AWS: an IAM role name has at most 64 characters.
ROLE_NAME_LIMIT: Final = 64

# CloudFormation waits for a custom resource for an hour at most, and the last looks can take minutes.
LONGEST_DRAIN: Final = timedelta(minutes=55)
# Which leaves EC2 ten minutes for what is terminated then.
LONGEST_BEFORE_TERMINATION: Final = timedelta(minutes=45)

FAIL: Final = "fail"
TERMINATE: Final = "terminate"

# The name that Karpenter's chart gives its service account, and that the controller role's trust names.
SERVICE_ACCOUNT: Final = "karpenter"

IRSA: Final = "irsa"
POD_IDENTITY: Final = "pod-identity"

Identity = Literal["irsa", "pod-identity"]


@setting
class FeatureGates:
    """Karpenter's feature gates; one left out keeps the default of the chart's version.

    Args:
        spot_to_spot_consolidation: Replace spot nodes by cheaper spot nodes.

        node_repair: Replace nodes whose conditions say they are broken (1.1).

        reserved_capacity: Use reservations (1.3; on from 1.6); set by pools that have some. Off, instances may use open
            reservations without being told to, as EC2 has it by itself.

        node_overlay: Correct what Karpenter believes of instance types (1.7); fractional GPUs need it.

        static_capacity: NodePools of a fixed size (1.8).

        capacity_buffer: Spare capacity ahead of demand (1.14).

        terminate_first_drift: Empty a full reservation before replacing a drifted node (1.15).

        terminate_first_repair: The same for a broken node (1.15).

        pod_deletion_cost_management: Mark pods so that the right ones go first (1.15).

        node_class_cel: Expressions in an EC2NodeClass's kubelet settings (1.15).

        reboot_for_repair: Reboot a broken node before replacing it (1.15); the controller may then reboot instances.

        dra_nvidia_gpu: Know the NVIDIA devices a new node would offer to resource claims (1.15).

        dra_efa: The same for EFA devices (1.15).

    Source: karpenter-provider-aws charts/karpenter/values.yaml of every minor.
    """

    spot_to_spot_consolidation: bool | None = None
    node_repair: bool | None = None
    reserved_capacity: bool | None = None
    node_overlay: bool | None = None
    static_capacity: bool | None = None
    capacity_buffer: bool | None = None
    terminate_first_drift: bool | None = None
    terminate_first_repair: bool | None = None
    pod_deletion_cost_management: bool | None = None
    node_class_cel: bool | None = None
    reboot_for_repair: bool | None = None
    dra_nvidia_gpu: bool | None = None
    dra_efa: bool | None = None

    def chosen(self) -> dict[str, bool]:
        """The gates a user has set."""
        said = {gate.name: getattr(self, gate.name) for gate in fields(self)}
        return {gate: value for gate, value in said.items() if value is not None}


@setting
class KarpenterSettings:
    """The controller that launches and removes nodes.

    Args:
        version: A release of Karpenter 1.x; its IAM policy, event rules, chart values and fields follow from it.

        namespace: Where the controller runs. One that is not there is made, and stays at a destroy.

        identity: `irsa`, or `pod-identity`, which needs the EKS Pod Identity agent on the system nodes.

        charts: The OCI location under which the charts `karpenter-crd` and `karpenter` lie; name a mirror here.

        feature_gates: Default: the chart's defaults.

        values: Helm values for the `karpenter` chart, merged deeply over this package's own: mappings are joined,
            anything else replaces, and `null` removes a default of this package. What Helm would drop (`false` or 0 under
            `settings`) is carried as text. Keys are held against the chart of the version.

        node_role_name: Default: `KarpenterNodeRole-<cluster>`. IAM names are global: two clusters of one name in
            two regions of an account need other names.

        node_role_arn: An existing node role, which nodes keep; nothing is attached to it. Default: one is
            made.

        controller_role_name: Default: `KarpenterControllerRole-<cluster>`.

        role_path: IAM path of the roles that are made.

        adopt: Take over the Karpenter that is on the cluster already, with its NodePools and without replacing a node, and
            leave its CRDs when the stack goes. Leave it on from then on. Off, a deployment that finds one fails and says so.

        on_fargate: Run the controller on Fargate: a profile for the namespace must be there, and where there are no other
            nodes, one for CoreDNS, too, without which GPU pods have no DNS. The controller asks the VPC's DNS, because
            CoreDNS may be waiting for its nodes, and gets its role by `irsa`.

        drain_timeout: How long a destroy waits for the pools' instances to be gone, before it gives up and names
            those that are left, and why. At most 55 minutes.

        on_drain_timeout: What a destroy does then: `fail`, and keep what Karpenter needs to finish, or `terminate` the
            instances with their pods; `drain_timeout` is at most 45 minutes then.

        isolated: The VPC has no way out but endpoints (docs/private-networks.md): the stack makes the nodes' instance
            profile, which Karpenter could not, Karpenter takes its prices from its own list, and a `NewVpc` has the
            endpoints instead of NAT gateways. Charts and images must then come from mirrors inside AWS.

        instance_profile: Name of an existing instance profile, for accounts in which Karpenter may make none; its role
            is `node_role_arn`. Default: Karpenter makes one a pool.

        volume_key_arn: Customer-managed KMS key of the pools' volumes, which the controller may then use. Say it also
            where the account's default key for EBS is such a key. Its policy must let EC2 use it, and for spot its
            service-linked role (docs/volume-keys.md). Default: the account's key for EBS.

        controller_statements: IAM statements for the controller's role, beside upstream's.

        node_statements: IAM statements for the node role that is made; GPU pods with host network have them too.
    """

    version: str = str(DEFAULT_KARPENTER)
    namespace: DnsLabel = "kube-system"
    identity: Identity = IRSA
    charts: str = PUBLIC_CHARTS
    feature_gates: FeatureGates = FeatureGates()
    values: Mapping[str, Any] = field(default_factory=dict)
    node_role_name: str | None = None
    node_role_arn: str | None = None
    controller_role_name: str | None = None
    role_path: str = "/"
    adopt: bool = False
    on_fargate: bool = False
    drain_timeout: Duration = default(timedelta(minutes=45))
    isolated: bool = False
    instance_profile: str | None = None
    volume_key_arn: str | None = None
    controller_statements: Many[Mapping[str, Any]] = default(())
    node_statements: Many[Mapping[str, Any]] = default(())
    on_drain_timeout: Literal["fail", "terminate"] = FAIL

    one_by_one: ClassVar[bool] = True

    def check(self) -> Iterator[Fault]:
        try:
            Version.parse(self.version)
        except ValueError as error:
            yield Fault("version", str(error))
        if not re.fullmatch(r"oci://[^/\s]+(/[^/\s]+)*", self.charts):
            yield Fault("charts", f"{self.charts!r} is not an OCI location; write it as in {PUBLIC_CHARTS}")
        if not re.fullmatch(r"/([\x21-\x7e]+/)?", self.role_path) or len(self.role_path) > 512:
            yield Fault(
                "role_path", f"{self.role_path!r} is not an IAM path; begin and end it with '/', as in /platform/"
            )
        for name in ("node_role_name", "controller_role_name"):
            yield from role_name_faults(name, getattr(self, name))
        yield from self._node_role_faults()
        if not timedelta(minutes=1) <= self.drain_timeout <= LONGEST_DRAIN:
            yield Fault(
                "drain_timeout",
                f"{karpenter_duration(self.drain_timeout)} is not between 1m and 58m, which is what CloudFormation waits for",
            )
        if self.on_drain_timeout == TERMINATE and LONGEST_BEFORE_TERMINATION < self.drain_timeout <= LONGEST_DRAIN:
            yield Fault(
                "drain_timeout",
                f"{karpenter_duration(self.drain_timeout)} leaves no time to terminate what is left within the hour that "
                "CloudFormation waits; give at most 45m, or on_drain_timeout 'fail'",
            )
        yield from (fault.under("values") for fault in value_faults(self.values, self._line))
        yield from self._profile_faults()
        yield from key_arn_faults("volume_key_arn", self.volume_key_arn)
        yield from rest.statement_faults("controller_statements", self.controller_statements)
        yield from rest.statement_faults("node_statements", self.node_statements)
        if self.node_statements and self.node_role_arn:
            yield Fault(
                "node_statements", "are given with node_role_arn, a role to which nothing is attached; leave one out"
            )

    def _node_role_faults(self) -> Iterator[Fault]:
        if self.node_role_arn is not None and not re.fullmatch(ROLE_ARN, self.node_role_arn):
            yield Fault(
                "node_role_arn",
                f"{self.node_role_arn!r} is not the ARN of an IAM role, as in arn:aws:iam::111122223333:role/nodes",
            )
        if self.node_role_arn is not None and self.node_role_name is not None:
            yield Fault(
                "node_role_name",
                f"{self.node_role_name!r} names a role to create, and node_role_arn names an existing one; give one of the two",
            )

    def _profile_faults(self) -> Iterator[Fault]:
        if self.instance_profile is None:
            return
        # IAM API reference, CreateInstanceProfile.
        if not re.fullmatch(r"[A-Za-z0-9_+=,.@-]{1,128}", self.instance_profile):
            yield Fault(
                "instance_profile", f"{self.instance_profile!r} is not the name of an instance profile, as in nodes"
            )
        if self.node_role_arn is None:
            yield Fault(
                "instance_profile",
                f"{self.instance_profile!r} has a role, and nothing says which must be let into the cluster; give it as "
                "node_role_arn",
            )

    @property
    def _line(self) -> Minor | None:
        """The minor whose chart is installed; None while the version cannot be read."""
        try:
            return self.release.line
        except ValueError:
            return None

    @property
    def release(self) -> Version:
        """The version, parsed."""
        return Version.parse(self.version)


def role_name_faults(where: str, name: str | None) -> Iterator[Fault]:
    """The faults of a role name that a user has chosen, or that follows from the cluster's."""
    if name is None:
        return
    if len(name) > ROLE_NAME_LIMIT:
        yield Fault(
            where,
            f"{name!r} has {len(name)} characters, and IAM takes {ROLE_NAME_LIMIT} for a role's name; choose a shorter one",
        )
    if not re.fullmatch(r"[A-Za-z0-9_+=,.@-]+", name):
        yield Fault(where, f"{name!r} is not a name IAM takes for a role; use letters, digits and +=,.@_-")
