"""EKS: managed node groups. Their nodes are the hooks' business; here is what EKS says of them."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.amis import LAST_AL2_MINOR
from eks_rehearsal.aws.extensions.eks_access import entry
from eks_rehearsal.aws.extensions.eks_clusters import Cluster, Clusters, in_use, invalid, not_found
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations

Document = dict[str, Any]

_DEFAULTS: Final[Document] = {
    "capacityType": "ON_DEMAND",
    "scalingConfig": {"minSize": 1, "maxSize": 2, "desiredSize": 2},
    "updateConfig": {"maxUnavailable": 1},
    "labels": {},
    "taints": [],
}
_GIVEN: Final = (
    "capacityType",
    "scalingConfig",
    "updateConfig",
    "labels",
    "taints",
    "instanceTypes",
    "remoteAccess",
    "amiType",
    "diskSize",
    "launchTemplate",
    "nodeRepairConfig",
    "warmPoolConfig",
)
_RELEASE_DATE: Final = "20260714"


class Nodegroups:
    """The operations on managed node groups."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._world = clusters.world

    @property
    def operations(self) -> Operations:
        table = {
            "CreateNodegroup": self.create,
            "DescribeNodegroup": lambda call: {"nodegroup": self._group(call)[1]},
            "ListNodegroups": lambda call: {
                "nodegroups": list(self._clusters[call.parameters["clusterName"]].nodegroups)
            },
            "UpdateNodegroupConfig": self.update_config,
            "UpdateNodegroupVersion": self.update_version,
            "DeleteNodegroup": self.delete,
        }
        return {("eks", action): operation for action, operation in table.items()}

    def _group(self, call: Call) -> tuple[Cluster, Document]:
        cluster, name = self._clusters[call.parameters["clusterName"]], call.parameters["nodegroupName"]
        if name not in cluster.nodegroups:
            raise not_found(f"No node group found for name: {name}.", clusterName=cluster.name, nodegroupName=name)
        return cluster, cluster.nodegroups[name]

    def create(self, call: Call) -> Document:
        asked = call.parameters
        cluster, name = self._clusters[asked["clusterName"]], asked["nodegroupName"]
        if cluster.shown["status"] != "ACTIVE":
            text = f"Cluster '{cluster.name}' is not in ACTIVE status: {cluster.shown['status']}"
            raise AwsError("InvalidRequestException", text)
        if not self._role_exists(asked["nodeRole"]):
            raise invalid(f"The role with name {asked['nodeRole'].split('/')[-1]} cannot be found.")
        version = asked.get("version") or cluster.shown["version"]
        if asked.get("amiType", "").startswith("AL2_") and int(version.split(".")[1]) > LAST_AL2_MINOR:
            raise invalid(f"Requested AMI for this version {version} is not supported: {asked['amiType']}")
        if name in cluster.nodegroups:
            text = f"NodeGroup already exists with name {name} and cluster name {cluster.name}"
            raise in_use(text, clusterName=cluster.name, nodegroupName=name)
        group = cluster.nodegroups[name] = self._shown(cluster, asked)
        self._create_access_entry(cluster, group["nodeRole"])
        shown = dict(group)
        self._clusters.run(
            lambda: self._world.hooks.create_nodegroup(cluster.name, group),
            lambda _: group.update(status="ACTIVE"),
            lambda why: self._fail(group, "CREATE_FAILED", why),
        )
        return {"nodegroup": shown}

    def _role_exists(self, arn: str) -> bool:
        return any(role.arn == arn for role in self._world.backend("iam").get_roles())

    def _create_access_entry(self, cluster: Cluster, role: str) -> None:
        """EKS lets the nodes of its own groups in; with a config map only, it writes aws-auth, which the hook may do."""
        if cluster.authentication_mode != "CONFIG_MAP" and role not in cluster.entries:
            cluster.entries[role] = entry(self._world, cluster.name, role, {"type": "EC2_LINUX"})

    def _shown(self, cluster: Cluster, asked: Document) -> Document:
        name, version = asked["nodegroupName"], asked.get("version") or cluster.shown["version"]
        identity = str(uuid.UUID(hashlib.sha256(f"{cluster.name}/{name}".encode()).hexdigest()[:32]))
        given = {key: asked[key] for key in _GIVEN if asked.get(key) is not None}
        by_template = "launchTemplate" in given
        defaults = {} if by_template else {"instanceTypes": ["t3.medium"], "diskSize": 20}
        defaults["amiType"] = "CUSTOM" if self._names_image(given) else "AL2023_x86_64_STANDARD"
        return {
            "nodegroupName": name,
            "nodegroupArn": self._world.arn("eks", f"nodegroup/{cluster.name}/{name}/{identity}"),
            "clusterName": cluster.name,
            "version": version,
            "releaseVersion": asked.get("releaseVersion") or f"{version}.0-{_RELEASE_DATE}",
            "createdAt": utcnow(),
            "modifiedAt": utcnow(),
            "status": "CREATING",
            "subnets": list(asked["subnets"]),
            "nodeRole": asked["nodeRole"],
            "resources": {"autoScalingGroups": [{"name": f"eks-{name}-{identity}"}]},
            "health": {"issues": []},
            "tags": dict(asked.get("tags") or {}),
            **_DEFAULTS,
            **defaults,
            **given,
        }

    def _names_image(self, given: Document) -> bool:
        template = given.get("launchTemplate")
        if not template:
            return False
        backend = self._world.backend("ec2")
        found = (
            backend.get_launch_template(template["id"])
            if "id" in template
            else backend.get_launch_template_by_name(template["name"])
        )
        template.setdefault("id", found.id)
        template.setdefault("name", found.name)
        template.setdefault("version", str(found.default_version_number))
        return bool(found.get_version(template["version"]).data.get("ImageId"))

    @staticmethod
    def _fail(group: Document, status: str, why: str) -> None:
        group["health"] = {"issues": [{"code": "NodeCreationFailure", "message": why, "resourceIds": []}]}
        group["status"] = status

    def update_config(self, call: Call) -> Document:
        cluster, group = self._group(call)
        asked = call.parameters
        changed: Document = {
            key: asked[key] for key in ("scalingConfig", "updateConfig", "nodeRepairConfig") if key in asked
        }
        for key, value in changed.items():
            group[key] = {**group.get(key, {}), **value}
        self._relabel(group, asked)
        return self._changing(cluster, group, "ConfigUpdate", changed)

    @staticmethod
    def _relabel(group: Document, asked: Document) -> None:
        labels, taints = asked.get("labels") or {}, asked.get("taints") or {}
        dropped = set(labels.get("removeLabels", ()))
        kept = {key: value for key, value in group["labels"].items() if key not in dropped}
        group["labels"] = {**kept, **labels.get("addOrUpdateLabels", {})}
        out = [*taints.get("removeTaints", ()), *taints.get("addOrUpdateTaints", ())]
        keys = {(taint["key"], taint["effect"]) for taint in out}
        same = [taint for taint in group["taints"] if (taint["key"], taint["effect"]) not in keys]
        group["taints"] = [*same, *taints.get("addOrUpdateTaints", ())]

    def update_version(self, call: Call) -> Document:
        cluster, group = self._group(call)
        asked = call.parameters
        version = asked.get("version") or cluster.shown["version"]
        release = asked.get("releaseVersion") or f"{version}.0-{_RELEASE_DATE}"
        group.update(version=version, releaseVersion=release)
        if template := asked.get("launchTemplate"):
            group["launchTemplate"] = {**group.get("launchTemplate", {}), **template}
        return self._changing(cluster, group, "VersionUpdate", {"Version": version, "ReleaseVersion": release})

    def _changing(self, cluster: Cluster, group: Document, kind: str, params: Document) -> Document:
        update = cluster.note(kind, params, group["nodegroupName"])
        group["status"] = "UPDATING"

        def done(_: None) -> None:
            group.update(status="ACTIVE", modifiedAt=utcnow())
            update["status"] = "Successful"

        def failed(why: str) -> None:
            update.update(status="Failed", errors=[{"errorCode": "NodeCreationFailure", "errorMessage": why}])
            self._fail(group, "ACTIVE", why)

        shown = dict(update)
        self._clusters.run(lambda: self._world.hooks.update_nodegroup(cluster.name, group), done, failed)
        return {"update": shown}

    def delete(self, call: Call) -> Document:
        cluster, group = self._group(call)
        group["status"] = "DELETING"
        shown = dict(group)
        self._clusters.run(
            lambda: self._world.hooks.delete_nodegroup(cluster.name, group),
            lambda _: cluster.nodegroups.pop(group["nodegroupName"], None),
            lambda why: self._fail(group, "DELETE_FAILED", why),
        )
        return {"nodegroup": shown}
