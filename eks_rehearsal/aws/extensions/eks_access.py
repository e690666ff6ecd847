"""EKS: who may do what in a cluster. Access entries with their policies."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.eks_clusters import Cluster, Clusters, Document, in_use, invalid, not_found
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations, World

_ARN: Final = re.compile(r"arn:[a-z-]+:iam::\d{12}:(role|user|root)(/.+)?")
_NODE: Final = "system:node:{{EC2PrivateDNSName}}"
_FARGATE_NODE: Final = "system:node:{{SessionName}}"
# What EKS gives a type of entry by itself.
_GROUPS: Final = {
    "EC2_LINUX": ["system:nodes"],
    "FARGATE_LINUX": ["system:nodes"],
    "EC2_WINDOWS": ["system:nodes", "eks:kube-proxy-windows"],
    "EC2": [],
    "HYBRID_LINUX": ["system:nodes"],
    "HYPERPOD_LINUX": ["system:nodes"],
}
# Everything may be seen with it, secrets too; Kubernetes itself has no such role.
VIEW_ALL: Final = "view-all"
# EKS's access policies, and the cluster role of Kubernetes that holds what each allows; none for those not carried out.
ACCESS_POLICIES: Final = {
    "AmazonEKSAdminPolicy": "admin",
    "AmazonEKSAdminViewPolicy": VIEW_ALL,
    "AmazonEKSAutoNodePolicy": "",
    "AmazonEKSClusterAdminPolicy": "cluster-admin",
    "AmazonEKSEditPolicy": "edit",
    "AmazonEKSSecretReaderPolicy": "",
    "AmazonEKSViewPolicy": "view",
}


def _standard_name(principal: str) -> str:
    """The user name EKS gives: a role's shows the session."""
    match = re.fullmatch(r"arn:([a-z-]+):iam::(\d{12}):role/(?:.*/)?([^/]+)", principal)
    return f"arn:{match[1]}:sts::{match[2]}:assumed-role/{match[3]}/{{{{SessionName}}}}" if match else principal


def entry(world: World, cluster: str, principal: str, asked: Mapping[str, Any]) -> Document:
    """An access entry as DescribeAccessEntry answers."""
    kind = asked.get("type") or "STANDARD"
    node, names = kind != "STANDARD", {"FARGATE_LINUX": _FARGATE_NODE}
    _, _, resource = principal.rpartition(":")
    path = f"{resource.split('/')[0]}/{world.account}/{resource.split('/')[-1]}/{uuid.uuid4()}"
    return {
        "clusterName": cluster,
        "principalArn": principal,
        "kubernetesGroups": _GROUPS[kind] if node else list(asked.get("kubernetesGroups") or ()),
        "accessEntryArn": world.arn("eks", f"access-entry/{cluster}/{path}"),
        "createdAt": utcnow(),
        "modifiedAt": utcnow(),
        "tags": dict(asked.get("tags") or {}),
        "username": names.get(kind, _NODE) if node else asked.get("username") or _standard_name(principal),
        "type": kind,
    }


def associated(policy: str, scope: Mapping[str, Any]) -> Document:
    """An associated access policy as ListAssociatedAccessPolicies answers."""
    return {"policyArn": policy, "accessScope": dict(scope), "associatedAt": utcnow(), "modifiedAt": utcnow()}


class AccessEntries:
    """The operations on access entries and their policies."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._world = clusters.world

    @property
    def operations(self) -> Operations:
        table = {
            "CreateAccessEntry": self.create,
            "DescribeAccessEntry": lambda call: {"accessEntry": self._entry(call)},
            "ListAccessEntries": self.list_,
            "UpdateAccessEntry": self.update,
            "DeleteAccessEntry": self.delete,
            "AssociateAccessPolicy": self.associate,
            "DisassociateAccessPolicy": self.disassociate,
            "ListAssociatedAccessPolicies": self.list_associated,
            "ListAccessPolicies": lambda _: {
                "accessPolicies": [{"name": name, "arn": self._policy_arn(name)} for name in ACCESS_POLICIES]
            },
        }
        return {("eks", action): operation for action, operation in table.items()}

    def _policy_arn(self, name: str) -> str:
        return f"arn:{self._world.partition}:eks::aws:cluster-access-policy/{name}"

    def _cluster(self, call: Call) -> Cluster:
        cluster = self._clusters[call.parameters["clusterName"]]
        if cluster.authentication_mode == "CONFIG_MAP":
            text = "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation."
            raise AwsError("InvalidRequestException", text)
        return cluster

    def _entry(self, call: Call) -> Document:
        principal = call.parameters["principalArn"]
        found = self._cluster(call).entries.get(principal)
        if found is None:
            text = f"The specified principalArn could not be found. You can view your access entries: {principal}"
            raise not_found(text, clusterName=call.parameters["clusterName"])
        return found

    def _exists(self, principal: str) -> bool:
        backend = self._world.backend("iam")
        known = {role.arn for role in backend.get_roles()} | {user.arn for user in backend.users.values()}
        return principal in known or principal == self._world.root

    def create(self, call: Call) -> Document:
        asked, cluster = call.parameters, self._cluster(call)
        principal, kind = asked["principalArn"], asked.get("type") or "STANDARD"
        if not _ARN.fullmatch(principal) or not self._exists(principal):
            raise invalid("The specified principalArn is invalid: invalid principal.", clusterName=cluster.name)
        if kind not in ("STANDARD", *_GROUPS):
            raise invalid(f"Invalid access entry type {kind}", clusterName=cluster.name)
        if kind != "STANDARD" and (asked.get("kubernetesGroups") or asked.get("username")):
            raise invalid(f"You can't specify kubernetesGroups or username for an access entry of type {kind}")
        if bad := [group for group in asked.get("kubernetesGroups") or () if group.startswith(("system:", "eks:"))]:
            text = "The kubernetes group name {} is invalid, it cannot start with system:"
            raise invalid(text.format(bad[0]), clusterName=cluster.name)
        if principal in cluster.entries:
            text = "The specified access entry resource is already in use on this cluster."
            raise in_use(text, clusterName=cluster.name)
        cluster.entries[principal] = entry(self._world, cluster.name, principal, asked)
        return {"accessEntry": cluster.entries[principal]}

    def list_(self, call: Call) -> Document:
        cluster, policy = self._cluster(call), call.parameters.get("associatedPolicyArn")
        listed = [arn for arn in cluster.entries if policy is None or policy in cluster.policies.get(arn, {})]
        return {"accessEntries": listed}

    def update(self, call: Call) -> Document:
        found = self._entry(call)
        if found["type"] != "STANDARD":
            raise invalid(f"An access entry of type {found['type']} can't be modified")
        changes: Document = {
            key: call.parameters[key] for key in ("kubernetesGroups", "username") if key in call.parameters
        }
        found.update(changes, modifiedAt=utcnow())
        return {"accessEntry": found}

    def delete(self, call: Call) -> Document:
        principal = self._entry(call)["principalArn"]
        cluster = self._cluster(call)
        del cluster.entries[principal]
        cluster.policies.pop(principal, None)
        return {}

    def associate(self, call: Call) -> Document:
        found, cluster, policy = self._entry(call), self._cluster(call), call.parameters["policyArn"]
        if policy not in {self._policy_arn(name) for name in ACCESS_POLICIES}:
            raise invalid("The policyArn parameter format is not valid", clusterName=cluster.name)
        if found["type"] not in ("STANDARD", "EC2"):
            raise invalid(f"You can't associate access policies with an access entry of type {found['type']}")
        scope = call.parameters["accessScope"]
        if scope["type"] != "cluster" or not ACCESS_POLICIES[policy.rpartition("/")[2]]:
            raise NotImplementedError(
                f"access policy {policy} over a {scope['type']} is not carried out in a rehearsal"
            )
        made = associated(policy, scope)
        cluster.policies.setdefault(found["principalArn"], {})[policy] = made
        return {
            "clusterName": cluster.name,
            "principalArn": found["principalArn"],
            "associatedAccessPolicy": made,
        }

    def disassociate(self, call: Call) -> Document:
        policies = self._cluster(call).policies.get(self._entry(call)["principalArn"], {})
        if policies.pop(call.parameters["policyArn"], None) is None:
            raise not_found("The specified policyArn is not associated with the access entry")
        return {}

    def list_associated(self, call: Call) -> Document:
        principal, cluster = self._entry(call)["principalArn"], self._cluster(call)
        policies = list(cluster.policies.get(principal, {}).values())
        return {"clusterName": cluster.name, "principalArn": principal, "associatedAccessPolicies": policies}
