"""What stands in the emulated account and in its clusters, so that what was there can be told from what is there after a destroy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eks_rehearsal.cluster.kube import Document, Kube

Client = Callable[[str], Any]
# Each thing by its kind and name, with all that is said of it.
Standing = dict[str, str]

# What changes by itself: an address is taken, a node is heard of.
RESTLESS: Final = frozenset({"AvailableIpAddressCount", "managedFields", "resourceVersion", "status", "storedBytes"})
# Kinds of Kubernetes that are a log, or say nothing by themselves.
LOGS: Final = frozenset({"events", "componentstatuses"})
# Who leads, until when: only whether one is there counts.
LEASES: Final = "leases"


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Args:
        name: For people.

        service: The service that has it.

        operation: Lists it.

        items: Where it stands in the answer.

        id: What names one; the item itself when empty.

        asking: What the operation is asked with.

        gone: States, by the item's key of the state, in which it is as good as gone.
    """

    name: str
    service: str
    operation: str
    items: str
    id: str = ""
    asking: Mapping[str, Any] = field(default_factory=dict)
    gone: tuple[str, tuple[str, ...]] = ("", ())


KINDS = (
    Kind("VPC", "ec2", "describe_vpcs", "Vpcs", "VpcId"),
    Kind("subnet", "ec2", "describe_subnets", "Subnets", "SubnetId"),
    Kind("security group", "ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    Kind("route table", "ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    Kind("internet gateway", "ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    Kind("NAT gateway", "ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId", gone=("State", ("deleted",))),
    Kind(
        "VPC endpoint", "ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", gone=("State", ("deleted",))
    ),
    Kind("elastic IP", "ec2", "describe_addresses", "Addresses", "AllocationId"),
    Kind("launch template", "ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    Kind(
        "capacity reservation",
        "ec2",
        "describe_capacity_reservations",
        "CapacityReservations",
        "CapacityReservationId",
        gone=("State", ("cancelled", "expired")),
    ),
    Kind("flow log", "ec2", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    Kind("role", "iam", "list_roles", "Roles", "RoleName"),
    Kind("policy", "iam", "list_policies", "Policies", "PolicyName", {"Scope": "Local"}),
    Kind("instance profile", "iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    Kind("queue", "sqs", "list_queues", "QueueUrls"),
    Kind("event rule", "events", "list_rules", "Rules", "Name"),
    Kind("function", "lambda", "list_functions", "Functions", "FunctionName"),
    Kind("state machine", "stepfunctions", "list_state_machines", "stateMachines", "name"),
    Kind("layer", "lambda", "list_layers", "Layers", "LayerName"),
    Kind("log group", "logs", "describe_log_groups", "logGroups", "logGroupName"),
    Kind("parameter", "ssm", "describe_parameters", "Parameters", "Name"),
    Kind("bucket", "s3", "list_buckets", "Buckets", "Name"),
    Kind("repository", "ecr", "describe_repositories", "repositories", "repositoryName"),
)


@dataclass(frozen=True)
class ClusterPart:
    """What EKS keeps of a cluster: how it is listed, and how one is described, by its id."""

    name: str
    listing: str
    items: str
    id: str
    describe: str


CLUSTER_PARTS = (
    ClusterPart("node group", "list_nodegroups", "nodegroups", "nodegroupName", "describe_nodegroup"),
    ClusterPart(
        "Fargate profile",
        "list_fargate_profiles",
        "fargateProfileNames",
        "fargateProfileName",
        "describe_fargate_profile",
    ),
    ClusterPart("add-on", "list_addons", "addons", "addonName", "describe_addon"),
    ClusterPart("access entry", "list_access_entries", "accessEntries", "principalArn", "describe_access_entry"),
    ClusterPart("access of", "list_access_entries", "accessEntries", "principalArn", "list_associated_access_policies"),
    ClusterPart(
        "Pod Identity association",
        "list_pod_identity_associations",
        "associations",
        "associationId",
        "describe_pod_identity_association",
    ),
)

# What Kubernetes still does by itself: accounts for namespaces, and pods whose node is gone, which it waits 40 s for.
SETTLE_SECONDS: Final = 90.0


def settled(client: Client, kubes: Sequence[Kube], is_awaited: Callable[[Standing], bool] = bool) -> Standing:
    """What stands once it stands still and is as awaited, or when the time is up.

    Args:
        client: Makes clients of the emulated AWS.

        kubes: The clusters whose objects count, too.

        is_awaited: Whether what stands is what is waited for; anything is by default.
    """
    now, end = inventory(client, kubes), time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        time.sleep(1)
        before, now = now, inventory(client, kubes)
        if before == now and is_awaited(now):
            break
    return now


def inventory(client: Client, kubes: Iterable[Kube] = ()) -> Standing:
    """Everything of the kinds that a stack, or Karpenter, makes or could change.

    Args:
        client: Makes clients of the emulated AWS.

        kubes: The clusters whose objects count, too.
    """
    found = [*(one for kind in KINDS for one in _of(kind, client)), *_instances(client)]
    found += [*_interfaces(client), *_keys(client)]
    found += [*_providers(client("iam")), *_clusters(client("eks"))]
    found += [one for kube in kubes for one in _objects(kube)]
    return {name: json.dumps(_still(what), sort_keys=True, default=str) for name, what in found}


def differences(before: Standing, after: Standing) -> tuple[str, ...]:
    """What is not as it was: what is new by its name, and what is gone or changed."""
    new = [name for name in after if name not in before]
    gone = [f"gone: {name}" for name in before if name not in after]
    changed = [f"changed: {name}" for name, what in before.items() if after.get(name, what) != what]
    return tuple(sorted(new) + sorted(gone) + sorted(changed))


def _still(what: Any) -> Any:
    """The same, without what changes by itself."""
    if isinstance(what, Mapping):
        return {key: _still(value) for key, value in what.items() if key not in RESTLESS}
    return [_still(one) for one in what] if isinstance(what, list) else what


Found = Iterator[tuple[str, Any]]


def _of(kind: Kind, client: Client) -> Found:
    state, gone = kind.gone
    for item in _listed(client(kind.service), kind.operation, kind.items, kind.asking):
        if not state or item[state] not in gone:
            yield f"{kind.name} {item[kind.id] if kind.id else item}", item


def _listed(client: Any, operation: str, items: str, asking: Mapping[str, Any]) -> Iterator[Any]:
    """The items of every page."""
    if client.can_paginate(operation):
        pages = client.get_paginator(operation).paginate(**asking)
    else:
        pages = [getattr(client, operation)(**asking)]
    for page in pages:
        yield from page.get(items, [])


def _instances(client: Client) -> Found:
    for reservation in _listed(client("ec2"), "describe_instances", "Reservations", {}):
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] not in ("terminated", "shutting-down"):
                yield f"instance {instance['InstanceId']}", instance


def _interfaces(client: Client) -> Found:
    for one in _listed(client("ec2"), "describe_network_interfaces", "NetworkInterfaces", {}):
        # moto keeps an instance's when it is gone.
        if not one.get("Attachment", {}).get("InstanceId"):
            yield f"network interface {one['NetworkInterfaceId']}", one


def _keys(client: Client) -> Found:
    kms = client("kms")
    # A service of AWS's own makes its key when it is first used, and the account keeps it.
    aliases = _listed(kms, "list_aliases", "Aliases", {})
    own = {one.get("TargetKeyId") for one in aliases if one["AliasName"].startswith("alias/aws/")}
    for one in _listed(kms, "list_keys", "Keys", {}):
        about = kms.describe_key(KeyId=one["KeyId"])["KeyMetadata"]
        if about["KeyState"] != "PendingDeletion" and one["KeyId"] not in own:
            yield f"key {one['KeyId']} ({about['Description']})", about


def _providers(iam: Any) -> Found:
    for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=one["Arn"])
        yield (
            f"OIDC provider {one['Arn']}",
            {key: shown[key] for key in ("Url", "ClientIDList", "Tags") if key in shown},
        )


def _clusters(eks: Any) -> Found:
    """Clusters, and what EKS itself keeps of each."""
    for cluster in eks.list_clusters()["clusters"]:
        shown = eks.describe_cluster(name=cluster)["cluster"]
        yield f"cluster {cluster}", shown
        by_map_alone = shown["accessConfig"]["authenticationMode"] == "CONFIG_MAP"
        for part in (part for part in CLUSTER_PARTS if not (by_map_alone and part.listing == "list_access_entries")):
            for item in _listed(eks, part.listing, part.items, {"clusterName": cluster}):
                id = item[part.id] if isinstance(item, Mapping) else item
                about = getattr(eks, part.describe)(clusterName=cluster, **{part.id: id})
                yield f"{part.name} {id} of cluster {cluster}", {**about, "ResponseMetadata": ""}


def _objects(kube: Kube) -> Found:
    """Every object of every kind that the API server can list."""
    groups = [one["preferredVersion"]["groupVersion"] for one in kube.get("/apis")["groups"]]
    for path in ("/api/v1", *(f"/apis/{group}" for group in groups)):
        for resource in kube.get(path)["resources"]:
            name = resource["name"]
            if "list" in resource["verbs"] and "/" not in name and name not in LOGS:
                for item in kube.items(f"{path}/{name}"):
                    yield _named(resource["kind"], item), {} if name == LEASES else item


def _named(kind: str, item: Document) -> str:
    about = item["metadata"]
    return f"{kind} {'/'.join(filter(None, [about.get('namespace'), about['name']]))}"
