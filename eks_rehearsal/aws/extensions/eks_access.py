"""EKS: who may do what in a cluster. Access entries with their policies, and Pod Identity with its credentials."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.eks import Cluster, Clusters, in_use, invalid, not_found
from eks_rehearsal.aws.extensions.sts import Roles
from eks_rehearsal.aws.extensions.tokens import BadToken, Expired, audiences, verified
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations, World
from eks_rehearsal.iam.evaluator import Caller, refusal

Document = dict[str, Any]

POD_IDENTITY_AUDIENCE: Final = "pods.eks.amazonaws.com"
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


class PodIdentity:
    """Associations of service accounts with roles, and the credentials that eks-auth gives for them."""

    def __init__(self, clusters: Clusters, roles: Roles) -> None:
        self._clusters, self._roles = clusters, roles
        self._world = clusters.world

    @property
    def operations(self) -> Operations:
        table = {
            "CreatePodIdentityAssociation": self.create,
            "DescribePodIdentityAssociation": lambda call: {"association": self._association(call)},
            "ListPodIdentityAssociations": self.list_,
            "UpdatePodIdentityAssociation": self.update,
            "DeletePodIdentityAssociation": self.delete,
        }
        operations: Operations = {("eks", action): operation for action, operation in table.items()}
        return {**operations, ("eks-auth", "AssumeRoleForPodIdentity"): self.assume}

    def _association(self, call: Call) -> Document:
        asked = call.parameters["associationId"]
        found = self._clusters[call.parameters["clusterName"]].associations.get(asked)
        if found is None:
            raise not_found(f"The association with associationId: {asked} could not be found.")
        return found

    def create(self, call: Call) -> Document:
        return {"association": self.add(self._clusters[call.parameters["clusterName"]], call.parameters)}

    def add(self, cluster: Cluster, asked: Mapping[str, Any]) -> Document:
        """An association as it is asked for; one for each service account."""
        if self._roles.find(asked["roleArn"]) is None:
            raise invalid(f"Role provided in the request does not exist: {asked['roleArn']}")
        if self.of(cluster, asked["namespace"], asked["serviceAccount"]):
            text = f"Association already exists: {asked['namespace']}/{asked['serviceAccount']}"
            raise in_use(text, clusterName=cluster.name)
        made = self._shown(cluster, asked)
        cluster.associations[made["associationId"]] = made
        return made

    def _shown(self, cluster: Cluster, asked: Mapping[str, Any]) -> Document:
        identity = f"a-{hashlib.sha256(uuid.uuid4().bytes).hexdigest()[:17]}"
        given = {key: asked[key] for key in ("targetRoleArn", "disableSessionTags") if key in asked}
        return {
            "clusterName": cluster.name,
            "namespace": asked["namespace"],
            "serviceAccount": asked["serviceAccount"],
            "roleArn": asked["roleArn"],
            "associationArn": self._world.arn("eks", f"podidentityassociation/{cluster.name}/{identity}"),
            "associationId": identity,
            "tags": dict(asked.get("tags") or {}),
            "createdAt": utcnow(),
            "modifiedAt": utcnow(),
            **given,
        }

    @staticmethod
    def of(cluster: Cluster, namespace: str, account: str) -> Document | None:
        """The association of a service account."""
        wanted = (namespace, account)
        return next((a for a in cluster.associations.values() if (a["namespace"], a["serviceAccount"]) == wanted), None)

    def list_(self, call: Call) -> Document:
        asked = call.parameters
        found = self._clusters[asked["clusterName"]].associations.values()
        keys = ("namespace", "serviceAccount")
        listed = [a for a in found if all(asked.get(key) in (None, a[key]) for key in keys)]
        return {"associations": listed}

    def update(self, call: Call) -> Document:
        found = self._association(call)
        changes: Document = {
            key: call.parameters[key] for key in ("roleArn", "targetRoleArn") if key in call.parameters
        }
        found.update(changes, modifiedAt=utcnow())
        return {"association": found}

    def delete(self, call: Call) -> Document:
        found = self._association(call)
        del self._clusters[found["clusterName"]].associations[found["associationId"]]
        return {"association": found}

    def assume(self, call: Call) -> Document:
        cluster = self._clusters[call.parameters["clusterName"]]
        claims = self._believed(cluster, call.parameters["token"])
        account = claims.get("kubernetes.io") or {}
        namespace, name = account.get("namespace", ""), (account.get("serviceaccount") or {}).get("name", "")
        found = self.of(cluster, namespace, name)
        if found is None:
            raise not_found(f"Association not found for service account {namespace}/{name} in cluster {cluster.name}")
        self._check_trust(found["roleArn"], cluster, namespace, name)
        session = self._roles.assume(found["roleArn"], f"eks-{cluster.name[:20]}-{uuid.uuid4().hex[:12]}")
        secret = session.credentials
        return {
            "subject": {"namespace": namespace, "serviceAccount": name},
            "audience": POD_IDENTITY_AUDIENCE,
            "podIdentityAssociation": {key: found[key] for key in ("associationArn", "associationId")},
            "assumedRoleUser": {"arn": session.user["Arn"], "assumeRoleId": session.user["AssumedRoleId"]},
            "credentials": {key[0].lower() + key[1:]: value for key, value in secret.items()},
        }

    def _believed(self, cluster: Cluster, token: str) -> Document:
        try:
            claims = verified(token, self._world.hooks.jwks)
        except Expired as error:
            raise AwsError("ExpiredTokenException", str(error)) from error
        except BadToken as error:
            raise AwsError("InvalidTokenException", str(error)) from error
        issuer = ((cluster.shown.get("identity") or {}).get("oidc") or {}).get("issuer")
        if claims.get("iss") != issuer or POD_IDENTITY_AUDIENCE not in audiences(claims):
            text = f"The token is of {claims.get('iss')} for {', '.join(audiences(claims))}"
            raise AwsError("InvalidTokenException", f"{text}, not of {issuer} for {POD_IDENTITY_AUDIENCE}")
        return claims

    def _check_trust(self, arn: str, cluster: Cluster, namespace: str, account: str) -> None:
        role = self._roles.find(arn)
        tags = {
            "eks-cluster-arn": cluster.shown["arn"],
            "eks-cluster-name": cluster.name,
            "kubernetes-namespace": namespace,
            "kubernetes-service-account": account,
        }
        context = {f"aws:requesttag/{key}": (value,) for key, value in tags.items()}
        context |= {"aws:sourceaccount": (self._world.account,), "aws:sourcearn": (cluster.shown["arn"],)}
        caller = Caller({"Service": frozenset({POD_IDENTITY_AUDIENCE})}, context)
        for action in ("sts:AssumeRole", "sts:TagSession"):
            why = refusal(role.assume_role_policy_document, action, caller) if role else f"there is no role {arn}"
            if why:
                raise AwsError(
                    "AccessDeniedException",
                    f"Unauthorized Exception! EKS does not have permissions to assume the associated role: {why}",
                )
