"""EKS: clusters, written anew; moto's own is left unused, as it knows neither access entries nor a control plane.

Node groups, access entries, Pod Identity and add-ons have files of their own beside this one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.eks_access import associated, entry
from eks_rehearsal.aws.extensions.eks_clusters import Cluster, Clusters, Document, in_use, invalid, not_found
from eks_rehearsal.aws.hooks import ClusterEndpoint
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations

_LOG_TYPES: Final = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_SERVICES_CIDR: Final = "172.20.0.0/16"
_NEWEST: Final = "1.36"
_PLATFORM: Final = "eks.1"
_ADMIN_POLICY: Final = "AmazonEKSClusterAdminPolicy"

# Members of an UpdateClusterConfig request, and the type of update each is.
_UPDATES: Final = {
    "resourcesVpcConfig": "EndpointAccessUpdate",
    "logging": "LoggingUpdate",
    "accessConfig": "AccessConfigUpdate",
    "upgradePolicy": "UpgradePolicyUpdate",
    "zonalShiftConfig": "ZonalShiftConfigUpdate",
    "computeConfig": "AutoModeUpdate",
    "kubernetesNetworkConfig": "AutoModeUpdate",
    "storageConfig": "AutoModeUpdate",
    "remoteNetworkConfig": "RemoteNetworkConfigUpdate",
    "deletionProtection": "DeletionProtectionUpdate",
}


def _logging(asked: Mapping[str, Any] | None) -> Document:
    """Which logs are on, and which off, from one or several lists of them."""
    lists = (asked or {}).get("clusterLogging", ())
    on = {kind for listed in lists if listed.get("enabled") for kind in listed.get("types", ())}
    sets = [
        (True, [kind for kind in _LOG_TYPES if kind in on]),
        (False, [kind for kind in _LOG_TYPES if kind not in on]),
    ]
    return {"clusterLogging": [{"enabled": enabled, "types": kinds} for enabled, kinds in sets if kinds]}


def _network(asked: Mapping[str, Any] | None) -> Document:
    given = dict(asked or {})
    if given.get("ipFamily") == "ipv6":
        return {"serviceIpv6Cidr": "fd00:ec2::/108", "elasticLoadBalancing": {"enabled": False}, **given}
    return {"serviceIpv4Cidr": _SERVICES_CIDR, "ipFamily": "ipv4", "elasticLoadBalancing": {"enabled": False}, **given}


class Eks:
    """The operations on clusters."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._world = clusters.world

    @property
    def operations(self) -> Operations:
        table = {
            "CreateCluster": self.create_cluster,
            "DescribeCluster": lambda call: {"cluster": self._clusters[call.parameters["name"]].shown},
            "ListClusters": lambda _: {"clusters": [cluster.name for cluster in self._clusters]},
            "DeleteCluster": self.delete_cluster,
            "UpdateClusterConfig": self.update_cluster_config,
            "UpdateClusterVersion": self.update_cluster_version,
            "AssociateEncryptionConfig": self.associate_encryption_config,
            "DescribeUpdate": self.describe_update,
            "ListUpdates": self.list_updates,
            "DescribeClusterVersions": self.describe_cluster_versions,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": lambda call: {"tags": self._tags(call.parameters["resourceArn"])},
            "ListIdentityProviderConfigs": lambda _: {"identityProviderConfigs": []},
            "ListInsights": lambda _: {"insights": []},
            "ListCapabilities": lambda _: {"capabilities": []},
            "*": self._not_known,
        }
        return {("eks", action): operation for action, operation in table.items()}

    @staticmethod
    def _not_known(call: Call) -> None:
        raise NotImplementedError(f"this EKS has no {call.action}")

    # Making.

    def create_cluster(self, call: Call) -> Document:
        asked = call.parameters
        name = asked["name"]
        if name in self._clusters:
            raise in_use(f"Cluster already exists with name: {name}", clusterName=name)
        cluster = Cluster(self._shown(asked, call.principal))
        self._clusters.add(cluster)
        if (asked.get("accessConfig") or {}).get("bootstrapClusterCreatorAdminPermissions", True):
            self._create_creators_entry(cluster, call.principal)
        shown = dict(cluster.shown)
        self._clusters.run(
            lambda: self._world.hooks.create_cluster(cluster.name, shown["version"], shown),
            lambda plane: self._started(cluster, plane),
            lambda why: self._fail(cluster, why),
        )
        return {"cluster": shown}

    def _shown(self, asked: Document, _principal: str) -> Document:
        vpc_config, name = asked.get("resourcesVpcConfig") or {}, asked["name"]
        access = {"authenticationMode": "CONFIG_MAP", **(asked.get("accessConfig") or {})}
        access.setdefault("bootstrapClusterCreatorAdminPermissions", True)
        given: Document = {
            key: asked[key]
            for key in ("encryptionConfig", "computeConfig", "storageConfig", "zonalShiftConfig", "remoteNetworkConfig")
            if key in asked
        }
        return {
            "name": name,
            "arn": self._world.arn("eks", f"cluster/{name}"),
            "createdAt": utcnow(),
            "version": asked.get("version") or _NEWEST,
            "roleArn": asked["roleArn"],
            "resourcesVpcConfig": self._vpc(name, vpc_config),
            "kubernetesNetworkConfig": _network(asked.get("kubernetesNetworkConfig")),
            "logging": _logging(asked.get("logging")),
            "status": "CREATING",
            "certificateAuthority": {},
            "platformVersion": _PLATFORM,
            "tags": dict(asked.get("tags") or {}),
            "health": {"issues": []},
            "accessConfig": access,
            "upgradePolicy": asked.get("upgradePolicy") or {"supportType": "EXTENDED"},
            "deletionProtection": asked.get("deletionProtection", False),
            **given,
        }

    def _vpc(self, name: str, asked: Mapping[str, Any]) -> Document:
        subnets = list(asked.get("subnetIds", ()))
        backend = self._world.backend("ec2")
        found = [subnet for subnet in backend.describe_subnets() if subnet.id in subnets]
        missing = sorted(set(subnets) - {subnet.id for subnet in found})
        if missing or not subnets:
            raise invalid(f"The subnet ID '{', '.join(missing)}' does not exist", clusterName=name)
        public = asked.get("publicAccessCidrs") or ["0.0.0.0/0"]
        return {
            "subnetIds": subnets,
            "securityGroupIds": list(asked.get("securityGroupIds", ())),
            "clusterSecurityGroupId": self._security_group(name, found[0].vpc_id),
            "vpcId": found[0].vpc_id,
            "endpointPublicAccess": asked.get("endpointPublicAccess", True),
            "endpointPrivateAccess": asked.get("endpointPrivateAccess", False),
            "publicAccessCidrs": public if asked.get("endpointPublicAccess", True) else [],
        }

    def _security_group(self, name: str, vpc: str) -> str:
        """The group that EKS makes for a cluster: its members reach each other."""
        backend = self._world.backend("ec2")
        text = "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes"
        group_name = f"eks-cluster-sg-{name}-{uuid.uuid4().int % 10**10}"
        tags = {"Name": group_name, f"kubernetes.io/cluster/{name}": "owned", "aws:eks:cluster-name": name}
        group = backend.create_security_group(group_name, text, vpc_id=vpc, tags=tags)
        backend.authorize_security_group_ingress(group.id, "-1", None, None, [], [{"GroupId": group.id}])
        return str(group.id)

    @staticmethod
    def _started(cluster: Cluster, plane: ClusterEndpoint) -> None:
        shown = cluster.shown
        shown["endpoint"] = plane.endpoint
        shown["certificateAuthority"] = {"data": plane.certificate_authority}
        shown["identity"] = {"oidc": {"issuer": plane.issuer}}
        shown["status"] = "ACTIVE"

    @staticmethod
    def _fail(cluster: Cluster, why: str) -> None:
        cluster.shown["health"] = {"issues": [{"code": "InternalFailure", "message": why, "resourceIds": []}]}
        cluster.shown["status"] = "FAILED"

    def _create_creators_entry(self, cluster: Cluster, principal: str) -> None:
        cluster.creator = principal
        cluster.entries[principal] = entry(self._world, cluster.name, principal, {"type": "STANDARD"})
        policy = f"arn:{self._world.partition}:eks::aws:cluster-access-policy/{_ADMIN_POLICY}"
        cluster.policies[principal] = {policy: associated(policy, {"type": "cluster", "namespaces": []})}

    # Ending.

    def delete_cluster(self, call: Call) -> Document:
        cluster = self._clusters[call.parameters["name"]]
        if cluster.nodegroups:
            raise in_use("Cluster has nodegroups attached", clusterName=cluster.name)
        if cluster.profiles:
            raise in_use("Cluster has Fargate profiles attached", clusterName=cluster.name)
        if cluster.shown["deletionProtection"]:
            error = AwsError("InvalidRequestException", "Cluster cannot be deleted: deletion protection is enabled")
            error.__dict__["clusterName"] = cluster.name
            raise error
        cluster.shown["status"] = "DELETING"
        shown = dict(cluster.shown)
        self._clusters.run(
            lambda: self._world.hooks.delete_cluster(cluster.name),
            lambda _: self._ended(cluster),
            lambda why: self._fail(cluster, why),
        )
        return {"cluster": shown}

    def _ended(self, cluster: Cluster) -> None:
        backend = self._world.backend("ec2")
        group = cluster.shown["resourcesVpcConfig"]["clusterSecurityGroupId"]
        for other in list(backend.describe_security_groups(group_ids=[group])):
            backend.delete_security_group(group_id=other.id)
        self._clusters.remove(cluster.name)

    # Changing.

    def update_cluster_config(self, call: Call) -> Document:
        asked = call.parameters
        cluster = self._clusters[asked["name"]]
        changed = {key: asked[key] for key in _UPDATES if asked.get(key) is not None}
        if not changed:
            raise AwsError("InvalidParameterException", "Nothing to update")
        for key, value in changed.items():
            cluster.shown[key] = self._changed(cluster, key, value)
        return {"update": self._done(cluster.note(_UPDATES[next(iter(changed))], changed))}

    @staticmethod
    def _changed(cluster: Cluster, key: str, value: Any) -> Any:
        before = cluster.shown.get(key)
        if key == "logging":
            return _logging(value)
        return {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value

    def update_cluster_version(self, call: Call) -> Document:
        cluster = self._clusters[call.parameters["name"]]
        before, version = cluster.shown["version"], call.parameters["version"]
        if int(version.split(".")[1]) != int(before.split(".")[1]) + 1:
            raise invalid(f"Unsupported Kubernetes minor version update from {before} to {version}")
        update = cluster.note("VersionUpdate", {"Version": version, "PlatformVersion": _PLATFORM})
        # The control plane that runs is not replaced: only what EKS says of it is.
        cluster.shown["version"] = version
        return {"update": self._done(update)}

    def associate_encryption_config(self, call: Call) -> Document:
        cluster = self._clusters[call.parameters["clusterName"]]
        cluster.shown["encryptionConfig"] = call.parameters["encryptionConfig"]
        return {"update": self._done(cluster.note("AssociateEncryptionConfig", {}))}

    @staticmethod
    def _done(update: Document) -> Document:
        shown = dict(update)
        update["status"] = "Successful"
        return shown

    def describe_update(self, call: Call) -> Document:
        cluster, asked = self._clusters[call.parameters["name"]], call.parameters["updateId"]
        if asked not in cluster.updates:
            raise not_found(f"No update found for ID: {asked}")
        return {"update": cluster.updates[asked][0]}

    def list_updates(self, call: Call) -> Document:
        asked = call.parameters
        of = asked.get("nodegroupName") or asked.get("addonName") or ""
        updates = self._clusters[asked["name"]].updates
        return {"updateIds": [update for update, (_, whose) in updates.items() if whose == of]}

    @staticmethod
    def describe_cluster_versions(call: Call) -> Document:
        asked = call.parameters.get("clusterVersions") or [f"1.{minor}" for minor in range(30, 37)]
        shown = [
            {
                "clusterVersion": version,
                "clusterType": "eks",
                "defaultVersion": version == _NEWEST,
                "status": "standard-support",
                "versionStatus": "STANDARD_SUPPORT",
                "kubernetesPatchVersion": f"{version}.0",
                "releaseDate": datetime(2024, 1, 1),  # noqa: DTZ001 - moto serialises naive UTC
            }
            for version in asked
        ]
        return {"clusterVersions": shown}

    # Tags.

    def _tags(self, arn: str) -> dict[str, str]:
        for cluster in self._clusters:
            parts = (cluster.nodegroups, cluster.profiles, cluster.entries, cluster.associations, cluster.addons)
            keys = ("arn", "nodegroupArn", "fargateProfileArn", "accessEntryArn", "associationArn", "addonArn")
            for shown in (cluster.shown, *(document for part in parts for document in part.values())):
                if arn in (shown.get(key) for key in keys):
                    tags: dict[str, str] = shown.setdefault("tags", {})
                    return tags
        raise AwsError("NotFoundException", f"Resource {arn} not found")

    def tag_resource(self, call: Call) -> Document:
        self._tags(call.parameters["resourceArn"]).update(call.parameters["tags"])
        return {}

    def untag_resource(self, call: Call) -> Document:
        tags = self._tags(call.parameters["resourceArn"])
        for key in call.parameters["tagKeys"]:
            tags.pop(key, None)
        return {}
