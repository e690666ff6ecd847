"""What stands in the emulated account, so that what a destroy leaves can be told from what was there before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Client = Callable[[str], Any]
GONE = ("terminated", "shutting-down")


def inventory(client: Client) -> frozenset[str]:
    """Everything of the kinds that a stack, or Karpenter, makes: one line each, `kind id`."""
    return frozenset(line for look in LOOKS for line in look(client))


def _ec2(client: Client) -> Iterator[str]:
    ec2 = client("ec2")
    for kind, operation, list_name, id_name in (
        ("VPC", "describe_vpcs", "Vpcs", "VpcId"),
        ("subnet", "describe_subnets", "Subnets", "SubnetId"),
        ("security group", "describe_security_groups", "SecurityGroups", "GroupId"),
        ("route table", "describe_route_tables", "RouteTables", "RouteTableId"),
        ("internet gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
        ("elastic IP", "describe_addresses", "Addresses", "AllocationId"),
        ("launch template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
        ("flow log", "describe_flow_logs", "FlowLogs", "FlowLogId"),
    ):
        yield from (f"{kind} {one[id_name]}" for one in getattr(ec2, operation)()[list_name])
    for gateway in ec2.describe_nat_gateways()["NatGateways"]:
        if gateway["State"] not in ("deleted", "deleting"):
            yield f"NAT gateway {gateway['NatGatewayId']}"
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] not in GONE:
                yield f"instance {instance['InstanceId']}"


def _iam(client: Client) -> Iterator[str]:
    iam = client("iam")
    yield from (f"role {one['RoleName']}" for one in iam.list_roles()["Roles"])
    yield from (f"policy {one['PolicyName']}" for one in iam.list_policies(Scope="Local")["Policies"])
    yield from (
        f"instance profile {one['InstanceProfileName']}" for one in iam.list_instance_profiles()["InstanceProfiles"]
    )
    for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        yield f"OIDC provider {one['Arn']}"


def _others(client: Client) -> Iterator[str]:
    yield from (f"cluster {name}" for name in client("eks").list_clusters()["clusters"])
    yield from (f"queue {url}" for url in client("sqs").list_queues().get("QueueUrls", []))
    yield from (f"event rule {one['Name']}" for one in client("events").list_rules()["Rules"])
    yield from (f"function {one['FunctionName']}" for one in client("lambda").list_functions()["Functions"])
    yield from (f"layer {one['LayerName']}" for one in client("lambda").list_layers()["Layers"])
    yield from (f"log group {one['logGroupName']}" for one in client("logs").describe_log_groups()["logGroups"])
    yield from (f"parameter {one['Name']}" for one in client("ssm").describe_parameters()["Parameters"])
    yield from (f"bucket {one['Name']}" for one in client("s3").list_buckets()["Buckets"])
    # A service of AWS's own makes its key when it is first used, and the account keeps it.
    own = {
        one.get("TargetKeyId")
        for one in client("kms").list_aliases()["Aliases"]
        if one["AliasName"].startswith("alias/aws/")
    }
    for one in client("kms").list_keys()["Keys"]:
        about = client("kms").describe_key(KeyId=one["KeyId"])["KeyMetadata"]
        if about["KeyState"] != "PendingDeletion" and one["KeyId"] not in own:
            yield f"key {one['KeyId']} ({about['Description']})"


LOOKS: tuple[Callable[[Client], Iterator[str]], ...] = (_ec2, _iam, _others)
