"""A pool of GPU nodes: what Karpenter may launch, how much of it, and when it goes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from karpenter_gpu import gpus, labels
from karpenter_gpu.compat import BOTTLEROCKET_FAST_NVME_SINCE, DEFAULT_AMI_ALIAS
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings import reservations, rest
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import (
    NEVER,
    Distinct,
    DnsLabel,
    DurationOrNever,
    LabelKey,
    LabelValue,
    Many,
    OptionalDuration,
    default,
    is_ec2_id,
)
from karpenter_gpu.settings.ami import Ami, AmiAlias
from karpenter_gpu.settings.cron import cron_problem
from karpenter_gpu.settings.kubelet import Kubelet
from karpenter_gpu.settings.reservations import NewReservation, Reservation, ReservationById
from karpenter_gpu.settings.sharing import AnySharing, sharing_faults
from karpenter_gpu.settings.user_data import user_data_faults
from karpenter_gpu.versions import Version

SPOT: Final = "spot"
ON_DEMAND: Final = "on-demand"

CapacityType = Literal["reserved", "spot", "on-demand"]
Architecture = Literal["amd64", "arm64"]
TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
ConsolidationPolicy = Literal["WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced"]
DisruptionReason = Literal["Underutilized", "Empty", "Drifted", "Unhealthy"]
InstanceStorePolicy = Literal["RAID0"]


@setting
class Taint:
    """A taint; in a GPU pool, in addition to `nvidia.com/gpu=true:NoSchedule`.

    Args:
        key: The taint's key.

        effect: Kubernetes' word for what happens to pods that do not tolerate it.

        value: Default: empty.
    """

    key: LabelKey
    effect: TaintEffect = "NoSchedule"
    value: LabelValue = ""


@setting
class Budget:
    """How many of a pool's nodes Karpenter may disrupt at once, of its own accord.

    Args:
        nodes: A number of nodes or a share, `"2"` or `"10%"`; a share is rounded up, and `"0"` stops disruption.

        reasons: The reasons it limits. Default: all of them.

        schedule: When it begins to hold, as a cron line in UTC or `@daily`. Default: always. Karpenter takes a line
            it cannot read for "no disruption, ever", and says nothing; so it is read here.

        duration: How long it holds from then, in whole minutes. Given with `schedule`, and only with it.

    Source: karpenter core pkg/apis/v1/nodepool.go (Budget, IsActive); NodePool CRD.
    """

    nodes: str
    reasons: Distinct[DisruptionReason] = default(())
    schedule: str | None = None
    duration: OptionalDuration = default(None)

    def check(self) -> Iterator[Fault]:
        if not re.fullmatch(r"(100|[0-9]{1,2})%|[0-9]+", self.nodes):
            yield Fault("nodes", f"{self.nodes!r} is not a budget; use a number like '2' or a share like '10%'")
        if (self.schedule is None) != (self.duration is None):
            given = "schedule" if self.duration is None else "duration"
            missing = "duration" if self.duration is None else "schedule"
            yield Fault("", f"{given} is given without {missing}, and Karpenter takes both or neither; add {missing}")
        if self.duration is not None and self.duration % timedelta(minutes=1):
            yield Fault("duration", f"{self.duration} is not whole minutes, which is all a budget takes")
        if self.schedule is not None and (problem := cron_problem(self.schedule)):
            yield Fault("schedule", f"{self.schedule!r} is not a schedule Karpenter can read: {problem}")


# Sources: CreateVolume of EC2 2016-11-15 in botocore 1.44.5 for the limits, the Amazon EBS user guide for what goes with what;
# the size is the most that the EC2NodeClass CRD lets by, which is less than EC2's 65,536.
_GP3_MOST_GIB: Final = 59_000
_GP3_MOST_IOPS: Final = 80_000
_GP3_MOST_MIB: Final = 2_000
_GP3_IOPS: Final = 3000
_GP3_IOPS_PER_GIB: Final = 500
_GP3_IOPS_PER_MIB: Final = 4
# What a parallel pull needs, and the baseline's iops carry. Source: amazon-eks-ami nodeadm/doc/examples.md.
_FAST_MIB: Final = 600


@setting
class RootVolume:
    """The disk that holds images and containers, unless the instance's own NVMe does.

    It is always gp3, encrypted with the account's key for EBS, and deleted with the node.

    Args:
        size_gib: At least 20. Below 100, model images commonly do not fit, and synthesis warns.

        iops: Default: gp3's baseline, 3,000.

        throughput_mib: MiB a second. Default: gp3's baseline, 125.
    """

    size_gib: Annotated[int, Field(ge=20, le=_GP3_MOST_GIB)] = 100
    iops: Annotated[int | None, Field(ge=3000, le=_GP3_MOST_IOPS)] = None
    throughput_mib: Annotated[int | None, Field(ge=125, le=_GP3_MOST_MIB)] = None

    def check(self) -> Iterator[Fault]:
        iops = self.iops or _GP3_IOPS
        if iops > max(_GP3_IOPS, self.size_gib * _GP3_IOPS_PER_GIB):
            yield Fault(
                "iops",
                f"{iops} are more than gp3 gives {self.size_gib} GiB, which is {_GP3_IOPS_PER_GIB} a GiB; use a larger volume",
            )
        needed = (self.throughput_mib or 0) * _GP3_IOPS_PER_MIB
        if needed > iops:
            yield Fault(
                "throughput_mib", f"{self.throughput_mib} needs {needed} iops on gp3, and there are {iops}; raise iops"
            )


def _known(known: Collection[str], what: str) -> AfterValidator:
    """Accepts only names of the catalogue."""

    def check(given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:8]
                why = gpus.why_not(name) or f"is not {what}"
                raise ValueError(f"{name!r} {why}; did you mean {' or '.join(near)}?")
        return given

    return AfterValidator(check)


@setting
class Pool:
    """What every pool of nodes has: a NodePool and the EC2NodeClass under it, both of one name.

    Args:
        name: A DNS label, and the name of both Kubernetes objects.

        architecture: `amd64`, or `arm64` for Graviton, which of GPU types g5g has.

        capacity_types: Tried in the order reserved, spot, on-demand, whatever the order here. `reserved` needs
            Karpenter 1.3. A pod that selects one of them never gets another.

        zones: Zone names of the stack's region. Default: every zone with a node subnet.

        weight: 1 to 100; the pool with the greater weight is tried first. Default: 0.

        labels: Put on every node.

        taints: In a GPU pool in addition to the GPU taint.

        ami: Default: AL2023 at a pinned release, with NVIDIA's driver on GPU instances.

        root_volume: Default: 100 GiB.

        instance_store_policy: `RAID0` makes the instance's NVMe the disk for images and pods. Default: it is unused, but for
            a GPU pool's `fast_start`.

        user_data: What the image is told at boot, beside what Karpenter and this package tell it: for AL2023 a MIME document,
            a NodeConfig or a shell script, for AL2 a MIME document or a shell script, for Bottlerocket TOML.

        http_put_response_hop_limit: Of IMDSv2, which is required. 1 keeps pods without host network away from it.

        consolidation_policy: `WhenEmpty` never moves a running pod.

        consolidate_after: How long a node must be empty (or underutilized) first.

        budgets: Default: Karpenter's own, 10% of the nodes, rounded up.

        expire_after: Age at which a node is drained, ready or not. Default: never (Karpenter's own default is 720h).

        termination_grace_period: The most time a drain may take, after which pods are deleted whatever protects them.
            Default: no end, so a pod that may not be evicted keeps its node, and its bill.

        tags: Put on instances, volumes and launch templates, beside the stack's own. Other tags replace the nodes.

        startup_taints: Taints that something else takes off once a node is ready for pods: a CNI, a driver, a storage
            plugin. Karpenter does not wait for pods to tolerate them. A taint under `taints` that nobody tolerates
            keeps a node empty for ever.

        subnet_ids: Where the pool's nodes go. Default: where all nodes of the cluster go.

        kubelet: Settings of the kubelet. Default: the image's own.

        class_spec: Fields of the EC2NodeClass's spec that have no setting here, as Karpenter has them, merged deeply:
            `{"detailedMonitoring": true}`.

        pool_spec: The same for the NodePool's spec. `template.spec.requirements` are added to the pool's own:
            `{"limits": {"cpu": "512"}}`.

    Sources: NodePool and EC2NodeClass CRDs; karpenter-provider-aws website concepts/nodepools.md, nodeclasses.md.
    """

    name: DnsLabel
    architecture: Architecture = "amd64"
    capacity_types: Annotated[Distinct[CapacityType], Field(min_length=1)] = default((SPOT, ON_DEMAND))
    zones: Distinct[str] = default(())
    weight: Annotated[int | None, Field(ge=1, le=100)] = None
    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    taints: Many[Taint] = default(())
    ami: Ami = AmiAlias(alias=DEFAULT_AMI_ALIAS)
    root_volume: RootVolume = RootVolume()
    instance_store_policy: InstanceStorePolicy | None = None
    user_data: Annotated[str | None, Field(min_length=1)] = None
    http_put_response_hop_limit: Annotated[int, Field(ge=1, le=64)] = 1
    consolidation_policy: ConsolidationPolicy = "WhenEmpty"
    consolidate_after: DurationOrNever = default(timedelta(minutes=1))
    budgets: Annotated[Many[Budget], Field(max_length=50)] = default(())
    expire_after: DurationOrNever = default(NEVER)
    termination_grace_period: OptionalDuration = default(None)
    tags: Mapping[str, str] = field(default_factory=dict)
    startup_taints: Many[Taint] = default(())
    subnet_ids: Distinct[str] = default(())
    kubelet: Kubelet = Kubelet()
    class_spec: Mapping[str, Any] = field(default_factory=dict)
    pool_spec: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> Iterator[Fault]:
        yield from self._reserved_names()
        yield from self._node_faults()
        if self.expire_after == timedelta(0):
            yield Fault("expire_after", "0s would end every node as soon as it exists; give an age, or 'Never'")

    @property
    def own_taints(self) -> tuple[Mapping[str, str], ...]:
        """What every such pool is tainted with."""
        return ()

    @property
    def own_spec(self) -> Mapping[tuple[str, ...], str]:
        """What else of its NodePool follows from its settings, and which."""
        return {}

    @property
    def type_names(self) -> frozenset[str] | None:
        """The instance types it may launch; None where they are not listed."""
        return None

    @property
    def placed(self) -> tuple[tuple[str, str], ...]:
        """Every zone that the pool names, each behind the setting that does."""
        return tuple(("zones", zone) for zone in self.zones)

    @property
    def of_a_region(self) -> Mapping[str, str]:
        """What only one region has, by the setting that names it."""
        return {"zones": ", ".join(self.zones), "subnet_ids": ", ".join(self.subnet_ids)}

    @property
    def disk(self) -> RootVolume:
        """The disk for images."""
        return self.root_volume

    @property
    def storage_policy(self) -> InstanceStorePolicy | None:
        """What the instance's NVMe is for."""
        return self.instance_store_policy

    @property
    def worst_case_usd_per_hour(self) -> float | None:
        """What it costs in an hour when it is full; None where that is not known."""
        return None

    @property
    def user_data_of_settings(self) -> Mapping[str, object]:
        """The settings that write user data, too."""
        return {}

    def _node_faults(self) -> Iterator[Fault]:
        for subnet in self.subnet_ids:
            if not is_ec2_id("subnet", subnet):
                yield Fault(
                    "subnet_ids", f"{subnet!r} is not the id of a subnet; ids look like subnet-0123456789abcdef0"
                )
        if self.kubelet.pods_per_core is not None and self.ami.family == "Bottlerocket":
            yield Fault("kubelet.pods_per_core", "is not taken by Bottlerocket; use kubelet.max_pods")
        if self.user_data is not None:
            own = user_data_faults(self.user_data, self.ami.family, self.user_data_of_settings)
            yield from (fault.under("user_data") for fault in own)
        yield from (fault.under("class_spec") for fault in rest.class_faults(self.class_spec))
        yield from (fault.under("pool_spec") for fault in rest.pool_faults(self.pool_spec, self.own_spec))

    def _reserved_names(self) -> Iterator[Fault]:
        for key in self.labels:
            domain = key.rpartition("/")[0]
            if domain.endswith(("karpenter.sh", "karpenter.k8s.aws")) or key in _OUR_LABELS:
                yield Fault("labels", f"{key!r} belongs to Karpenter or to this package; use a key of your own")
            elif key in _FIXED_LABELS:
                yield from self._label_faults(key)
        seen = {(own["key"], own["effect"]) for own in self.own_taints}
        taints = [("taints", taint) for taint in self.taints]
        for where, taint in [*taints, *(("startup_taints", taint) for taint in self.startup_taints)]:
            if (taint.key, taint.effect) in seen:
                yield Fault(
                    where,
                    f"{taint.key}:{taint.effect} is set already, and Karpenter refuses a pool with the same key and "
                    "effect twice; leave one out",
                )
            seen.add((taint.key, taint.effect))
        yield from tag_faults(self.tags)

    def _label_faults(self, key: str) -> Iterator[Fault]:
        """A label is a requirement too, and one that contradicts those of the pool leaves nothing to launch."""
        ruled: dict[str, tuple[Collection[str], str]] = {
            "architecture": ({self.architecture}, f"architecture {self.architecture}"),
            "types": (
                {self.labels[key]} if self.type_names is None else self.type_names,
                "the instance types that the pool may launch",
            ),
            "linux": ({"linux"}, "the pool's nodes, which run Linux"),
            "windows": (set(), "the pool's nodes, which run Linux"),
        }
        fits, other = ruled[_FIXED_LABELS[key]]
        if self.labels[key] not in fits:
            yield Fault(
                "labels",
                f"{key}={self.labels[key]} contradicts {other}, so that nothing could ever launch; leave the label out",
            )


@setting
class GpuPool(Pool):
    """A NodePool of NVIDIA GPU instances and the EC2NodeClass under it, both of one name.

    What Karpenter may launch is what meets every one of `gpu_names`, `instance_families`, `instance_types`,
    `gpu_counts`, `architecture`, `capacity_types` and `zones`; at least one of the first three is needed, and one of
    the two ceilings.

    Args:
        gpu_names: Karpenter's names: t4, a10g, l4, l40s, h100 and so on. Default: any.

        instance_families: g4dn, g6, p5 and so on. Default: any.

        instance_types: g4dn.xlarge and so on. Default: any.

        gpu_counts: GPUs a node may have, each listed. Default: any number from 1.

        reservations: Reservations that exist and that the pool may use, each by its id, or several by their tags.

        reserve: Reservations that the stack makes for the pool, billed from then on.

        gpu_limit: The most GPUs the pool may hold, whole ones also where they are shared. Karpenter checks it before a launch, so launches made at the
            same moment can exceed it by an instance or so. 0 retires the pool: nothing new is launched, and what runs
            finishes.

        hourly_limit_usd: The most the pool may cost in an hour at the catalogue's on-demand price of us-east-1. It
            becomes a GPU limit by the dearest GPU the pool may launch, so it holds for any mix. With both, the
            smaller counts.

        sharing: How several pods share each GPU (Karpenter 1.7). Default: a GPU is one pod's. To change it, add a pool of another
            name and retire this one: changed in place, it takes the old way from under running pods, and no ceiling holds
            until their nodes are replaced.

        fast_start: Pull and unpack the layers of an image in parallel (AL2023 from v20260512, Bottlerocket from 1.44), onto
            the instance's NVMe where a type has it, else onto a volume of 600 MiB a second, unless `root_volume` says more or
            less.

        image_snapshot: Snapshot with images in it, from which the volume for images begins; Bottlerocket alone. Make it on a
            node of the same `fast_start`.

        image_snapshot_mib: MiB a second, 100 to 300, at which EBS fetches the snapshot (Karpenter 1.5), billed by the GiB for each
            node. Default: as blocks are read, at no certain pace.

    The rest is [every pool](#pool)'s.
    """

    gpu_names: Annotated[Distinct[str], _known(gpus.GPU_NAMES, "an NVIDIA GPU that EC2 offers")] = default(())
    instance_families: Annotated[Distinct[str], _known(gpus.FAMILIES, "a family with NVIDIA GPUs")] = default(())
    instance_types: Annotated[Distinct[str], _known(gpus.BY_NAME, "an instance type with NVIDIA GPUs")] = default(())
    gpu_counts: Distinct[Annotated[int, Field(ge=1)]] = default(())
    reservations: Many[Reservation] = default(())
    reserve: Many[NewReservation] = default(())
    gpu_limit: Annotated[int | None, Field(ge=0, le=100_000)] = None
    hourly_limit_usd: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    sharing: AnySharing | None = None
    fast_start: bool = False
    image_snapshot: str | None = None
    image_snapshot_mib: Annotated[int | None, Field(ge=100, le=300)] = None

    if TYPE_CHECKING:
        # Of settings that take more than they hold, mypy knows in a subclass only what they take.
        capacity_types: Distinct[CapacityType] = default(())
        zones: Distinct[str] = default(())
        taints: Many[Taint] = default(())
        startup_taints: Many[Taint] = default(())
        subnet_ids: Distinct[str] = default(())
        budgets: Many[Budget] = default(())
        consolidate_after: DurationOrNever = default(timedelta(minutes=1))
        expire_after: DurationOrNever = default(NEVER)
        termination_grace_period: OptionalDuration = default(None)

    def check(self) -> Iterator[Fault]:
        yield from Pool.check(self)
        yield from self._start_faults()
        if not (self.gpu_names or self.instance_families or self.instance_types):
            yield Fault("", "selects no GPU type; give gpu_names, instance_families or instance_types")
        elif self.types:
            yield from self._dead_ends()
            if self.sharing is not None:
                yield from sharing_faults(self.sharing, self.types, self.ami.family)
        else:
            yield Fault("", f"no instance type is left that meets {self._constraints}; loosen one of them")
        yield from reservations.faults(self)
        if not self.has_ceiling:
            yield Fault("", "has no ceiling, so one wrong workload could launch without end; give gpu_limit, or "
                        "hourly_limit_usd")  # fmt: skip
        elif self.types and self.gpu_limit != 0:
            yield from self._ceiling()

    @property
    def types(self) -> tuple[gpus.InstanceType, ...]:
        """The instance types the pool may launch.

        A fractional type (g6f, gr6f) is among them only when `instance_families` or `instance_types` names it.
        """
        named = {*self.instance_families, *self.instance_types}
        return tuple(i for i in self._candidates if not i.is_fractional or named & {i.family, i.name})

    @property
    def own_taints(self) -> tuple[Mapping[str, str], ...]:
        return (labels.GPU_TAINT,)

    @property
    def type_names(self) -> frozenset[str] | None:
        return frozenset(i.name for i in self.types)

    @property
    def user_data_of_settings(self) -> Mapping[str, object]:
        return {"sharing": self.sharing, "fast_start": self.fast_start}

    @property
    def has_fractional_types(self) -> bool:
        """True when the pool may launch a type whose GPU EC2 does not count."""
        return any(i.is_fractional for i in self.types)

    @property
    def pods_per_gpu(self) -> int:
        """How many pods a GPU takes that ask for one."""
        return 1 if self.sharing is None else self.sharing.shares_of(self.types[0])

    @property
    def has_ceiling(self) -> bool:
        """Whether a user has stated one, without which there is no pool."""
        return self.gpu_limit is not None or self.hourly_limit_usd is not None

    @property
    def blocks(self) -> tuple[str, ...]:
        """The ids of its Capacity Blocks."""
        return tuple(one.id for one in self.reservations if isinstance(one, ReservationById) and one.capacity_block)

    @property
    def placed(self) -> tuple[tuple[str, str], ...]:
        """Every zone that the pool names, each behind the setting that does."""
        return (*super().placed, *(("reserve", made.zone) for made in self.reserve))

    @property
    def of_a_region(self) -> Mapping[str, str]:
        return {
            **super().of_a_region,
            "reservations": ", ".join(one.id for one in self.reservations if isinstance(one, ReservationById)),
            "reserve": ", ".join(made.zone for made in self.reserve),
            "image_snapshot": self.image_snapshot or "",
        }

    @property
    def effective_gpu_limit(self) -> int:
        """The ceiling in GPUs: the smaller of the two that a user can state."""
        limits = [self.gpu_limit] if self.gpu_limit is not None else []
        if self.hourly_limit_usd is not None and self.gpu_limit != 0:
            limits.append(Fraction(str(self.hourly_limit_usd)) // self._dearest_gpu_usd)
        return min(limits)

    @property
    def worst_case_usd_per_hour(self) -> float | None:
        """What the pool costs in an hour when full of its dearest GPUs; None when a type has no price."""
        if any(i.usd_per_hour is None for i in self.types):
            return None
        return float(round(self.effective_gpu_limit * self._dearest_gpu_usd, 2))

    @property
    def disk(self) -> RootVolume:
        """The disk for images, as fast as they are pulled."""
        on_nvme = self.storage_policy is not None and all(i.nvme_gb for i in self.types) and self._layers_go_to_nvme
        if self.fast_start and self.root_volume.throughput_mib is None and not on_nvme:
            return replace(self.root_volume, throughput_mib=_FAST_MIB)
        return self.root_volume

    @property
    def storage_policy(self) -> InstanceStorePolicy | None:
        """What the instance's NVMe is for; with `fast_start` it is for images, unless they come with a snapshot."""
        has_nvme = any(i.nvme_gb for i in self.types)
        fast = self.fast_start and has_nvme and self.image_snapshot is None
        return "RAID0" if fast else self.instance_store_policy

    @property
    def _layers_go_to_nvme(self) -> bool:
        """Whether the image puts what it pulls in parallel where the NVMe is; not known of an image of one's own."""
        if self.ami.family != "Bottlerocket":
            return True
        release = self.ami.numbered if isinstance(self.ami, AmiAlias) else Version(0, 0, 0)
        return release is None or release >= BOTTLEROCKET_FAST_NVME_SINCE

    @property
    def _candidates(self) -> tuple[gpus.InstanceType, ...]:
        return gpus.matching(
            gpu_names=self.gpu_names,
            families=self.instance_families,
            names=self.instance_types,
            gpu_counts=self.gpu_counts,
            architecture=self.architecture,
        )

    @property
    def _dearest_gpu_usd(self) -> Fraction:
        return max(Fraction(str(i.usd_per_hour or 0)) / i.countable_gpus for i in self.types)

    @property
    def _constraints(self) -> str:
        return self._constraints_but("")

    def _constraints_but(self, one: str) -> str:
        said = {
            "gpu_names": self.gpu_names,
            "instance_families": self.instance_families,
            "instance_types": self.instance_types,
            "gpu_counts": self.gpu_counts,
            "architecture": (self.architecture,),
        }
        return " and ".join(
            f"{name} {', '.join(map(str, values))}" for name, values in said.items() if values and name != one
        )

    def _dead_ends(self) -> Iterator[Fault]:
        """What is listed and can never be launched, because something else here rules it out."""
        for name, reached in (
            ("gpu_names", {i.gpu_name for i in self.types}),
            ("instance_families", {i.family for i in self.types}),
            ("instance_types", {i.name for i in self.types}),
            ("gpu_counts", {i.gpus for i in self.types}),
        ):
            for value in getattr(self, name):
                if value not in reached:
                    yield Fault(
                        name,
                        f"{value} is of no instance type that also meets {self._constraints_but(name)}; leave it out, or "
                        "loosen the other",
                    )

    def _ceiling(self) -> Iterator[Fault]:
        unpriced = [i.name for i in self.types if i.usd_per_hour is None]
        if self.hourly_limit_usd is not None and unpriced:
            yield Fault(
                "hourly_limit_usd",
                f"the price list of {gpus.PRICES_DATED} has no price for {', '.join(unpriced)}, so a limit in money "
                "cannot hold; give gpu_limit instead, or leave those types out",
            )
            return
        smallest = min(self.types, key=lambda i: (i.countable_gpus, i.usd_per_hour or 0.0), default=None)
        if smallest is not None and self.effective_gpu_limit < smallest.countable_gpus:
            said = (
                f"gpu_limit {self.gpu_limit}" if self.hourly_limit_usd is None else f"${self.hourly_limit_usd} an hour"
            )
            price = (
                ""
                if self.hourly_limit_usd is None
                else f", and a GPU here costs up to ${float(self._dearest_gpu_usd):.2f}"
            )
            yield Fault(
                "gpu_limit" if self.hourly_limit_usd is None else "hourly_limit_usd",
                f"{said} is below the pool's smallest instance, {smallest.name} with {smallest.countable_gpus} "
                f"GPU{'s' * (smallest.countable_gpus > 1)}{price}, so nothing could ever launch; raise the ceiling or "
                "choose smaller instances",
            )

    def _start_faults(self) -> Iterator[Fault]:
        # What nodeadm needs to pull in parallel. Source: amazon-eks-ami nodeadm/internal/containerd/config.go, UseSOCISnapshotter.
        small = [i.name for i in self.types if i.vcpus < 4 or i.memory_gib < 8]
        if self.fast_start and self.ami.family == "AL2":
            yield Fault("fast_start", "is nothing that AL2 can do; use an al2023 or bottlerocket alias")
        elif self.fast_start and self.ami.family == "AL2023" and small:
            yield Fault(
                "fast_start",
                f"does nothing on {', '.join(small)}: AL2023 wants 4 vCPUs and 8 GiB for it; leave the type out",
            )
        if self.image_snapshot is None:
            if self.image_snapshot_mib is not None:
                yield Fault("image_snapshot_mib", "is the pace of image_snapshot, which is not given; leave it out")
            return
        where = "image_snapshot"
        if not is_ec2_id("snap", self.image_snapshot):
            yield Fault(
                where, f"{self.image_snapshot!r} is not the id of a snapshot; ids look like snap-0123456789abcdef0"
            )
        if self.ami.family != "Bottlerocket":
            yield Fault(
                where,
                f"is of images alone, and {self.ami.family} keeps them on the volume of its system; use a bottlerocket alias, or "
                "an image of your own with ami.ami_ids",
            )
        elif self.instance_store_policy is not None:
            yield Fault(
                where,
                f"{self.image_snapshot} would be read by nobody: with instance_store_policy images are on the instance's NVMe; "
                "leave one out",
            )


def tag_faults(tags: Mapping[str, str]) -> Iterator[Fault]:
    """What Karpenter or EC2 refuses among tags of instances."""
    for key, value in tags.items():
        if not key or key in _RESTRICTED_TAGS or key.startswith("kubernetes.io/cluster"):
            yield Fault("tags", f"{key!r} is a tag Karpenter keeps for itself; leave it out")
        elif key.lower().startswith("aws:"):
            yield Fault("tags", f"{key!r} begins with aws:, which AWS keeps for itself; use another key")
        elif len(key) > _TAG_KEY_LIMIT or len(value) > _TAG_VALUE_LIMIT:
            yield Fault("tags", f"{key[:40]!r} is too long; EC2 takes 128 characters in a key and 256 in a value")


# Labels that Karpenter takes for a requirement -> what fixes it; an older name of Kubernetes' is taken for today's. Source: sigs.k8s.io/karpenter pkg/apis/v1/labels.go, NormalizedLabels; karpenter-provider-aws pkg/apis/v1/labels.go.
_FIXED_LABELS: Final = {
    labels.ARCH: "architecture",
    "beta.kubernetes.io/arch": "architecture",
    labels.INSTANCE_TYPE: "types",
    "beta.kubernetes.io/instance-type": "types",
    labels.OS: "linux",
    "beta.kubernetes.io/os": "linux",
    labels.WINDOWS_BUILD: "windows",
}
_TAG_KEY_LIMIT: Final = 128
_TAG_VALUE_LIMIT: Final = 256
_OUR_LABELS: Final = frozenset(
    {
        labels.DEVICE_PLUGIN_LABEL,
        labels.HOSTNAME,
        labels.ZONE,
        "failure-domain.beta.kubernetes.io/zone",
        "topology.ebs.csi.aws.com/zone",
    }
)
_RESTRICTED_TAGS: Final = frozenset({labels.EKS_CLUSTER_TAG, labels.NODEPOOL, labels.NODECLAIM, labels.NODECLASS})
