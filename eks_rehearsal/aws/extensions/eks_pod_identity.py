"""EKS Pod Identity: associations of service accounts with roles, and the credentials that eks-auth gives for them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.eks_clusters import Cluster, Clusters, Document, in_use, invalid, not_found
from eks_rehearsal.aws.extensions.sts import Roles
from eks_rehearsal.aws.extensions.tokens import BadToken, Expired, audiences, verified
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations
from eks_rehearsal.iam.evaluator import Caller, refusal

POD_IDENTITY_AUDIENCE: Final = "pods.eks.amazonaws.com"


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
        claims = self._verified_claims(cluster, call.parameters["token"])
        account = claims.get("kubernetes.io") or {}
        namespace, name = account.get("namespace", ""), (account.get("serviceaccount") or {}).get("name", "")
        found = self.of(cluster, namespace, name)
        if found is None:
            raise not_found(f"Association not found for service account {namespace}/{name} in cluster {cluster.name}")
        tags = self._session_tags(cluster, namespace, name)
        self._check_trust(found["roleArn"], cluster, tags)
        session_name = f"eks-{cluster.name[:20]}-{uuid.uuid4().hex[:12]}"
        session = self._roles.assume(
            found["roleArn"], session_name, tags={} if found.get("disableSessionTags") else tags
        )
        secret = session.credentials
        return {
            "subject": {"namespace": namespace, "serviceAccount": name},
            "audience": POD_IDENTITY_AUDIENCE,
            "podIdentityAssociation": {key: found[key] for key in ("associationArn", "associationId")},
            "assumedRoleUser": {"arn": session.user["Arn"], "assumeRoleId": session.user["AssumedRoleId"]},
            "credentials": {key[0].lower() + key[1:]: value for key, value in secret.items()},
        }

    def _verified_claims(self, cluster: Cluster, token: str) -> Document:
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

    @staticmethod
    def _session_tags(cluster: Cluster, namespace: str, account: str) -> dict[str, str]:
        """What EKS tags the session with; the pod's name and UID are left out."""
        return {
            "eks-cluster-arn": cluster.shown["arn"],
            "eks-cluster-name": cluster.name,
            "kubernetes-namespace": namespace,
            "kubernetes-service-account": account,
        }

    def _check_trust(self, arn: str, cluster: Cluster, tags: Mapping[str, str]) -> None:
        role = self._roles.find(arn)
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
