"""Clusters and what belongs to one, against the EKS API as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import call, chosen, rolled_back_on_failure, tried, until
from eks_rehearsal.cloudformation.types.tags import Tagging, tags_of
from eks_rehearsal.errors import RehearsalError

TAGS = Tagging("eks", "ResourceArn", form=dict)
LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
Keys = dict[str, str]


@dataclass(frozen=True)
class EksType:
    """What EKS makes with `create_<noun>`, shows with `describe_<noun>`, and deletes.

    Args:
        type: The CloudFormation type.

        noun: Its name in the operations.

        answer: The key of the answers that has it.

        arn: The key of its ARN therein.

        keys: The parameters that name one, from its physical id.

        id: The physical id, from what EKS shows.

        properties: What it knows.

        replaced_by: What replaces it.

        attributes: What GetAtt gives, from what EKS shows.

        given: What creation is given for the properties.

        deletion: Which properties the deletion is given, and as what.

        update: The changes that EKS is asked for, one after the other.

        created: What is left to do when it stands.
    """

    type: str
    noun: str
    answer: str
    arn: str
    keys: Callable[[str], Keys]
    id: Callable[[Mapping[str, Any]], str]
    properties: frozenset[str]
    replaced_by: frozenset[str]
    attributes: Callable[[Mapping[str, Any]], dict[str, Any]]
    update: Callable[[Context, Keys, Properties, Properties], None]
    given: Callable[[Context, Properties], dict[str, Any]] = lambda _context, properties: dict(properties)
    deletion: Mapping[str, str] = field(default_factory=dict)
    created: Callable[[Context, Properties], None] = lambda _context, _properties: None

    def create(self, context: Context, properties: Properties) -> Made:
        given = self.given(context, properties) | {"Tags": tags_of(context, properties)}
        made = call(context, "eks", f"create_{self.noun}", **given)[self.answer]
        id = self.id(made)
        with rolled_back_on_failure(id):
            self.settle(context, id)
            self.created(context, properties)
        return Made(id, self.attributes(self.shown(context, id) or {}))

    def shown(self, context: Context, id: str) -> dict[str, Any] | None:
        """What EKS says of it; None once it is gone."""
        answer = tried(context, "eks", f"describe_{self.noun}", **self.keys(id))
        return answer and dict(answer[self.answer])

    def settle(self, context: Context, id: str) -> None:
        """Wait until it is ACTIVE; kinds without a status are at once.

        Raises:
            RehearsalError: It failed, or is gone, or took too long.
        """

        def settled() -> bool:
            shown = self.shown(context, id)
            if shown is None:
                raise RehearsalError(f"{context.logical_id} ({self.type}): {id} is gone")
            status = str(shown.get("status", "ACTIVE"))
            if "FAILED" in status or status == "DEGRADED":
                raise RehearsalError(f"{context.logical_id} ({self.type}): {id} is {status}: {shown.get('health')}")
            return status == "ACTIVE"

        until(settled, f"{context.logical_id} ({self.type}) {id} to be ACTIVE")

    def change(self, context: Context, id: str, old: Properties, new: Properties) -> Made:
        keys = self.keys(id)
        self.update(context, keys, old, new)
        self.settle(context, id)
        shown = self.shown(context, id) or {}
        TAGS.change(context, shown.get(self.arn), old, new)
        return Made(id, self.attributes(shown))

    def delete(self, context: Context, id: str, properties: Properties) -> None:
        given = {self.deletion[name]: properties[name] for name in self.deletion if name in properties}
        tried(context, "eks", f"delete_{self.noun}", **self.keys(id), **given)
        until(lambda: self._gone(context, id), f"{context.logical_id} ({self.type}) {id} to be gone")

    def _gone(self, context: Context, id: str) -> bool:
        shown = self.shown(context, id)
        if shown and "FAILED" in str(shown.get("status")):
            raise RehearsalError(
                f"{context.logical_id} ({self.type}): {id} is {shown['status']}: {shown.get('health')}"
            )
        return shown is None

    def row(self) -> ResourceType:
        known = self.properties | {"Tags"}
        return ResourceType(self.type, known, self.create, self.delete, self.change, self.replaced_by)


def _changed(old: Properties, new: Properties, *names: str) -> bool:
    return any(old.get(name) != new.get(name) for name in names)


def _asked(context: Context, operation: str, keys: Keys, **given: Any) -> None:
    """Ask for a change and wait until EKS has made it.

    Raises:
        RehearsalError: EKS says that it failed.
    """
    update = call(context, "eks", operation, **keys, **given)["update"]
    cluster = keys.get("Name") or keys["ClusterName"]
    named = {"Name": cluster, "UpdateId": update["id"], **chosen(keys, ("NodegroupName", "AddonName"))}

    def done() -> bool:
        shown = call(context, "eks", "describe_update", **named)["update"]
        if shown["status"] in {"Failed", "Cancelled"}:
            raise RehearsalError(f"{context.logical_id}: {operation} is {shown['status']}: {shown.get('errors')}")
        return bool(shown["status"] == "Successful")

    until(done, f"{context.logical_id}: {operation}")


# AWS::EKS::Cluster


def _logging(given: Any) -> dict[str, Any]:
    """The API wants every log, on or off."""
    enabled = ((given or {}).get("ClusterLogging") or {}).get("EnabledTypes") or ()
    on = [entry["Type"] for entry in enabled]
    setups = [(on, True), ([log for log in LOGS if log not in on], False)]
    return {"ClusterLogging": [{"Types": types, "Enabled": enabled} for types, enabled in setups if types]}


def _cluster_given(context: Context, properties: Properties) -> dict[str, Any]:
    given = {"Name": context.name(100), **properties}
    given.pop("Force", None)
    if "Logging" in given:
        given["Logging"] = _logging(given["Logging"])
    return given


def _access(new: Properties) -> Iterator[dict[str, Any]]:
    yield {"AccessConfig": chosen(new.get("AccessConfig") or {}, ("AuthenticationMode",))}


def _network(new: Properties) -> Iterator[dict[str, Any]]:
    """EKS takes where the cluster is and who reaches it one at a time."""
    config = dict(new["ResourcesVpcConfig"])
    yield {"ResourcesVpcConfig": chosen(config, ("SubnetIds", "SecurityGroupIds"))}
    reach: dict[str, Any] = {"EndpointPublicAccess": True, "EndpointPrivateAccess": False}
    reach |= {key: value for key, value in config.items() if key not in {"SubnetIds", "SecurityGroupIds"}}
    if str(reach["EndpointPublicAccess"]).lower() == "true":
        reach.setdefault("PublicAccessCidrs", ["0.0.0.0/0"])
    yield {"ResourcesVpcConfig": reach}


def _mode(new: Properties) -> Iterator[dict[str, Any]]:
    network = chosen(new.get("KubernetesNetworkConfig") or {}, ("ElasticLoadBalancing",))
    yield chosen(new, ("ComputeConfig", "StorageConfig")) | ({"KubernetesNetworkConfig": network} if network else {})


def _plain(name: str) -> Callable[[Properties], Iterator[dict[str, Any]]]:
    def parts(new: Properties) -> Iterator[dict[str, Any]]:
        if name in new:
            yield {name: new[name]}

    return parts


CLUSTER_CHANGES: Mapping[tuple[str, ...], Callable[[Properties], Iterator[dict[str, Any]]]] = {
    ("AccessConfig",): _access,
    ("ResourcesVpcConfig",): _network,
    ("Logging",): lambda new: iter([{"Logging": _logging(new.get("Logging"))}]),
    ("ComputeConfig", "KubernetesNetworkConfig", "StorageConfig"): _mode,
    **{
        (name,): _plain(name)
        for name in ("DeletionProtection", "RemoteNetworkConfig", "UpgradePolicy", "ZonalShiftConfig")
    },
}


def _update_cluster(context: Context, keys: Keys, old: Properties, new: Properties) -> None:
    if _changed(old, new, "Version"):
        _asked(context, "update_cluster_version", keys, **chosen(new, ("Version", "Force")))
    for names, parts in CLUSTER_CHANGES.items():
        if _changed(old, new, *names):
            before = list(parts(old)) if old else []
            for part in parts(new):
                if part not in before:
                    _asked(context, "update_cluster_config", keys, **part)


def _cluster_attributes(cluster: Mapping[str, Any]) -> dict[str, Any]:
    network = cluster.get("kubernetesNetworkConfig") or {}
    keys = [config["provider"]["keyArn"] for config in cluster.get("encryptionConfig") or ()]
    return {
        "Arn": cluster["arn"],
        "Endpoint": cluster["endpoint"],
        "CertificateAuthorityData": cluster["certificateAuthority"]["data"],
        "ClusterSecurityGroupId": cluster["resourcesVpcConfig"].get("clusterSecurityGroupId", ""),
        "OpenIdConnectIssuerUrl": cluster["identity"]["oidc"]["issuer"],
        "EncryptionConfigKeyArn": "".join(keys[:1]),
        "KubernetesNetworkConfig.ServiceIpv4Cidr": network.get("serviceIpv4Cidr", ""),
        "KubernetesNetworkConfig.ServiceIpv6Cidr": network.get("serviceIpv6Cidr", ""),
        "Id": cluster.get("id", ""),
    }


# AWS::EKS::Nodegroup


def _nodegroup_given(context: Context, properties: Properties) -> dict[str, Any]:
    given = {"NodegroupName": context.name(63), **properties}
    given.pop("ForceUpdateEnabled", None)
    return given


def _labels(old: Properties, new: Properties) -> dict[str, Any]:
    before, after = old.get("Labels") or {}, new.get("Labels") or {}
    return {
        "AddOrUpdateLabels": {key: value for key, value in after.items() if before.get(key) != value},
        "RemoveLabels": sorted(before.keys() - after.keys()),
    }


def _taints(old: Properties, new: Properties) -> dict[str, Any]:
    before, after = old.get("Taints") or [], new.get("Taints") or []
    named = {(taint.get("Key"), taint.get("Effect")) for taint in after}
    return {
        "AddOrUpdateTaints": [taint for taint in after if taint not in before],
        "RemoveTaints": [taint for taint in before if (taint.get("Key"), taint.get("Effect")) not in named],
    }


def _filled(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in changes.items() if value}


def _update_nodegroup(context: Context, keys: Keys, old: Properties, new: Properties) -> None:
    versions = ("Version", "ReleaseVersion", "LaunchTemplate")
    if _changed(old, new, *versions):
        force = new.get("ForceUpdateEnabled")
        _asked(context, "update_nodegroup_version", keys, **chosen(new, versions), Force=force)
    configs = ("ScalingConfig", "UpdateConfig", "NodeRepairConfig")
    changed = {name: new[name] for name in configs if name in new and _changed(old, new, name)}
    changed |= _filled({"Labels": _filled(_labels(old, new)), "Taints": _filled(_taints(old, new))})
    if changed:
        _asked(context, "update_nodegroup_config", keys, **changed)


# AWS::EKS::FargateProfile


def _profile_given(context: Context, properties: Properties) -> dict[str, Any]:
    """A template has labels as a list, the API as a map."""
    given = {"FargateProfileName": context.name(100), **properties}
    selectors = []
    for selector in properties.get("Selectors", ()):
        labels = {label["Key"]: label["Value"] for label in selector.get("Labels") or ()}
        selectors.append({**selector, **({"Labels": labels} if labels else {})})
    return {**given, "Selectors": selectors}


def _nothing_else(_context: Context, _keys: Keys, _old: Properties, _new: Properties) -> None:
    """Tags are all that can be changed."""


# AWS::EKS::Addon


def _addon_given(_context: Context, properties: Properties) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key != "PreserveOnDelete"}


ADDON_CHANGES = (
    "AddonVersion",
    "ConfigurationValues",
    "PodIdentityAssociations",
    "ResolveConflicts",
    "ServiceAccountRoleArn",
)


def _update_addon(context: Context, keys: Keys, old: Properties, new: Properties) -> None:
    if _changed(old, new, *ADDON_CHANGES):
        _asked(context, "update_addon", keys, **chosen(new, ADDON_CHANGES))


# AWS::EKS::AccessEntry


def _entry_given(_context: Context, properties: Properties) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key != "AccessPolicies"}


def _policies(properties: Properties) -> dict[str, Any]:
    return {policy["PolicyArn"]: policy for policy in properties.get("AccessPolicies") or ()}


def _associate(context: Context, keys: Keys, old: Properties, new: Properties) -> None:
    before, after = _policies(old), _policies(new)
    for arn in sorted(before.keys() - after.keys()):
        tried(context, "eks", "disassociate_access_policy", **keys, PolicyArn=arn)
    for arn, policy in after.items():
        if before.get(arn) != policy:
            call(context, "eks", "associate_access_policy", **keys, **policy)


def _entry_created(context: Context, properties: Properties) -> None:
    _associate(context, chosen(properties, ("ClusterName", "PrincipalArn")), {}, properties)


def _update_entry(context: Context, keys: Keys, old: Properties, new: Properties) -> None:
    if _changed(old, new, "KubernetesGroups", "Username"):
        groups = new.get("KubernetesGroups", [])
        call(context, "eks", "update_access_entry", **keys, KubernetesGroups=groups, Username=new.get("Username"))
    _associate(context, keys, old, new)


# AWS::EKS::PodIdentityAssociation

IDENTITY_CHANGES = ("DisableSessionTags", "Policy", "RoleArn", "TargetRoleArn")


def _update_identity(context: Context, keys: Keys, old: Properties, new: Properties) -> None:
    if _changed(old, new, *IDENTITY_CHANGES):
        call(context, "eks", "update_pod_identity_association", **keys, **chosen(new, IDENTITY_CHANGES))


def _split(separator: str, *names: str) -> Callable[[str], Keys]:
    """The last parts of a physical id, by what they are."""
    return lambda physical: dict(zip(names, physical.split(separator)[-len(names) :], strict=True))


PROFILE = frozenset({"ClusterName", "FargateProfileName", "PodExecutionRoleArn", "Selectors", "Subnets"})

EKS_TYPES = (
    EksType(
        "AWS::EKS::Cluster",
        "cluster",
        "cluster",
        "arn",
        keys=lambda name: {"Name": name},
        id=lambda cluster: str(cluster["name"]),
        properties=frozenset(
            {
                "AccessConfig",
                "BootstrapSelfManagedAddons",
                "ComputeConfig",
                "DeletionProtection",
                "EncryptionConfig",
                "Force",
                "KubernetesNetworkConfig",
                "Logging",
                "Name",
                "RemoteNetworkConfig",
                "ResourcesVpcConfig",
                "RoleArn",
                "StorageConfig",
                "UpgradePolicy",
                "Version",
                "ZonalShiftConfig",
            }
        ),
        replaced_by=frozenset(
            {
                "AccessConfig.BootstrapClusterCreatorAdminPermissions",
                "BootstrapSelfManagedAddons",
                "EncryptionConfig",
                "KubernetesNetworkConfig.IpFamily",
                "KubernetesNetworkConfig.ServiceIpv4Cidr",
                "Name",
                "RoleArn",
            }
        ),
        attributes=_cluster_attributes,
        given=_cluster_given,
        update=_update_cluster,
    ),
    EksType(
        "AWS::EKS::Nodegroup",
        "nodegroup",
        "nodegroup",
        "nodegroupArn",
        keys=_split("/", "ClusterName", "NodegroupName"),
        id=lambda group: f"{group['clusterName']}/{group['nodegroupName']}",
        properties=frozenset(
            {
                "AmiType",
                "CapacityType",
                "ClusterName",
                "DiskSize",
                "ForceUpdateEnabled",
                "InstanceTypes",
                "Labels",
                "LaunchTemplate",
                "NodeRepairConfig",
                "NodeRole",
                "NodegroupName",
                "ReleaseVersion",
                "RemoteAccess",
                "ScalingConfig",
                "Subnets",
                "Taints",
                "UpdateConfig",
                "Version",
            }
        ),
        replaced_by=frozenset(
            {
                "AmiType",
                "CapacityType",
                "ClusterName",
                "DiskSize",
                "InstanceTypes",
                "NodeRole",
                "NodegroupName",
                "RemoteAccess",
                "Subnets",
            }
        ),
        attributes=lambda group: {
            "Arn": group["nodegroupArn"],
            "ClusterName": group["clusterName"],
            "Id": f"{group['clusterName']}/{group['nodegroupName']}",
            "NodegroupName": group["nodegroupName"],
        },
        given=_nodegroup_given,
        update=_update_nodegroup,
    ),
    EksType(
        "AWS::EKS::FargateProfile",
        "fargate_profile",
        "fargateProfile",
        "fargateProfileArn",
        keys=_split("|", "ClusterName", "FargateProfileName"),
        id=lambda profile: f"{profile['clusterName']}|{profile['fargateProfileName']}",
        properties=PROFILE,
        replaced_by=PROFILE,
        attributes=lambda profile: {"Arn": profile["fargateProfileArn"]},
        given=_profile_given,
        update=_nothing_else,
    ),
    EksType(
        "AWS::EKS::Addon",
        "addon",
        "addon",
        "addonArn",
        keys=_split("|", "ClusterName", "AddonName"),
        id=lambda addon: f"{addon['clusterName']}|{addon['addonName']}",
        properties=frozenset({"AddonName", "ClusterName", "NamespaceConfig", "PreserveOnDelete", *ADDON_CHANGES}),
        replaced_by=frozenset({"AddonName", "ClusterName", "NamespaceConfig"}),
        attributes=lambda addon: {"Arn": addon["addonArn"]},
        given=_addon_given,
        deletion={"PreserveOnDelete": "Preserve"},
        update=_update_addon,
    ),
    EksType(
        "AWS::EKS::AccessEntry",
        "access_entry",
        "accessEntry",
        "accessEntryArn",
        keys=_split("|", "PrincipalArn", "ClusterName"),
        id=lambda entry: f"{entry['principalArn']}|{entry['clusterName']}",
        properties=frozenset({"AccessPolicies", "ClusterName", "KubernetesGroups", "PrincipalArn", "Type", "Username"}),
        replaced_by=frozenset({"ClusterName", "PrincipalArn", "Type"}),
        attributes=lambda entry: {"AccessEntryArn": entry["accessEntryArn"]},
        given=_entry_given,
        created=_entry_created,
        update=_update_entry,
    ),
    EksType(
        "AWS::EKS::PodIdentityAssociation",
        "pod_identity_association",
        "association",
        "associationArn",
        # arn:aws:eks:eu-west-1:111122223333:podidentityassociation/CLUSTER/a-ID
        keys=_split("/", "ClusterName", "AssociationId"),
        id=lambda association: str(association["associationArn"]),
        properties=frozenset({"ClusterName", "Namespace", "ServiceAccount", *IDENTITY_CHANGES}),
        replaced_by=frozenset({"ClusterName", "Namespace", "ServiceAccount"}),
        attributes=lambda association: {
            "AssociationArn": association["associationArn"],
            "AssociationId": association["associationId"],
            "ExternalId": association.get("externalId", ""),
        },
        update=_update_identity,
    ),
)

ROWS = tuple(row.row() for row in EKS_TYPES)
