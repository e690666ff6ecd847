"""Roles, policies and the identity provider of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import (
    call,
    chosen,
    document,
    known,
    refusal,
    rolled_back_on_failure,
    tried,
)
from eks_rehearsal.cloudformation.types.tags import Tagging, pairs, tags_of

ROLE_TAGS = Tagging("iam", "RoleName", "tag_role", "untag_role")
PROVIDER_TAGS = Tagging(
    "iam", "OpenIDConnectProviderArn", "tag_open_id_connect_provider", "untag_open_id_connect_provider"
)
HOLDERS = {"Roles": "role", "Users": "user", "Groups": "group"}
SESSION = "3600"


def _holders(properties: Properties) -> set[tuple[str, str]]:
    """Whom a policy is for, as (`role`, its name)."""
    return {(kind, name) for key, kind in HOLDERS.items() for name in properties.get(key) or ()}


def _of(kind: str, name: str) -> dict[str, str]:
    return {f"{kind.title()}Name": name}


# AWS::IAM::Role


def _create_role(context: Context, properties: Properties) -> Made:
    given = chosen(properties, ("Path", "Description", "MaxSessionDuration", "PermissionsBoundary"))
    name = properties.get("RoleName") or context.name(64)
    call(
        context,
        "iam",
        "create_role",
        RoleName=name,
        AssumeRolePolicyDocument=document(properties["AssumeRolePolicyDocument"]),
        Tags=pairs(tags_of(context, properties)),
        **given,
    )
    with rolled_back_on_failure(name):
        _update_policies(context, name, {}, properties)
    return _role_made(context, name)


def _role_made(context: Context, name: str) -> Made:
    role = call(context, "iam", "get_role", RoleName=name)["Role"]
    return Made(name, chosen(role, ("Arn", "RoleId")))


def _inline(context: Context, properties: Properties) -> dict[str, Any]:
    policies = properties.get("Policies") or ()
    for index, policy in enumerate(policies):
        known(context, f"Policies[{index}]", policy, ("PolicyName", "PolicyDocument"))
    return {policy["PolicyName"]: document(policy["PolicyDocument"]) for policy in policies}


def _update_policies(context: Context, name: str, old: Properties, new: Properties) -> None:
    """Give a role the policies of the new properties and take those that only the old ones have."""
    before, after = set(old.get("ManagedPolicyArns") or ()), set(new.get("ManagedPolicyArns") or ())
    for arn in sorted(before - after):
        tried(context, "iam", "detach_role_policy", RoleName=name, PolicyArn=arn)
    for arn in sorted(after - before):
        call(context, "iam", "attach_role_policy", RoleName=name, PolicyArn=arn)
    had, has = _inline(context, old), _inline(context, new)
    for policy in sorted(had.keys() - has.keys()):
        tried(context, "iam", "delete_role_policy", RoleName=name, PolicyName=policy)
    for policy, text in has.items():
        if had.get(policy) != text:
            call(context, "iam", "put_role_policy", RoleName=name, PolicyName=policy, PolicyDocument=text)


def _update_role(context: Context, name: str, old: Properties, new: Properties) -> Made:
    trust = document(new["AssumeRolePolicyDocument"])
    if trust != document(old.get("AssumeRolePolicyDocument")):
        call(context, "iam", "update_assume_role_policy", RoleName=name, PolicyDocument=trust)
    if any(old.get(key) != new.get(key) for key in ("Description", "MaxSessionDuration")):
        described = {"Description": new.get("Description", "")}
        call(
            context,
            "iam",
            "update_role",
            RoleName=name,
            MaxSessionDuration=new.get("MaxSessionDuration", SESSION),
            **described,
        )
    _update_boundary(context, name, old.get("PermissionsBoundary"), new.get("PermissionsBoundary"))
    _update_policies(context, name, old, new)
    ROLE_TAGS.change(context, name, old, new)
    return _role_made(context, name)


def _update_boundary(context: Context, name: str, old: str | None, new: str | None) -> None:
    if new and new != old:
        call(context, "iam", "put_role_permissions_boundary", RoleName=name, PermissionsBoundary=new)
    elif old and not new:
        tried(context, "iam", "delete_role_permissions_boundary", RoleName=name)


def _delete_role(context: Context, name: str, properties: Properties) -> None:
    """What the role's own properties gave it goes with it; IAM refuses while anything else is left."""
    _update_policies(context, name, properties, {})
    tried(context, "iam", "delete_role", RoleName=name)


# AWS::IAM::Policy, inside whom it is for


def _create_policy(context: Context, properties: Properties) -> Made:
    _put(context, properties)
    id = context.name(64)
    return Made(id, {"Id": id})


def _put(context: Context, properties: Properties) -> None:
    text = document(properties["PolicyDocument"])
    for kind, name in sorted(_holders(properties)):
        called = _of(kind, name)
        policy = properties["PolicyName"]
        call(context, "iam", f"put_{kind}_policy", **called, PolicyName=policy, PolicyDocument=text)


def _remove(context: Context, policy: str, holders: set[tuple[str, str]]) -> None:
    for kind, name in sorted(holders):
        tried(context, "iam", f"delete_{kind}_policy", **_of(kind, name), PolicyName=policy)


def _update_policy(context: Context, id: str, old: Properties, new: Properties) -> Made:
    _put(context, new)
    renamed = old.get("PolicyName") != new["PolicyName"]
    _remove(context, old.get("PolicyName", ""), _holders(old) if renamed else _holders(old) - _holders(new))
    return Made(id, {"Id": id})


def _delete_policy(context: Context, _id: str, properties: Properties) -> None:
    _remove(context, properties["PolicyName"], _holders(properties))


# AWS::IAM::ManagedPolicy


def _create_managed(context: Context, properties: Properties) -> Made:
    made = call(
        context,
        "iam",
        "create_policy",
        PolicyName=properties.get("ManagedPolicyName") or context.name(128),
        PolicyDocument=document(properties["PolicyDocument"]),
        **chosen(properties, ("Path", "Description")),
    )
    arn = made["Policy"]["Arn"]
    with rolled_back_on_failure(arn):
        _attach(context, arn, set(), _holders(properties))
    return _managed_made(context, arn)


def _managed_made(context: Context, arn: str) -> Made:
    policy = call(context, "iam", "get_policy", PolicyArn=arn)["Policy"]
    told = ("AttachmentCount", "DefaultVersionId", "IsAttachable", "PermissionsBoundaryUsageCount", "PolicyId")
    dates = {key: policy[key].isoformat() for key in ("CreateDate", "UpdateDate")}
    return Made(arn, {"PolicyArn": arn, **chosen(policy, told), **dates})


def _attach(context: Context, arn: str, old: set[tuple[str, str]], new: set[tuple[str, str]]) -> None:
    for kind, name in sorted(old - new):
        tried(context, "iam", f"detach_{kind}_policy", **_of(kind, name), PolicyArn=arn)
    for kind, name in sorted(new - old):
        call(context, "iam", f"attach_{kind}_policy", **_of(kind, name), PolicyArn=arn)


def _other_versions(context: Context, arn: str) -> list[str]:
    """The versions that are not the default, oldest first."""
    answer = tried(context, "iam", "list_policy_versions", PolicyArn=arn) or {"Versions": []}
    others = [version["VersionId"] for version in answer["Versions"] if not version["IsDefaultVersion"]]
    return sorted(others, key=lambda version: int(version.removeprefix("v")))


def _update_managed(context: Context, arn: str, old: Properties, new: Properties) -> Made:
    text = document(new["PolicyDocument"])
    if text != document(old.get("PolicyDocument")):
        # IAM keeps five versions; CloudFormation keeps none but the newest.
        for version in _other_versions(context, arn):
            call(context, "iam", "delete_policy_version", PolicyArn=arn, VersionId=version)
        call(context, "iam", "create_policy_version", PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
    _attach(context, arn, _holders(old), _holders(new))
    return _managed_made(context, arn)


def _delete_managed(context: Context, arn: str, properties: Properties) -> None:
    _attach(context, arn, _holders(properties), set())
    for version in _other_versions(context, arn):
        tried(context, "iam", "delete_policy_version", PolicyArn=arn, VersionId=version)
    # moto lets an attached policy go.
    left = tried(context, "iam", "list_entities_for_policy", PolicyArn=arn) or {}
    names = [entity[key] for key in ("RoleName", "UserName", "GroupName") for entity in _entities(left, key)]
    if names:
        raise refusal("DeleteConflict", "DeletePolicy", "Cannot delete a policy attached to entities.", names)
    tried(context, "iam", "delete_policy", PolicyArn=arn)


def _entities(answer: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return list(answer.get(f"Policy{key.removesuffix('Name')}s", []))


# AWS::IAM::InstanceProfile


def _create_profile(context: Context, properties: Properties) -> Made:
    name = properties.get("InstanceProfileName") or context.name(128)
    given = chosen(properties, ("Path",))
    made = call(context, "iam", "create_instance_profile", InstanceProfileName=name, **given)
    with rolled_back_on_failure(name):
        _update_roles(context, name, (), properties["Roles"])
    return Made(name, {"Arn": made["InstanceProfile"]["Arn"]})


def _update_roles(context: Context, name: str, old: Sequence[str], new: Sequence[str]) -> None:
    """Let a profile carry the new role in the place of the old one: it has one."""
    for role in set(old) - set(new):
        tried(context, "iam", "remove_role_from_instance_profile", InstanceProfileName=name, RoleName=role)
    for role in set(new) - set(old):
        call(context, "iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=role)


def _update_profile(context: Context, name: str, old: Properties, new: Properties) -> Made:
    _update_roles(context, name, old["Roles"], new["Roles"])
    made = call(context, "iam", "get_instance_profile", InstanceProfileName=name)
    return Made(name, {"Arn": made["InstanceProfile"]["Arn"]})


def _delete_profile(context: Context, name: str, properties: Properties) -> None:
    _update_roles(context, name, properties["Roles"], ())
    tried(context, "iam", "delete_instance_profile", InstanceProfileName=name)


# AWS::IAM::OIDCProvider


def _create_provider(context: Context, properties: Properties) -> Made:
    made = call(
        context,
        "iam",
        "create_open_id_connect_provider",
        Url=properties["Url"],
        ClientIDList=properties.get("ClientIdList"),
        ThumbprintList=properties.get("ThumbprintList"),
        Tags=pairs(tags_of(context, properties)),
    )
    arn = made["OpenIDConnectProviderArn"]
    return Made(arn, {"Arn": arn})


def _update_provider(context: Context, arn: str, old: Properties, new: Properties) -> Made:
    before, after = set(old.get("ClientIdList") or ()), set(new.get("ClientIdList") or ())
    for client in sorted(before - after):
        _provider(context, "remove_client_id_from_open_id_connect_provider", arn, ClientID=client)
    for client in sorted(after - before):
        _provider(context, "add_client_id_to_open_id_connect_provider", arn, ClientID=client)
    thumbprints = new.get("ThumbprintList")
    if thumbprints != old.get("ThumbprintList"):
        _provider(context, "update_open_id_connect_provider_thumbprint", arn, ThumbprintList=thumbprints or [])
    PROVIDER_TAGS.change(context, arn, old, new)
    return Made(arn, {"Arn": arn})


def _provider(context: Context, operation: str, arn: str, **given: Any) -> None:
    call(context, "iam", operation, OpenIDConnectProviderArn=arn, **given)


def _delete_provider(context: Context, arn: str, _properties: Properties) -> None:
    tried(context, "iam", "delete_open_id_connect_provider", OpenIDConnectProviderArn=arn)


FOR = frozenset(HOLDERS)

ROWS = (
    ResourceType(
        "AWS::IAM::Role",
        frozenset(
            {
                "AssumeRolePolicyDocument",
                "Description",
                "ManagedPolicyArns",
                "MaxSessionDuration",
                "Path",
                "PermissionsBoundary",
                "Policies",
                "RoleName",
                "Tags",
            }
        ),
        _create_role,
        _delete_role,
        _update_role,
        frozenset({"Path", "RoleName"}),
    ),
    ResourceType(
        "AWS::IAM::Policy", FOR | {"PolicyDocument", "PolicyName"}, _create_policy, _delete_policy, _update_policy
    ),
    ResourceType(
        "AWS::IAM::ManagedPolicy",
        FOR | {"Description", "ManagedPolicyName", "Path", "PolicyDocument"},
        _create_managed,
        _delete_managed,
        _update_managed,
        frozenset({"Description", "ManagedPolicyName", "Path"}),
    ),
    ResourceType(
        "AWS::IAM::InstanceProfile",
        frozenset({"InstanceProfileName", "Path", "Roles"}),
        _create_profile,
        _delete_profile,
        _update_profile,
        frozenset({"InstanceProfileName", "Path"}),
    ),
    ResourceType(
        "AWS::IAM::OIDCProvider",
        frozenset({"ClientIdList", "Tags", "ThumbprintList", "Url"}),
        _create_provider,
        _delete_provider,
        _update_provider,
        frozenset({"Url"}),
    ),
)
