"""EKS: add-ons. EKS's record of them; what the node monitoring agent installs is in the cluster's rooms."""

from __future__ import annotations

import uuid
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.eks_clusters import Cluster, Clusters, in_use, not_found
from eks_rehearsal.aws.extensions.eks_pod_identity import PodIdentity
from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import Operations

Document = dict[str, Any]

_VERSION: Final = "v1.0.0-eksbuild.1"
_KNOWN: Final = (
    "vpc-cni",
    "kube-proxy",
    "coredns",
    "eks-pod-identity-agent",
    "aws-ebs-csi-driver",
    "metrics-server",
    "eks-node-monitoring-agent",
)


class Addons:
    """The operations on add-ons."""

    def __init__(self, clusters: Clusters, identity: PodIdentity) -> None:
        self._clusters, self._identity = clusters, identity
        self._world = clusters.world

    @property
    def operations(self) -> Operations:
        table = {
            "CreateAddon": self.create,
            "DescribeAddon": lambda call: {"addon": self._addon(call)[1]},
            "ListAddons": lambda call: {"addons": list(self._clusters[call.parameters["clusterName"]].addons)},
            "UpdateAddon": self.update,
            "DeleteAddon": self.delete,
            "DescribeAddonVersions": self.versions,
            "DescribeAddonConfiguration": self.configuration,
        }
        return {("eks", action): operation for action, operation in table.items()}

    def _addon(self, call: Call) -> tuple[Cluster, Document]:
        cluster, name = self._clusters[call.parameters["clusterName"]], call.parameters["addonName"]
        if name not in cluster.addons:
            raise not_found(f"No addon: {name} found in cluster: {cluster.name}", clusterName=cluster.name)
        return cluster, cluster.addons[name]

    def create(self, call: Call) -> Document:
        asked = call.parameters
        cluster, name = self._clusters[asked["clusterName"]], asked["addonName"]
        if name in cluster.addons:
            raise in_use(f"Addon already exists: {name}", clusterName=cluster.name, addonName=name)
        addon: Document = {
            "addonName": name,
            "clusterName": cluster.name,
            "status": "CREATING",
            "addonVersion": asked.get("addonVersion") or _VERSION,
            "health": {"issues": []},
            "addonArn": self._world.arn("eks", f"addon/{cluster.name}/{name}/{uuid.uuid4()}"),
            "createdAt": utcnow(),
            "modifiedAt": utcnow(),
            "tags": dict(asked.get("tags") or {}),
            **{key: asked[key] for key in ("serviceAccountRoleArn", "configurationValues") if key in asked},
        }
        addon["podIdentityAssociations"] = self._associate(call, cluster)
        cluster.addons[name] = addon
        shown = dict(addon)
        self._world.hooks.create_addon(cluster.name, addon)
        addon["status"] = "ACTIVE"
        return {"addon": shown}

    def _associate(self, call: Call, cluster: Cluster) -> list[str]:
        made = []
        for asked in call.parameters.get("podIdentityAssociations") or ():
            association = self._identity.add(cluster, {"namespace": "kube-system", **asked})
            made.append(association["associationArn"])
        return made

    def update(self, call: Call) -> Document:
        cluster, addon = self._addon(call)
        keys = ("addonVersion", "serviceAccountRoleArn", "configurationValues")
        changed = {key: call.parameters[key] for key in keys if key in call.parameters}
        addon.update(changed, modifiedAt=utcnow())
        self._world.hooks.create_addon(cluster.name, addon)
        update = cluster.note("AddonUpdate", changed, addon["addonName"])
        shown = dict(update)
        update["status"] = "Successful"
        return {"update": shown}

    def delete(self, call: Call) -> Document:
        cluster, addon = self._addon(call)
        self._world.hooks.delete_addon(cluster.name, addon)
        del cluster.addons[addon["addonName"]]
        arns = addon["podIdentityAssociations"]
        kept = {key: value for key, value in cluster.associations.items() if value["associationArn"] not in arns}
        cluster.associations = kept
        return {"addon": {**addon, "status": "DELETING"}}

    @staticmethod
    def versions(call: Call) -> Document:
        asked = call.parameters.get("addonName")
        cluster_version = call.parameters.get("kubernetesVersion") or "1.34"
        compatible = {"clusterVersion": cluster_version, "platformVersions": ["*"], "defaultVersion": True}
        offered = {
            "addonVersion": _VERSION,
            "architecture": ["amd64", "arm64"],
            "computeTypes": ["ec2"],
            "compatibilities": [compatible],
            "requiresConfiguration": False,
        }
        names = [asked] if asked else _KNOWN
        return {"addons": [{"addonName": name, "type": "networking", "addonVersions": [offered]} for name in names]}

    @staticmethod
    def configuration(call: Call) -> Document:
        asked = {key: call.parameters[key] for key in ("addonName", "addonVersion")}
        return {**asked, "configurationSchema": '{"type":"object"}'}
