"""What settings demand of each other: each rule a function that yields faults, each warning one that yields sentences."""

from __future__ import annotations

import difflib
import re
import sys
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timezone
from importlib import metadata
from typing import Final

from karpenter_gpu import compat, instance_types, labels
from karpenter_gpu.errors import Fault
from karpenter_gpu.gpus import PRICES_DATED, PRICES_REGION
from karpenter_gpu.settings import gates
from karpenter_gpu.settings.ami import AmiAlias, AmiIds, AmiParameter
from karpenter_gpu.settings.chart import REPLICAS
from karpenter_gpu.settings.cluster import ExistingVpc, NewCluster, NewVpc
from karpenter_gpu.settings.cpu_pool import CpuPool
from karpenter_gpu.settings.device_plugin import DevicePlugin
from karpenter_gpu.settings.existing import ExistingCluster
from karpenter_gpu.settings.health import Health, Metrics
from karpenter_gpu.settings.karpenter import POD_IDENTITY, KarpenterSettings, role_name_faults
from karpenter_gpu.settings.pool import GpuPool, Pool
from karpenter_gpu.settings.reservations import LONGEST_DRAIN_OF_A_BLOCK, ReservationsByTags
from karpenter_gpu.settings.sharing import Sharing
from karpenter_gpu.versions import Minor, Version


def today() -> date:
    """The day by which support dates are judged."""
    return datetime.now(tz=timezone.utc).date()


def kubernetes_can_be_created(cluster: NewCluster, today: date) -> Iterator[Fault]:
    """EKS creates a minor from its release to the end of extended support."""
    row = compat.KUBERNETES.get(cluster.kubernetes)
    known = [str(minor) for minor, row in compat.KUBERNETES.items() if row.released and _is_offered(row, today)]
    if row is None:
        yield Fault(
            "cluster.kubernetes_version",
            f"Kubernetes {cluster.kubernetes} is not in this package's version matrix; use one of {', '.join(known)}",
        )
    elif not _is_offered(row, today) and not cluster.allow_unsupported_kubernetes:
        yield Fault(
            "cluster.kubernetes_version",
            f"EKS has created no clusters of Kubernetes {row.minor} since {row.extended_support_ends}; use one of "
            f"{', '.join(known)}, or set cluster.allow_unsupported_kubernetes to synthesize it all the same",
        )


def support_is_chosen(cluster: NewCluster, today: date) -> Iterator[Fault]:
    """EKS takes `STANDARD` in standard support alone: user guide, "View current cluster upgrade policy"."""
    row = compat.KUBERNETES.get(cluster.kubernetes)
    if row is None or row.standard_support_ends is None or cluster.upgrade_policy == "EXTENDED":
        return
    if row.standard_support_ends < today and _is_offered(row, today):
        yield Fault(
            "cluster.upgrade_policy",
            f"Kubernetes {row.minor} left standard support on {row.standard_support_ends}, so EKS does not take "
            "'STANDARD'; use a newer Kubernetes, or 'EXTENDED', at six times the price of the control plane",
        )


def kubernetes_is_known(cluster: ExistingCluster) -> Iterator[Fault]:
    """Nothing is known of what goes with a Kubernetes that is in no row."""
    if cluster.kubernetes is not None and cluster.kubernetes not in compat.KUBERNETES:
        known = sorted(compat.KUBERNETES)
        way_out = "upgrade the cluster" if cluster.kubernetes < known[0] else "use a later release of this package"
        yield Fault(
            "cluster.kubernetes_version",
            f"{cluster.name!r} runs Kubernetes {cluster.kubernetes}, and this package knows {known[0]} to {known[-1]}; "
            f"{way_out}",
        )


def _is_offered(row: compat.Kubernetes, today: date) -> bool:
    return row.extended_support_ends is None or today <= row.extended_support_ends


def kubectl_layer_is_installed(kubernetes: Minor) -> Iterator[Fault]:
    """The handler that applies manifests and charts needs the kubectl layer of the cluster's minor."""
    package = compat.KUBECTL_LAYERS.get(kubernetes)
    if package is None:
        return
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        yield Fault(
            "cluster.kubernetes_version",
            f"Kubernetes {kubernetes} needs the package {package}, which is not installed; "
            f"run: {sys.executable} -m pip install {package}",
        )


def karpenter_is_known(karpenter: KarpenterSettings) -> Iterator[Fault]:
    """A Karpenter minor is a row; without one there is no policy, no rules and no values for it."""
    release = karpenter.release
    if release.line not in compat.KARPENTER:
        lines = [str(line) for line in compat.KARPENTER]
        yield Fault(
            "karpenter.version",
            f"Karpenter {release} is not in this package's version matrix; use a patch of {lines[0]} to {lines[-1]}",
        )
    elif reason := compat.KARPENTER_WITHDRAWN.get(release):
        newest = compat.KARPENTER[release.line].latest_patch
        yield Fault("karpenter.version", f"Karpenter {release} must not be used: {reason}; use {release.line}.{newest}")


def karpenter_supports(kubernetes: Minor, karpenter: KarpenterSettings) -> Iterator[Fault]:
    """Karpenter itself only logs that it does not know the cluster's Kubernetes, and goes on."""
    row = compat.KARPENTER.get(karpenter.release.line)
    if row is None or kubernetes not in compat.KUBERNETES:
        return
    newest = row.newest_for(karpenter.release.patch)
    if not row.oldest <= kubernetes <= newest:
        fitting = compat.karpenter_patches_for(kubernetes)
        yield Fault(
            "karpenter.version",
            f"Karpenter {karpenter.release} supports Kubernetes {row.oldest} to {newest}, not {kubernetes}; use "
            f"{' or '.join(fitting[-4:])} or a later patch of these, or another Kubernetes",
        )


def gates_exist(karpenter: KarpenterSettings) -> Iterator[Fault]:
    """A gate that a version does not have would be lost in its chart without a word."""
    for setting in karpenter.feature_gates.chosen():
        _, gate, since = compat.FEATURE_GATES[setting]
        if karpenter.release.line < since:
            yield Fault(
                f"karpenter.feature_gates.{setting}",
                f"Karpenter {karpenter.release} has no gate {gate}; it came with {since}, so use that or leave it out",
            )


def role_names_fit(cluster_name: str, karpenter: KarpenterSettings) -> Iterator[Fault]:
    """The names of both roles are made of the cluster's, and IAM's are shorter."""
    for where, given, prefix in (
        ("node_role_name", karpenter.node_role_name, "KarpenterNodeRole"),
        ("controller_role_name", karpenter.controller_role_name, "KarpenterControllerRole"),
    ):
        if given is None and not (where == "node_role_name" and karpenter.node_role_arn):
            for fault in role_name_faults(f"karpenter.{where}", f"{prefix}-{cluster_name}"):
                yield Fault(fault.where, f"{fault.problem}, here or for the cluster")
    if karpenter.node_role_name is not None and karpenter.node_role_name == karpenter.controller_role_name:
        yield Fault(
            "karpenter.node_role_name",
            f"{karpenter.node_role_name!r} is the controller role's name too, and IAM has one role of a name; choose another",
        )


def pool_fits(pool: Pool, kubernetes: Minor, karpenter: KarpenterSettings, region: str | None) -> Iterator[Fault]:
    """What one pool demands of the versions and the region, under `pools.<name>`."""
    rules = [rule(pool, kubernetes, karpenter.release, karpenter) for rule in (_ami_fits, _gates_open, _fields_exist)]
    if isinstance(pool, GpuPool):
        rules += [
            rule(pool, kubernetes, karpenter.release, karpenter)
            for rule in (_nvidia_image_fits, _sharing_fits, _start_fits, _reservations_exist)
        ]
    for found in (*rules, _region_is_known(pool, region)):
        yield from (fault.under(f"pools.{pool.name}") for fault in found)


def _ami_fits(pool: Pool, kubernetes: Minor, _: Version, __: KarpenterSettings) -> Iterator[Fault]:
    ami = pool.ami
    if ami.family == "AL2" and kubernetes > compat.AL2_LAST_KUBERNETES:
        yield Fault(
            "ami",
            f"AL2 has no images for Kubernetes {kubernetes}, the last was {compat.AL2_LAST_KUBERNETES}; use an al2023 "
            "alias",
        )
        return
    if isinstance(ami, AmiParameter):
        yield from _parameter_fits(pool, ami, kubernetes)
    if isinstance(ami, AmiAlias):
        yield from _release_exists(pool, ami, kubernetes)


def _nvidia_image_fits(pool: GpuPool, _: Minor, release: Version, __: KarpenterSettings) -> Iterator[Fault]:
    """Which alias leads to an image for the pool's GPUs."""
    ami = pool.ami
    if not isinstance(ami, AmiAlias):
        return
    if ami.alias_family == "al2023" and release in compat.SWAPPED_AL2023_ALIAS:
        yield Fault(
            "ami.alias",
            f"Karpenter {release} gives NVIDIA instances of an al2023 alias the Neuron image; use Karpenter 1.0.3 or "
            "later, or name the image by id",
        )
    if (
        pool.architecture == "arm64"
        and ami.alias_family != "bottlerocket"
        and release.line < compat.ARM64_NVIDIA_ALIAS_SINCE
    ):
        yield Fault(
            "ami.alias",
            f"Karpenter {release} finds no arm64 NVIDIA image behind {ami.alias}; use Karpenter "
            f"{compat.ARM64_NVIDIA_ALIAS_SINCE} or later, or name the image by id",
        )
    g7 = [i.name for i in pool.types if i.family == "g7"]
    if g7 and ami.alias_family == "al2023" and ami.release < compat.G7_FIRST_AMI and ami.release != "latest":
        yield Fault(
            "ami.alias",
            f"{ami.alias} loads a kernel module with which the GPU of {g7[0]} does not work; use al2023@"
            f"{compat.G7_FIRST_AMI} or later, or leave g7 out",
        )


def _parameter_fits(pool: Pool, ami: AmiParameter, kubernetes: Minor) -> Iterator[Fault]:
    """The names of AWS's own parameters say what their images are for."""
    image = ami.public_image
    if image is None:
        return
    where, named = "ami.ssm_parameter", f"{ami.ssm_parameter} is of the image"
    if isinstance(pool, GpuPool) and not image.has_nvidia:
        yield Fault(
            where, f"{named} {image.variant!r}, which has no driver for the pool's NVIDIA GPUs; use that for NVIDIA"
        )
    if image.architecture != pool.architecture:
        yield Fault(where, f"{named} for {image.architecture}, and the pool's architecture is {pool.architecture}")
    # Source: https://kubernetes.io/releases/version-skew-policy/, kubelet.
    if not 0 <= kubernetes.minor - image.kubernetes.minor <= _KUBELET_MAY_BE_OLDER:
        yield Fault(
            where,
            f"{named} for Kubernetes {image.kubernetes}, whose kubelet does not work with the cluster's {kubernetes}; use the "
            "parameter of that",
        )


_KUBELET_MAY_BE_OLDER: Final = 3


def _release_exists(pool: Pool, ami: AmiAlias, kubernetes: Minor) -> Iterator[Fault]:
    rows = compat.AMI_RELEASES.get(ami.alias_family, {})
    if not rows or kubernetes not in compat.KUBERNETES:
        return
    row = rows.get(kubernetes)
    if not isinstance(pool, GpuPool):
        # Images without a driver came before those with one.
        yield from _dated_release_exists(pool, ami, kubernetes, "", row.last if row else None)
        return
    first = None if row is None else row.first_arm64 if pool.architecture == "arm64" else row.first
    if first is None and kubernetes <= max(rows):
        yield Fault(
            "ami.alias",
            f"{ami.alias} has no {pool.architecture} NVIDIA image for Kubernetes {kubernetes}; use another family",
        )
    # The latest is whatever there is, and no date.
    elif ami.release != "latest":
        yield from _dated_release_exists(pool, ami, kubernetes, first, row.last if row else None)


def _dated_release_exists(
    pool: Pool, ami: AmiAlias, kubernetes: Minor, first: str | None, last: str | None
) -> Iterator[Fault]:
    known = ami.release in {*compat.AMI_RELEASES_SEEN, *compat.AMI_TAGS_WITHOUT_RELEASE}
    if first is None and ami.release <= compat.NEWEST_AMI_SEEN:
        why = f"is of before Kubernetes {kubernetes} and has no image for it; use a later release of {ami.alias_family}"
    elif first is not None and ami.release < first:
        why = (
            f"has no {pool.architecture} NVIDIA image for Kubernetes {kubernetes}, whose first is {first}; use "
            f"{ami.alias_family}@{last or compat.NEWEST_AMI_SEEN}"
        )
    elif last is not None and ami.release > last:
        why = (
            f"does not exist for Kubernetes {kubernetes}, whose last release was {last}; use {ami.alias_family}@{last}"
        )
    elif not known and ami.release <= compat.NEWEST_AMI_SEEN:
        place = bisect(compat.AMI_RELEASES_SEEN, ami.release)
        near = [f"{ami.alias_family}@{release}" for release in compat.AMI_RELEASES_SEEN[max(place - 1, 0) : place + 1]]
        why = f"was never released, and Karpenter passes over a missing image in silence; use {' or '.join(near)}"
    else:
        return
    yield Fault("ami.alias", f"{ami.alias} {why}")


def _gates_open(pool: Pool, _: Minor, __: Version, karpenter: KarpenterSettings) -> Iterator[Fault]:
    for need in gates.needs(pool):
        yield from gates.faults(need, karpenter)


def repair_is_safe(karpenter: KarpenterSettings, health: Health | None) -> Iterator[Fault]:
    """Repair heeds the agent, and an agent without a toleration calls every tainted GPU node broken."""
    for need in gates.needs_of_health(health):
        yield from gates.faults(need, karpenter)
    if karpenter.feature_gates.node_repair and not (health and health.repair):
        yield Fault(
            "karpenter.feature_gates.node_repair",
            "would replace every GPU node every ten minutes, for ever, under a monitoring agent that does not tolerate its taint; "
            "leave it out and say health.repair, which brings an agent that does",
        )


def _sharing_fits(pool: GpuPool, _: Minor, __: Version, ___: KarpenterSettings) -> Iterator[Fault]:
    """Bottlerocket's own plugin shares GPUs, as soon as it has the setting."""
    ami = pool.ami
    if pool.sharing is None or not isinstance(ami, AmiAlias) or ami.numbered is None:
        return
    strategy = pool.sharing.strategy if isinstance(pool.sharing, Sharing) else "mig"
    since = compat.BOTTLEROCKET_SHARING_SINCE[strategy]
    if ami.numbered < since:
        yield Fault(
            "sharing",
            f"{ami.alias} has no setting for {strategy}, which came with {since}; use bottlerocket@{since} or later",
        )


def _start_fits(pool: GpuPool, _: Minor, release: Version, __: KarpenterSettings) -> Iterator[Fault]:
    """An older image does not know how to pull in parallel, or hangs; an older Karpenter leaves the layers on the volume."""
    ami = pool.ami
    if pool.image_snapshot_mib is not None and release.line < compat.INITIALIZATION_RATE_SINCE:
        yield Fault(
            "image_snapshot_mib",
            f"came with Karpenter {compat.INITIALIZATION_RATE_SINCE}, and this is {release}; use that or later, or leave it out",
        )
    knows_nvme = release.line >= compat.BOTTLEROCKET_RAID0_SINCE
    is_slow = ami.family == "Bottlerocket" and pool.disk.throughput_mib is None
    if pool.fast_start and is_slow and knows_nvme and release.line < compat.KARPENTER_FAST_NVME_SINCE:
        yield Fault(
            "fast_start",
            f"would pull onto a slow volume: Karpenter {release} does not put these layers on the NVMe of a Bottlerocket node; use "
            f"{compat.KARPENTER_FAST_NVME_SINCE} or later, or give root_volume.throughput_mib, as 600",
        )
    if not pool.fast_start or not isinstance(ami, AmiAlias) or ami.release == "latest":
        return
    oldest = compat.BOTTLEROCKET_FAST_START_SINCE
    if ami.alias_family == "al2023" and ami.release < compat.AL2023_FAST_START_SINCE:
        yield Fault(
            "fast_start",
            f"can keep every pod of {ami.alias} from starting, which al2023@{compat.AL2023_FAST_START_SINCE} mended; use a later "
            "release, or leave it out",
        )
    elif ami.numbered is not None and ami.numbered < oldest:
        yield Fault(
            "fast_start",
            f"is not in {ami.alias}: pulling in parallel came with {oldest}; use bottlerocket@{oldest} or later, or leave it out",
        )


def plugin_can_share(pools: Iterable[Pool], plugin: DevicePlugin) -> Iterator[Fault]:
    """Where another plugin runs, it is that which would have to share."""
    for pool in pools:
        if not isinstance(pool, GpuPool):
            continue
        if pool.sharing is not None and pool.ami.family != "Bottlerocket" and not plugin.enabled:
            yield Fault(
                f"pools.{pool.name}.sharing",
                "is done by the device plugin, which device_plugin.enabled leaves to something else; let that share the GPUs, "
                "or leave the plugin on",
            )


def _reservations_exist(pool: GpuPool, _: Minor, release: Version, __: KarpenterSettings) -> Iterator[Fault]:
    """What a Karpenter knows of reservations."""
    matched = any(isinstance(one, ReservationsByTags) and one.match for one in pool.reservations)
    for where, is_used, since in (
        ("capacity_block", bool(pool.blocks), compat.CAPACITY_BLOCKS_SINCE),
        ("match", matched, compat.RESERVATION_MATCH_SINCE),
    ):
        if is_used and release.line < since:
            yield Fault(
                f"reservations.{where}", f"came with Karpenter {since}, and this is {release}; use that or later"
            )


def _fields_exist(pool: Pool, _: Minor, release: Version, __: KarpenterSettings) -> Iterator[Fault]:
    if pool.consolidation_policy == "Balanced" and release.line < compat.BALANCED_SINCE:
        yield Fault(
            "consolidation_policy",
            f"Karpenter {release} does not know Balanced, which came with {compat.BALANCED_SINCE}; use WhenEmpty",
        )
    if (
        pool.storage_policy is not None
        and pool.ami.family == "Bottlerocket"
        and release.line < compat.BOTTLEROCKET_RAID0_SINCE
    ):
        yield Fault(
            "instance_store_policy" if pool.instance_store_policy else "fast_start",
            f"Karpenter {release} counts the NVMe of a Bottlerocket node and does not use it; use Karpenter "
            f"{compat.BOTTLEROCKET_RAID0_SINCE} or later, or leave it out",
        )
    for key in pool.labels:
        domain = key.rpartition("/")[0]
        restricted = domain.endswith(("kubernetes.io", "k8s.io")) and not domain.endswith(_OPEN_DOMAINS)
        if restricted and release.line < compat.KUBERNETES_LABELS_SINCE:
            yield Fault(
                "labels",
                f"Karpenter {release} refuses {key!r}, which is in a domain of Kubernetes; use a key of your own, or "
                f"Karpenter {compat.KUBERNETES_LABELS_SINCE}",
            )
    for budget in pool.budgets:
        if "Unhealthy" in budget.reasons and release.line < compat.UNHEALTHY_REASON_SINCE:
            yield Fault(
                "budgets",
                f"Karpenter {release} does not know the reason Unhealthy, which came with "
                f"{compat.UNHEALTHY_REASON_SINCE}; leave it out",
            )


_OPEN_DOMAINS = ("node.kubernetes.io", "node-restriction.kubernetes.io")


def _region_is_known(pool: Pool, region: str | None) -> Iterator[Fault]:
    bound = dict(pool.of_a_region)
    if isinstance(pool.ami, AmiIds):
        bound["ami.ami_ids"] = ", ".join(pool.ami.ami_ids)
    yield from _of_one_region(bound, region)
    for where, zone in pool.placed:
        yield from zone_is_of(zone, region, where)
    for key in (labels.REGION, "failure-domain.beta.kubernetes.io/region"):
        if region is not None and pool.labels.get(key, region) != region:
            yield Fault(
                "labels",
                f"{key}={pool.labels[key]} contradicts the region {region}, so that nothing could ever launch; leave the "
                "label out",
            )


def _of_one_region(bound: dict[str, str], region: str | None) -> Iterator[Fault]:
    for where, what in bound.items():
        if what and region is None:
            yield Fault(where, f"{what} is of one region, and the stack is for any; say which, as in region=eu-west-1")


def zone_is_of(zone: str, region: str | None, where: str) -> Iterator[Fault]:
    """A zone's name begins with its region's."""
    if region is not None and not re.fullmatch(re.escape(region) + r"(-[a-z0-9-]+)?[a-z]", zone):
        yield Fault(where, f"{zone!r} is not a zone of {region}; zones there are named like {region}a")


def network_fits(cluster: NewCluster, region: str | None) -> Iterator[Fault]:
    """Ids and zone names belong to one region."""
    network = cluster.network
    bound = {"cluster.network.availability_zones": ", ".join(network.availability_zones)}
    if isinstance(network, ExistingVpc):
        bound = {"cluster.network.vpc_id": network.vpc_id}
    yield from _of_one_region(bound, region)
    for zone in network.availability_zones:
        yield from zone_is_of(zone, region, "cluster.network.availability_zones")
    if isinstance(network, NewVpc) and network.nat_gateways > zone_count(network, region):
        yield Fault(
            "cluster.network.nat_gateways",
            f"{network.nat_gateways} are more than the {zone_count(network, region)} zones of the VPC; use one a zone at most",
        )


def zone_count(network: NewVpc, region: str | None) -> int:
    """How many zones a new VPC has: those named, else three, or two in regions that have no more.

    The same whether the region is said or not: EKS never lets a cluster change its zones (aws/containers-roadmap#170).
    """
    return len(network.availability_zones) or (2 if region in compat.TWO_ZONE_REGIONS else 3)


def pools_reach_the_network(pools: Iterable[Pool], cluster: NewCluster) -> Iterator[Fault]:
    """Nodes go where the VPC has subnets."""
    there = cluster.network.availability_zones
    for pool in pools:
        for where in dict(pool.placed) if not there else ():
            zones = ", ".join(zone for setting, zone in pool.placed if setting == where)
            yield Fault(
                f"pools.{pool.name}.{where}",
                f"{zones} may have no subnet: the VPC is made in whichever zones of the region come first; "
                "name its zones in cluster.network.availability_zones (those it has, if the cluster exists), or leave "
                f"{where} out",
            )
        for where, zone in pool.placed:
            if there and zone not in there:
                yield Fault(
                    f"pools.{pool.name}.{where}",
                    f"{zone!r} has no subnet of the cluster's network, whose zones are {', '.join(there)}; use one of these",
                )


def pool_names_differ(pools: Iterable[Pool]) -> Iterator[Fault]:
    """A pool's name is the name of its Kubernetes objects."""
    for name, times in Counter(pool.name for pool in pools).items():
        if times > 1:
            yield Fault(
                f"pools.{name}", f"{times} pools are named {name!r}, and a name can be had once; rename all but one"
            )


def can_be_looked_up(cluster: ExistingCluster, account: str | None, region: str | None) -> Iterator[Fault]:
    """A look-up is made in an account and a region, and ids are of one."""
    missing = [name for name, value in (("account", account), ("region", region)) if value is None]
    if missing and cluster.unknown:
        said = ", ".join(f"cluster.{name}" for name in cluster.unknown)
        yield Fault(
            "cluster.name",
            f"{cluster.name!r} is to be looked up, and {' and '.join(missing)} to look in {'is' if len(missing) == 1 else 'are'} "
            f"not known; have credentials, say account and region, or say what would be found: {said}",
        )
    bound = {f"cluster.{name}": ", ".join(getattr(cluster, name)) for name in ("subnet_ids", "security_group_ids")}
    yield from _of_one_region(bound, region)


def arns_fit(settings: object, account: str | None, region: str | None, where: str = "") -> Iterator[Fault]:
    """Every ARN in a setting, at any depth, is of the stack's partition and region, and where AWS asks for it of its account."""
    for path, arn in _arns(settings, where):
        _, partition, service, its_region, its_account, resource = arn.split(":", 5)
        ours = {"partition": compat.partition_of(region) if region else None, "region": region, "account": account}
        theirs = {"partition": partition, "region": its_region, "account": its_account}
        if path.rpartition(".")[2] not in _OF_ONE_ACCOUNT or its_account == "aws":
            del theirs["account"]
        for name, its in theirs.items():
            own = ours[name]
            if its and own and its != own:
                yield Fault(path, f"{arn!r} is of {name} {its}, and the stack of {own}; use one of that")
        if service == "iam" and "/AWSReservedSSO_" in resource and "/aws-reserved/sso.amazonaws.com/" not in resource:
            yield Fault(
                path,
                f"{arn!r} is a role of IAM Identity Center without its path, and IAM has no such role; see 'aws iam get-role "
                f"--role-name {resource.rpartition('/')[2]} --query Role.Arn'",
            )


# Settings whose ARN AWS wants of the cluster's own account; access entries, keys and roles to be assumed may be of another.
# Source: https://docs.aws.amazon.com/eks/latest/userguide/creating-access-entries.html
_OF_ONE_ACCOUNT: Final = frozenset({"node_role_arn", "permissions_boundary"})


def _arns(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Every ARN in a setting with its path; what is in mappings (labels, tags, chart values) is the user's own."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _arns(getattr(value, field.name), f"{where}.{field.name}".strip("."))
    elif isinstance(value, tuple):
        for one in value:
            yield from _arns(one, where)
    elif isinstance(value, str) and re.fullmatch(r"arn(:[^:]*){4}:.+", value):
        yield where, value


def arn_warnings(settings: object, account: str | None) -> Iterator[tuple[str, str]]:
    """What a person should know of ARNs of another account that AWS takes."""
    for path, arn in _arns(settings, ""):
        its_account = arn.split(":")[4]
        if account and its_account not in {account, "aws", ""} and path.rpartition(".")[2] not in _OF_ONE_ACCOUNT:
            yield (f"{path}-{its_account}", f"{path}: {arn} is of account {its_account}, and the stack of {account}")


def issuer_fits(issuer: str | None, region: str | None, where: str) -> Iterator[Fault]:
    """A cluster's issuer is at its region's endpoint."""
    if issuer is not None and region is not None and issuer.partition("oidc.eks.")[2].partition(".")[0] != region:
        yield Fault(
            where, f"{issuer!r} is the issuer of a cluster in another region than {region}; use the cluster's own"
        )


def fargate_fits(karpenter: KarpenterSettings) -> Iterator[Fault]:
    """The Pod Identity agent is a DaemonSet, and Fargate runs none."""
    if karpenter.on_fargate and karpenter.identity == POD_IDENTITY:
        yield Fault(
            "karpenter.identity", f"{POD_IDENTITY!r} does not work on Fargate, where its agent does not run; use 'irsa'"
        )


def controllers_fit(cluster: NewCluster, karpenter: KarpenterSettings) -> Iterator[Fault]:
    """Each controller runs on a system node of its own, and the chart's installation waits for all of them."""
    replicas = karpenter.values.get("replicas", REPLICAS)
    if not karpenter.on_fargate and replicas > cluster.system_nodes.count:
        yield Fault(
            "karpenter.values.replicas",
            f"{replicas} controllers need a node each, and cluster.system_nodes.count is {cluster.system_nodes.count}; raise "
            "that, or lower this",
        )
    architecture = (karpenter.values.get("nodeSelector") or {}).get(labels.ARCH, "amd64")
    if architecture != "amd64":
        yield Fault(
            f"karpenter.values.nodeSelector.{labels.ARCH}",
            f"{architecture!r} is not the architecture of cluster.system_nodes, which is amd64, so the controller would run "
            "nowhere; leave it out",
        )


def region_warnings(region: str | None) -> Iterator[tuple[str, str]]:
    """What a person should know of a region that is in no table."""
    if region is not None and region not in compat.PARTITION_OF:
        near = " or ".join(difflib.get_close_matches(region, compat.PARTITION_OF, n=2))
        yield (
            "region-unseen",
            (
                f"{region} is not among the regions that this package knows, of {compat.REGIONS_DATED}; if it is not a newer one, "
                f"it may be {near}"
            ),
        )


def new_cluster_warnings(cluster: NewCluster, region: str | None) -> Iterator[tuple[str, str]]:
    """What a person should know of a cluster that is made."""
    yield from network_warnings(cluster, region)
    yield from system_node_warnings(cluster)


def system_node_warnings(cluster: NewCluster) -> Iterator[tuple[str, str]]:
    """What a person should know of instance types whose family is in no table."""
    for name, warning in _unseen(cluster.system_nodes.instance_types):
        yield f"{name}-unseen", f"system nodes: {warning}"


def _unseen(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Types and families of which nobody can say that they exist, each with its sentence."""
    for name in names:
        if name.partition(".")[0] not in instance_types.SIZES:
            near = " or ".join(instance_types.near(name)) or "a typo"
            yield (
                name,
                (
                    f"{name} is of no family that EC2 had on {instance_types.DATED}; if it is not a newer one, it may be {near}"
                ),
            )


def health_warnings(pool: GpuPool, health: Health | None, metrics: Metrics | None) -> Iterator[tuple[str, str]]:
    """What a person should know of a pool whose GPUs are not watched."""
    if health is not None and pool.architecture == "arm64":
        yield (
            f"{pool.name}-unwatched",
            f"pool {pool.name!r}: the node monitoring agent does not watch the GPUs of arm64 nodes",
        )
    if metrics is not None and pool.ami.family == "Bottlerocket":
        yield (
            f"{pool.name}-unmeasured",
            f"pool {pool.name!r}: the DCGM exporter goes where the device plugin's label is, which Bottlerocket's nodes have not",
        )


def isolation_fits(
    karpenter: KarpenterSettings, plugin: DevicePlugin, metrics: Metrics | None = None
) -> Iterator[Fault]:
    """Where there is no way out, nothing comes from outside AWS: EKS user guide, "Deploy private clusters"."""
    if not karpenter.isolated:
        return
    first, fixed = compat.ISOLATED_CANNOT_DELETE
    if first <= karpenter.release < fixed:
        yield Fault(
            "karpenter.version",
            f"Karpenter {karpenter.release} cannot delete a pool where IAM has no endpoint; use {fixed} or later, or a patch "
            "before 1.7",
        )
    controller = karpenter.values.get("controller")
    image = controller.get("image") if isinstance(controller, Mapping) else None
    repository = image.get("repository") if isinstance(image, Mapping) else None
    sources = [
        ("karpenter.charts", karpenter.charts),
        ("karpenter.values.controller.image.repository", repository or "public.ecr.aws/karpenter/controller"),
    ]
    sources += [("device_plugin.image", plugin.image)] if plugin.enabled else []
    sources += [("metrics.image", metrics.image)] if metrics else []
    for where, source in sources:
        host = str(source).removeprefix("oci://").partition("/")[0]
        if host in _OUTSIDE:
            yield Fault(where, f"{source} is not reached from an isolated VPC; name a mirror in ECR")


def isolation_is_whole(cluster: NewCluster, karpenter: KarpenterSettings) -> Iterator[Fault]:
    """IPv6 leaves a VPC through an egress-only internet gateway, and endpoints are not reached by it."""
    if karpenter.isolated and cluster.ip_family == "ipv6":
        yield Fault(
            "cluster.ip_family",
            "'ipv6' gives the VPC an egress-only internet gateway, and karpenter.isolated says that it has no way out; use "
            "'ipv4', or leave karpenter.isolated out",
        )


_OUTSIDE = ("public.ecr.aws", "nvcr.io", "docker.io", "ghcr.io", "quay.io", "registry.k8s.io")


def addons_are_there(cluster: NewCluster, karpenter: KarpenterSettings) -> Iterator[Fault]:
    """The Pod Identity agent is installed only where it is used."""
    if "eks-pod-identity-agent" in cluster.addon_values and karpenter.identity != POD_IDENTITY:
        yield Fault(
            "cluster.addon_values.eks-pod-identity-agent",
            f"the agent is not installed with karpenter.identity {karpenter.identity!r}; leave its values out",
        )


def network_warnings(cluster: NewCluster, region: str | None) -> Iterator[tuple[str, str]]:
    """What a person should know of the zones that are taken when none are named."""
    zone = compat.ZONES_WITHOUT_EKS.get(region or "")
    if zone and isinstance(cluster.network, NewVpc) and not cluster.network.availability_zones:
        yield (
            "zone-without-eks",
            (
                f"EKS refuses zone {zone} of {region}, and only your account knows which name it has: name zones in "
                "cluster.network.availability_zones that are others (aws ec2 describe-availability-zones shows the ids)"
            ),
        )


def kubernetes_warnings(cluster: NewCluster | ExistingCluster, today: date) -> Iterator[tuple[str, str]]:
    """What a person should know of the Kubernetes they asked for."""
    if cluster.kubernetes is None:
        return
    row = compat.KUBERNETES.get(cluster.kubernetes)
    if row is None or row.standard_support_ends is None or row.extended_support_ends is None:
        yield (
            "kubernetes-unseen",
            (
                f"Kubernetes {cluster.kubernetes} on EKS has not been seen by this package's authors: its dates and its "
                "images are not in the version matrix"
            ),
        )
    elif today > row.extended_support_ends and isinstance(cluster, ExistingCluster):
        yield (
            "kubernetes-gone",
            (
                f"EKS has ended support for Kubernetes {row.minor} on {row.extended_support_ends}, and upgrades such clusters "
                "by itself: what is synthesized for it may not fit the cluster any more"
            ),
        )
    elif today > row.extended_support_ends:
        yield (
            "kubernetes-gone",
            (
                f"EKS has created no clusters of Kubernetes {row.minor} since {row.extended_support_ends}: this template "
                "cannot be deployed to AWS"
            ),
        )
    elif today > row.standard_support_ends:
        yield (
            "kubernetes-extended",
            (
                f"Kubernetes {row.minor} has been in extended support since {row.standard_support_ends}, where EKS charges "
                f"more for the cluster, until {row.extended_support_ends}"
            ),
        )


def karpenter_warnings(karpenter: KarpenterSettings) -> Iterator[tuple[str, str]]:
    """What a person should know of the Karpenter they asked for."""
    release = karpenter.release
    row = compat.KARPENTER[release.line]
    supported = [f"{line}.{row.latest_patch}" for line, row in compat.KARPENTER.items() if row.supported_until]
    if row.supported_until is None:
        yield (
            "karpenter-unsupported",
            f"Karpenter {release.line} is no longer supported upstream; {', '.join(supported)} are",
        )
    if release.patch > row.latest_patch:
        yield (
            "karpenter-newer",
            (
                f"Karpenter {release} is newer than the newest patch this package knows, {release.line}.{row.latest_patch}; "
                "it is treated as that one"
            ),
        )


def _release_warnings(pool: Pool, ami: AmiAlias) -> Iterator[tuple[str, str]]:
    """What a person should know of a release that may not exist, or not stay."""
    if ami.release == "latest":
        yield (
            f"{pool.name}-ami-latest",
            f"pool {pool.name!r}: {ami.alias} replaces every node whenever AWS publishes an image; pin a release",
        )
    elif ami.alias_family == "al2023" and ami.release > compat.NEWEST_AMI_SEEN:
        yield (
            f"{pool.name}-ami-newer",
            (
                f"pool {pool.name!r}: {ami.alias} is newer than the newest image this package knows, "
                f"{compat.NEWEST_AMI_SEEN}; check that it exists, for Karpenter passes over a missing one in silence"
            ),
        )
    elif ami.release in compat.AMI_TAGS_WITHOUT_RELEASE:
        yield (
            f"{pool.name}-ami-unsure",
            (
                f"pool {pool.name!r}: {ami.alias} is tagged in awslabs/amazon-eks-ami and not in its changelog; check that it "
                "exists, for Karpenter passes over a missing one in silence"
            ),
        )


def _reservation_warnings(pool: GpuPool) -> Iterator[tuple[str, str]]:
    """What reservations cost, and who never gets them."""
    for made in pool.reserve:
        cost = "an unknown price" if made.usd_per_hour is None else f"${made.usd_per_hour:.2f}"
        yield (
            f"{pool.name}-reserve-{made.instance_type}-{made.zone}",
            (
                f"pool {pool.name!r}: reserve of {made.count} {made.instance_type} in {made.zone} costs {cost} an hour from the "
                f"moment it exists, used or not, {f'until {made.until}' if made.until else 'until it is taken out here'} "
                f"(on-demand price of {PRICES_REGION}, {PRICES_DATED})"
            ),
        )
        if made.ends is not None and made.ends.date() < today():
            yield (
                f"{pool.name}-reserve-{made.instance_type}-{made.zone}-ended",
                (
                    f"pool {pool.name!r}: reserve in {made.zone} until {made.until} has ended, and EC2 refuses a new one with that "
                    "end; give a later time, or leave it out"
                ),
            )
    if pool.reservations or pool.reserve:
        yield (
            f"{pool.name}-reserved",
            (
                f"pool {pool.name!r}: pods that select {labels.CAPACITY_TYPE} on-demand or spot never use its reservations; and "
                "open reservations that no pool names are used by no node of Karpenter's"
            ),
        )
    yield from _block_warnings(pool)


def _block_warnings(pool: GpuPool) -> Iterator[tuple[str, str]]:
    """What is not drained before the end of a Capacity Block."""
    if pool.blocks and pool.termination_grace_period is None:
        yield (
            f"{pool.name}-block",
            (
                f"pool {pool.name!r}: pods that may not be evicted stay until EC2 takes the nodes of {pool.blocks[0]} away, some 30 "
                "minutes before it ends; give termination_grace_period 9m to end them in order"
            ),
        )
    grace = pool.termination_grace_period
    tagged = any(isinstance(one, ReservationsByTags) for one in pool.reservations)
    if tagged and not pool.blocks and (grace is None or grace > LONGEST_DRAIN_OF_A_BLOCK):
        yield (
            f"{pool.name}-blocks-by-tags",
            (
                f"pool {pool.name!r}: its reservations by tags are also Capacity Blocks that have them; if there is one, EC2 takes "
                "its nodes away some 30 minutes before it ends, whatever they run: give termination_grace_period 9m"
            ),
        )


def pool_warnings(pool: Pool) -> Iterator[tuple[str, str]]:
    """What a person should know of a pool that is allowed all the same."""
    if isinstance(pool, GpuPool):
        yield from _reservation_warnings(pool)
    if isinstance(pool, CpuPool):
        for name, warning in _unseen((*pool.instance_families, *pool.instance_types)):
            yield f"{pool.name}-{name}-unseen", f"pool {pool.name!r}: {warning}"
    ami = pool.ami
    if ami.family == "AL2":
        yield (
            f"{pool.name}-al2",
            f"pool {pool.name!r}: AWS stopped publishing AL2 images on {compat.AL2_ENDED}; use an al2023 alias",
        )
    if isinstance(ami, AmiAlias):
        yield from _release_warnings(pool, ami)
    elif isinstance(pool, GpuPool) and pool.fast_start:
        first = f"al2023@{compat.AL2023_FAST_START_SINCE}, or Bottlerocket {compat.BOTTLEROCKET_FAST_START_SINCE}"
        yield (
            f"{pool.name}-fast-start",
            f"pool {pool.name!r}: fast_start keeps every pod from starting on an image older than {first}; check yours",
        )
    if isinstance(pool, GpuPool) and pool.root_volume.size_gib < 100 and pool.storage_policy is None:
        yield (
            f"{pool.name}-disk",
            (
                f"pool {pool.name!r}: {pool.root_volume.size_gib} GiB of disk is little for model images; use 100, or "
                "instance_store_policy RAID0"
            ),
        )
    if pool.consolidation_policy != "WhenEmpty":
        yield (
            f"{pool.name}-moves",
            f"pool {pool.name!r}: {pool.consolidation_policy} moves running pods to cheaper nodes",
        )
