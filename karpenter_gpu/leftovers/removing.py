"""How one thing of each kind is deleted; each call may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from karpenter_gpu.leftovers.account import Account
from karpenter_gpu.leftovers.finding import Resource

Delete = Callable[[Account, Resource], None]


def calling(service: str, operation: str, argument: str, *, many: bool = False, **more: Any) -> Delete:
    """One call with the id.

    Args:
        service, operation, argument: What is called, and what it calls the id.

        many: Whether it takes a list of ids.

        more: What else it is called with.
    """

    def delete(account: Account, thing: Resource) -> None:
        getattr(account.client(service), operation)(**{argument: [thing.id] if many else thing.id}, **more)

    return delete


def security_group(account: Account, thing: Resource) -> None:
    """Its own rules first, because two groups that name each other hold each other."""
    ec2 = account.client("ec2")
    for direction, rules in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
        naming = [one for one in thing.about.get(rules, []) if one.get("UserIdGroupPairs")]
        if naming:
            pairs = [{**_protocol(one), "UserIdGroupPairs": one["UserIdGroupPairs"]} for one in naming]
            try:
                getattr(ec2, f"revoke_security_group_{direction}")(GroupId=thing.id, IpPermissions=pairs)
            except ec2.exceptions.ClientError as error:
                # An earlier call revoked them, or the group that they name is gone, and they with it.
                if error.response["Error"]["Code"] not in ("InvalidPermission.NotFound", "InvalidGroup.NotFound"):
                    raise
    ec2.delete_security_group(GroupId=thing.id)


def _protocol(rule: Any) -> dict[str, Any]:
    return {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}


def interfaces_of_group(account: Account, thing: Resource) -> str:
    """The network interfaces that hold a security group, by what made them."""
    asked = {"Filters": [{"Name": "group-id", "Values": [thing.id]}]}
    found = list(account.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", **asked))
    named = ", ".join(f"{one['NetworkInterfaceId']} ({one.get('Description') or one['Status']})" for one in found[:3])
    return f"; network interfaces that hold it: {named}" if found else "; a rule of another security group may name it"


def event_rule(account: Account, thing: Resource) -> None:
    events = account.client("events")
    targets = [one["Id"] for one in account.pages("events", "list_targets_by_rule", "Targets", Rule=thing.id)]
    if targets:
        events.remove_targets(Rule=thing.id, Ids=targets)
    events.delete_rule(Name=thing.id)


def instance_profile(account: Account, thing: Resource) -> None:
    iam = account.client("iam")
    for role in iam.get_instance_profile(InstanceProfileName=thing.id)["InstanceProfile"]["Roles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=thing.id, RoleName=role["RoleName"])
    iam.delete_instance_profile(InstanceProfileName=thing.id)


def role(account: Account, thing: Resource) -> None:
    """Out of its instance profiles, which stay, and without its policies."""
    iam, asked = account.client("iam"), {"RoleName": thing.id}
    for one in account.pages("iam", "list_instance_profiles_for_role", "InstanceProfiles", **asked):
        iam.remove_role_from_instance_profile(InstanceProfileName=one["InstanceProfileName"], **asked)
    for one in account.pages("iam", "list_attached_role_policies", "AttachedPolicies", **asked):
        iam.detach_role_policy(PolicyArn=one["PolicyArn"], **asked)
    for name in account.pages("iam", "list_role_policies", "PolicyNames", **asked):
        iam.delete_role_policy(PolicyName=name, **asked)
    iam.delete_role(**asked)


def policy(account: Account, thing: Resource) -> None:
    """One that something else has stays: IAM refuses."""
    iam = account.client("iam")
    for one in account.pages("iam", "list_policy_versions", "Versions", PolicyArn=thing.id):
        if not one["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=thing.id, VersionId=one["VersionId"])
    iam.delete_policy(PolicyArn=thing.id)
