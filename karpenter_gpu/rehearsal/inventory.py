"""What stands in the emulated account, so that what a destroy leaves can be told from what was there before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Client = Callable[[str], Any]


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
    Kind("elastic IP", "ec2", "describe_addresses", "Addresses", "AllocationId"),
    Kind("launch template", "ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    Kind("flow log", "ec2", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    Kind("role", "iam", "list_roles", "Roles", "RoleName"),
    Kind("policy", "iam", "list_policies", "Policies", "PolicyName", {"Scope": "Local"}),
    Kind("instance profile", "iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    Kind("OIDC provider", "iam", "list_open_id_connect_providers", "OpenIDConnectProviderList", "Arn"),
    Kind("cluster", "eks", "list_clusters", "clusters"),
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


def inventory(client: Client) -> frozenset[str]:
    """Everything of the kinds that a stack, or Karpenter, makes: one line each, `kind id`."""
    return frozenset([*(line for kind in KINDS for line in _of(kind, client)), *_instances(client), *_keys(client)])


def _of(kind: Kind, client: Client) -> Iterator[str]:
    state, gone = kind.gone
    for item in _listed(client(kind.service), kind.operation, kind.items, kind.asking):
        if not state or item[state] not in gone:
            yield f"{kind.name} {item[kind.id] if kind.id else item}"


def _listed(client: Any, operation: str, items: str, asking: Mapping[str, Any]) -> Iterator[Any]:
    """The items of every page."""
    if client.can_paginate(operation):
        pages = client.get_paginator(operation).paginate(**asking)
    else:
        pages = [getattr(client, operation)(**asking)]
    for page in pages:
        yield from page.get(items, [])


def _instances(client: Client) -> Iterator[str]:
    for reservation in _listed(client("ec2"), "describe_instances", "Reservations", {}):
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] not in ("terminated", "shutting-down"):
                yield f"instance {instance['InstanceId']}"


def _keys(client: Client) -> Iterator[str]:
    kms = client("kms")
    # A service of AWS's own makes its key when it is first used, and the account keeps it.
    aliases = _listed(kms, "list_aliases", "Aliases", {})
    own = {one.get("TargetKeyId") for one in aliases if one["AliasName"].startswith("alias/aws/")}
    for one in _listed(kms, "list_keys", "Keys", {}):
        about = kms.describe_key(KeyId=one["KeyId"])["KeyMetadata"]
        if about["KeyState"] != "PendingDeletion" and one["KeyId"] not in own:
            yield f"key {one['KeyId']} ({about['Description']})"
