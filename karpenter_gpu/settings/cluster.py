"""The EKS cluster that a platform stands on, and the network under it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, Tag

from karpenter_gpu import instance_types as ec2
from karpenter_gpu.compat import DEFAULT_KUBERNETES
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import (
    ClusterName,
    Distinct,
    case_by_key,
    default,
    document_faults,
    is_ec2_id,
    key_arn_faults,
)
from karpenter_gpu.settings.existing import ExistingCluster, IpFamily
from karpenter_gpu.versions import Minor

ANYWHERE: Final = "0.0.0.0/0"
_PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
# The add-ons of a cluster made here; the last one only where the controller has its role by Pod Identity.
ADDONS: Final = ("vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent")

# What CloudWatch Logs takes. Source: API reference, PutRetentionPolicy.
LogDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
]
ControlPlaneLog = Literal["api", "audit", "authenticator", "controllerManager", "scheduler"]

# A kubelet may be this many minors older than the API server, since Kubernetes 1.28: version-skew-policy.
_KUBELET_SKEW: Final = 3
_ACCELERATED: Final = frozenset({"g", "gr", "p", "inf", "trn", "dl", "vt", "f"})


def _cidr_faults(where: str, text: str) -> Iterator[Fault]:
    """The fault of a text that is not an IPv4 range."""
    if not re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text):
        yield Fault(where, f"{text!r} is not an IPv4 range; write it as in 203.0.113.0/24")
        return
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        yield Fault(where, f"{text!r} is not an IPv4 range: {error}; write it as in 203.0.113.0/24")


def _minor_faults(where: str, text: str) -> Iterator[Fault]:
    """The fault of a text that is not a Kubernetes minor."""
    try:
        Minor.parse(text)
    except ValueError as error:
        yield Fault(where, f"{error}; EKS takes the minor alone")


def _vpc_id(text: str) -> str:
    if not is_ec2_id("vpc", text):
        raise ValueError(f"{text!r} is not the id of a VPC; ids look like vpc-0123456789abcdef0")
    return text


@setting
class NewVpc:
    """A VPC made for the cluster: a public and a private subnet a zone; nodes live in the private ones.

    Args:
        cidr: The IPv4 range, /16 to /20.

        availability_zones: Zone names. Default: the region's first three (two in us-west-1). EKS never lets a cluster
            change its zones, so name them from the beginning where the first three do not do: EKS keeps away from
            use1-az3, usw1-az2 and cac1-az3, and a pool's `zones` need them named.

        nat_gateways: One serves all zones; one a zone keeps the others working when a zone is lost, and costs as
            many times. With `karpenter.isolated` there is none, whatever stands here.

        flow_logs: Record the VPC's traffic in CloudWatch Logs for a month.
    """

    cidr: str = "10.0.0.0/16"
    availability_zones: Distinct[str] = default(())
    nat_gateways: Annotated[int, Field(ge=1)] = 1
    flow_logs: bool = True

    def check(self) -> Iterator[Fault]:
        faults = tuple(_cidr_faults("cidr", self.cidr))
        yield from faults
        if not faults and not 16 <= ipaddress.ip_network(self.cidr).prefixlen <= 20:
            yield Fault("cidr", f"{self.cidr} leaves the wrong number of addresses; use a /16 to a /20")
        if len(self.availability_zones) == 1:
            yield Fault("availability_zones", "EKS needs subnets in two zones at least; name another")


@setting
class ExistingVpc:
    """A VPC that is already there, by ids; nothing in it is tagged, and the pools select its subnets by id.

    Args:
        vpc_id: `vpc-…`.

        availability_zones: The zones of the private subnets, in their order.

        private_subnet_ids: Where the control plane's interfaces, the system nodes and the GPU nodes go. They need a
            way out to AWS: a NAT gateway or, with `karpenter.isolated`, the endpoints of docs/private-networks.md.

        public_subnet_ids: For load balancers, in the zones' order. Default: none.
    """

    vpc_id: Annotated[str, AfterValidator(_vpc_id)]
    availability_zones: Annotated[Distinct[str], Field(min_length=2)]
    private_subnet_ids: Annotated[Distinct[str], Field(min_length=2)]
    public_subnet_ids: Distinct[str] = default(())

    def check(self) -> Iterator[Fault]:
        zones = len(self.availability_zones)
        for name, ids in (
            ("private_subnet_ids", self.private_subnet_ids),
            ("public_subnet_ids", self.public_subnet_ids),
        ):
            for subnet in ids:
                if not is_ec2_id("subnet", subnet):
                    yield Fault(name, f"{subnet!r} is not the id of a subnet; ids look like subnet-0123456789abcdef0")
            if len(ids) % zones:
                yield Fault(name, f"{len(ids)} subnets do not fit {zones} zones; give as many for each zone")


_NETWORKS: dict[str, type[Any]] = {"vpc_id": ExistingVpc, "cidr": NewVpc}

Network = Annotated[
    Annotated[NewVpc, Tag("NewVpc")] | Annotated[ExistingVpc, Tag("ExistingVpc")], case_by_key(_NETWORKS, NewVpc)
]


@setting
class SystemNodes:
    """The managed node group for what must run before any GPU node: Karpenter's controller, CoreDNS and friends.

    Args:
        instance_types: amd64 types with 2 vCPUs at least; the first that is available is used.

        count: Two at least, because the controller runs twice, on different hosts.

        disk_gib: Of the encrypted gp3 root volume.

        volume_key_arn: Customer-managed KMS key of that volume; its policy must let the service-linked role of EC2 Auto
            Scaling use it (docs/volume-keys.md). Default: the account's key for EBS.

        kubernetes_version: The minor of the nodes, at most three older than the cluster's and never newer. Say it for
            the time of an upgrade, so that the control plane goes first (docs/upgrades.md). Default: the cluster's.

        release_version: The image, as EKS names it, `1.36.2-20261112`; another one replaces the nodes. Default: the
            newest when the node group is made, which then stays.
    """

    instance_types: Annotated[Distinct[str], Field(min_length=1)] = default(("m6i.large",))
    count: Annotated[int, Field(ge=2, le=100)] = 2
    disk_gib: Annotated[int, Field(ge=20, le=65536)] = 50
    volume_key_arn: str | None = None
    kubernetes_version: str | None = None
    release_version: str | None = None

    def check(self) -> Iterator[Fault]:
        yield from self._type_faults()
        yield from key_arn_faults("volume_key_arn", self.volume_key_arn)
        if self.kubernetes_version is not None:
            yield from _minor_faults("kubernetes_version", self.kubernetes_version)
        if self.release_version is not None and not re.fullmatch(r"1\.[0-9]+\.[0-9]+-[0-9]{8}", self.release_version):
            yield Fault(
                "release_version",
                f"{self.release_version!r} is not a release of EKS's images; they look like 1.36.2-20261112",
            )

    def _type_faults(self) -> Iterator[Fault]:
        for name in self.instance_types:
            family, _, size = name.partition(".")
            found = re.fullmatch(r"([a-z]+)[0-9]+([a-z]*)(-[a-z0-9]+)*", family)
            if not found or not re.fullmatch(r"[a-z0-9-]+", size):
                yield Fault("instance_types", f"{name!r} is not an instance type; types look like m6i.large")
            elif size in {"nano", "micro", "small"}:
                yield Fault(
                    "instance_types",
                    f"{name!r} is too small for the controller, which asks for 1 CPU and 1 GiB; use m6i.large, say",
                )
            elif found[1] in _ACCELERATED:
                yield Fault(
                    "instance_types",
                    f"{name!r} has an accelerator, and the system nodes' image has no driver; use m6i.large, say",
                )
            elif "g" in found[2]:
                yield Fault(
                    "instance_types",
                    f"{name!r} is an arm64 type, and the system nodes' image is amd64; use m6i.large, say",
                )
            elif ec2.is_one(name) is False:
                yield Fault(
                    "instance_types", f"{name!r} is not an instance type; did you mean {' or '.join(ec2.near(name))}?"
                )


@setting
class NewCluster:
    """An EKS cluster made by the stack.

    Args:
        name: Literal text: it stands inside IAM condition keys. Another name is another cluster, and the stack does not go
            over to it while the old one has GPU nodes.

        kubernetes_version: The minor, `1.36`.

        allow_unsupported_kubernetes: Synthesize for a Kubernetes that EKS no longer creates, with a warning instead
            of an error; for reading the template, or for the rehearsal.

        network: Default: a new VPC.

        ip_family: `ipv6` gives pods and services IPv6 addresses; it cannot be changed later.

        public_access_cidrs: Who may reach the API server from outside the VPC. An empty list closes the public
            endpoint; the private one is always open. Default: anyone may reach it, and must still authenticate.

        admins: ARNs of IAM roles or users who get cluster-admin. Default: a role is made that any principal of the
            account with `sts:AssumeRole` on it can take, and the outputs show how.

        system_nodes: Default: two m6i.large.

        secrets_key_arn: KMS key that encrypts Kubernetes secrets. Default: one is made, and goes with the stack.

        upgrade_policy: At the end of standard support, `STANDARD` has EKS upgrade the control plane by itself, and
            `EXTENDED` keeps the version for another year at six times the price ($0.60 an hour instead of $0.10).

        deletion_protection: EKS refuses to delete the cluster, and so does a destroy, until it is off again.

        control_plane_logs: `api`, `audit`, `authenticator`, `controllerManager` and `scheduler`, sent to the log group
            `/aws/eks/<name>/cluster`. The audit log is nearly all of what they cost.

        control_plane_log_days: How long they are kept. The log group is made by the stack and goes with it; a group of
            that name that an earlier cluster has left must be deleted first. `None` leaves the group to EKS, which
            keeps logs for ever.

        functions_in_vpc: Whether every function of the stack runs in the private subnets, for accounts that allow functions
            in a VPC alone. Default: those alone that ask the cluster, where a private endpoint answers them.

        addon_values: Configuration values by add-on, `{"vpc-cni": {"env": {"ENABLE_PREFIX_DELEGATION": "true"}}}`;
            `aws eks describe-addon-configuration` shows what an add-on takes.
    """

    name: ClusterName
    kubernetes_version: str = str(DEFAULT_KUBERNETES)
    allow_unsupported_kubernetes: bool = False
    network: Network = NewVpc()
    ip_family: IpFamily = "ipv4"
    public_access_cidrs: Annotated[Distinct[str], Field(max_length=40)] = default((ANYWHERE,))
    admins: Distinct[str] = default(())
    system_nodes: SystemNodes = SystemNodes()
    secrets_key_arn: str | None = None
    upgrade_policy: Literal["STANDARD", "EXTENDED"] = "STANDARD"
    deletion_protection: bool = False
    control_plane_logs: Distinct[ControlPlaneLog] = default(("api", "authenticator", "controllerManager", "scheduler"))
    control_plane_log_days: LogDays | None = 30
    functions_in_vpc: bool = False
    addon_values: Mapping[str, Any] = field(default_factory=dict)

    one_by_one: ClassVar[bool] = True

    def check(self) -> Iterator[Fault]:
        yield from _minor_faults("kubernetes_version", self.kubernetes_version)
        yield from self._system_node_faults()
        yield from self._addon_faults()
        for cidr in self.public_access_cidrs:
            faults = tuple(_cidr_faults("public_access_cidrs", cidr))
            yield from faults
            if not faults and any(ipaddress.IPv4Network(cidr).subnet_of(private) for private in _PRIVATE):
                yield Fault(
                    "public_access_cidrs",
                    f"{cidr} is a private range, from which nothing reaches the public endpoint; leave it out",
                )
        for arn in self.admins:
            if not re.fullmatch(r"arn:[A-Za-z0-9_-]+:iam::[0-9]{12}:(role|user)/.+", arn):
                yield Fault(
                    "admins", f"{arn!r} is not the ARN of an IAM role or user, as in arn:aws:iam::111122223333:role/ops"
                )
        yield from key_arn_faults("secrets_key_arn", self.secrets_key_arn)
        if self.ip_family == "ipv6" and isinstance(self.network, NewVpc) is False:
            yield Fault(
                "ip_family",
                "ipv6 needs subnets with IPv6 ranges, which cannot be seen in a VPC given by ids; leave network out",
            )

    def _system_node_faults(self) -> Iterator[Fault]:
        """Nodes follow their control plane: Kubernetes' version-skew-policy, EKS user guide "Update existing cluster"."""
        given, release = self.system_nodes.kubernetes_version, self.system_nodes.release_version
        minors = [text for text in (self.kubernetes_version, given) if text is not None]
        if any(True for text in minors for _ in _minor_faults("", text)):
            return
        nodes = Minor.parse(minors[-1])
        if nodes > self.kubernetes:
            yield Fault(
                "system_nodes.kubernetes_version",
                f"{nodes} is newer than the control plane's {self.kubernetes}, and a kubelet must never be; upgrade the "
                "control plane first",
            )
        elif nodes < Minor(self.kubernetes.major, self.kubernetes.minor - _KUBELET_SKEW):
            yield Fault(
                "system_nodes.kubernetes_version",
                f"{nodes} is more than {_KUBELET_SKEW} minors older than the control plane's {self.kubernetes}; upgrade the "
                "nodes first",
            )
        if release is not None and not release.startswith(f"{nodes}."):
            yield Fault(
                "system_nodes.release_version",
                f"{release} is not an image for the nodes' Kubernetes {nodes}; use a release of that, or leave it out",
            )

    def _addon_faults(self) -> Iterator[Fault]:
        for name, values in self.addon_values.items():
            if name not in ADDONS:
                yield Fault("addon_values", f"{name!r} is not an add-on of this stack; there are {', '.join(ADDONS)}")
            elif not isinstance(values, Mapping):
                yield Fault(f"addon_values.{name}", f"{values!r} is not a mapping of the add-on's values")
            else:
                yield from (fault.under(f"addon_values.{name}") for fault in document_faults(values))

    @property
    def kubernetes(self) -> Minor:
        """The version, parsed."""
        return Minor.parse(self.kubernetes_version)


_CLUSTERS: dict[str, type[Any]] = {"existing": ExistingCluster}

Cluster = Annotated[
    Annotated[NewCluster, Tag("NewCluster")] | Annotated[ExistingCluster, Tag("ExistingCluster")],
    case_by_key(_CLUSTERS, NewCluster),
]
