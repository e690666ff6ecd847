"""Who the bearer of an AWS token is to a cluster: its access entries, or its aws-auth, decide, as on EKS."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import yaml

from eks_rehearsal.cluster.kube import Kube

PREFIX = "k8s-aws-v1."
AWS_AUTH = "/api/v1/namespaces/kube-system/configmaps/aws-auth"
LIFE = timedelta(minutes=15)
ASSUMED = re.compile(r"^arn:[^:]+:sts::(\d+):assumed-role/([^/]+)/(.+)$")


class NotAuthenticated(Exception):
    """The bearer is nobody to the cluster; the message says why."""


@dataclass(frozen=True)
class User:
    """A Kubernetes user.

    Args:
        name: Its name.

        groups: Its groups.
    """

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class RoleSession:
    """Who signed a token.

    Args:
        role: The ARN of its role.

        session: The name of its session; of an instance, the instance's id.
    """

    role: str
    session: str


@dataclass(frozen=True)
class Authenticator:
    """Says who the bearer of a token is.

    Args:
        caller: Finds the role and session of an access key; nothing for a key of no role.

        eks: A client of the emulated EKS.

        private_dns: The private DNS name of an instance.

        kube: An administrator's client of a cluster by name.

        creator: The role that is a cluster's administrator for having made it; empty when none is.
    """

    caller: Callable[[str], RoleSession | None]
    eks: Any
    private_dns: Callable[[str], str]
    kube: Callable[[str], Kube]
    creator: Callable[[str], str]

    def user(self, cluster: str, token: str) -> User:
        """The user that a token stands for.

        Raises:
            NotAuthenticated: The token is not one of `aws eks get-token`, is too old, or its role is not mapped.
        """
        caller = self._signer(token)
        mode = self.eks.describe_cluster(name=cluster)["cluster"]["accessConfig"]["authenticationMode"]
        user = self._by_entry(cluster, caller) if "API" in mode else None
        if user is None and "CONFIG_MAP" in mode:
            user = self._by_config_map(cluster, caller)
        if user is None and mode == "CONFIG_MAP" and caller.role == self.creator(cluster):
            # Neither an access entry nor aws-auth shows it: https://docs.aws.amazon.com/eks/latest/userguide/auth-configmap.html
            user = User("kubernetes-admin", ("system:masters",))
        if user is None:
            where = {"API": "access entry", "CONFIG_MAP": "aws-auth mapping"}.get(
                mode, "access entry or aws-auth mapping"
            )
            raise NotAuthenticated(f"{caller.role} has no {where} in cluster {cluster}, so it may not enter")
        return user

    def review(self, cluster: str, review: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a TokenReview of the API server."""
        status: dict[str, Any]
        try:
            user = self.user(cluster, review["spec"]["token"])
            status = {"authenticated": True, "user": {"username": user.name, "groups": list(user.groups)}}
        except NotAuthenticated as refused:
            status = {"authenticated": False, "error": str(refused)}
        return {"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status}

    def _signer(self, token: str) -> RoleSession:
        if not token.startswith(PREFIX):
            raise NotAuthenticated("the token is not one of EKS")
        try:
            text = token[len(PREFIX) :]
            url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            query = {key: values[0] for key, values in parse_qs(urlparse(url).query).items()}
            signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            key = unquote(query["X-Amz-Credential"]).split("/")[0]
        except (binascii.Error, ValueError, KeyError) as error:
            raise NotAuthenticated(f"the token holds no signed URL: {error}") from None
        if query.get("Action") != "GetCallerIdentity" or "x-k8s-aws-id" not in query.get("X-Amz-SignedHeaders", ""):
            raise NotAuthenticated("the token is not a GetCallerIdentity that names a cluster")
        if datetime.now(timezone.utc) - signed > LIFE:
            raise NotAuthenticated("the token is older than 15 minutes")
        caller = self.caller(key)
        if caller is None:
            raise NotAuthenticated(f"the access key {key} belongs to no role")
        return caller

    def _by_entry(self, cluster: str, caller: RoleSession) -> User | None:
        try:
            entry = self.eks.describe_access_entry(clusterName=cluster, principalArn=caller.role)["accessEntry"]
        except self.eks.exceptions.ResourceNotFoundException:
            return None
        if entry["type"].startswith("EC2"):
            return self._node(caller)
        if entry["type"].startswith("FARGATE"):
            return User(f"system:node:{caller.session}", ("system:nodes",))
        policies = self.eks.list_associated_access_policies(clusterName=cluster, principalArn=caller.role)
        groups = [f"eks:{one['policyArn'].rpartition('/')[2]}" for one in policies["associatedAccessPolicies"]]
        name = entry.get("username") or f"{caller.role}/{caller.session}"
        return User(name.replace("{{SessionName}}", caller.session), (*entry.get("kubernetesGroups", []), *groups))

    def _by_config_map(self, cluster: str, caller: RoleSession) -> User | None:
        found = self.kube(cluster).find(AWS_AUTH)
        mappings = yaml.safe_load(((found or {}).get("data") or {}).get("mapRoles") or "[]")
        # aws-auth names a role without its path.
        bare = re.sub(r":role/.*/", ":role/", caller.role)
        for mapping in mappings:
            if mapping.get("rolearn") == bare:
                name = mapping["username"].replace("{{SessionName}}", caller.session)
                if "{{EC2PrivateDNSName}}" in name:
                    name = name.replace("{{EC2PrivateDNSName}}", self.private_dns(caller.session))
                return User(name, tuple(mapping.get("groups") or ()))
        return None

    def _node(self, caller: RoleSession) -> User:
        return User(f"system:node:{self.private_dns(caller.session)}", ("system:nodes",))
