"""EKS: Fargate profiles. Which pods they take, and where those run, is the hooks' business; here is what EKS says of them."""

from __future__ import annotations

import uuid
from typing import Any, Final

from moto.core.utils import utcnow

from eks_rehearsal.aws.extensions.eks_access import entry
from eks_rehearsal.aws.extensions.eks_clusters import Cluster, Clusters, in_use, invalid, not_found
from eks_rehearsal.aws.extensions.sts import Roles
from eks_rehearsal.aws.wire import AwsError, Call
from eks_rehearsal.aws.world import Operations
from eks_rehearsal.iam.evaluator import Caller, refusal

Document = dict[str, Any]

_SERVICE: Final = "eks-fargate-pods.amazonaws.com"
_CHANGING: Final = ("CREATING", "DELETING")


class FargateProfiles:
    """The operations on Fargate profiles."""

    def __init__(self, clusters: Clusters, roles: Roles) -> None:
        self._clusters, self._roles = clusters, roles
        self._world = clusters.world

    @property
    def operations(self) -> Operations:
        table = {
            "CreateFargateProfile": self.create,
            "DescribeFargateProfile": lambda call: {"fargateProfile": self._profile(call)[1]},
            "ListFargateProfiles": lambda call: {
                "fargateProfileNames": list(self._clusters[call.parameters["clusterName"]].profiles)
            },
            "DeleteFargateProfile": self.delete,
        }
        return {("eks", action): operation for action, operation in table.items()}

    def _profile(self, call: Call) -> tuple[Cluster, Document]:
        cluster, name = self._clusters[call.parameters["clusterName"]], call.parameters["fargateProfileName"]
        if name not in cluster.profiles:
            raise not_found(f"No Fargate Profile found with name: {name}.", clusterName=cluster.name)
        return cluster, cluster.profiles[name]

    def create(self, call: Call) -> Document:
        asked = call.parameters
        cluster, name, role = (
            self._clusters[asked["clusterName"]],
            asked["fargateProfileName"],
            asked["podExecutionRoleArn"],
        )
        if cluster.shown["status"] != "ACTIVE":
            text = f"Cluster '{cluster.name}' is not in ACTIVE status: {cluster.shown['status']}"
            raise AwsError("InvalidRequestException", text)
        self._check_role(role)
        subnets = self._private(cluster, asked.get("subnets"))
        self._alone(cluster, f"create Fargate Profile {name}")
        if name in cluster.profiles:
            raise in_use(f"A Fargate Profile already exists with this name: {name}", clusterName=cluster.name)
        arn = self._world.arn("eks", f"fargateprofile/{cluster.name}/{name}/{uuid.uuid4()}")
        profile = cluster.profiles[name] = {
            "fargateProfileName": name,
            "fargateProfileArn": arn,
            "clusterName": cluster.name,
            "createdAt": utcnow(),
            "podExecutionRoleArn": role,
            "subnets": subnets,
            "selectors": list(asked.get("selectors") or ()),
            "status": "CREATING",
            "tags": dict(asked.get("tags") or {}),
            "health": {"issues": []},
        }
        if cluster.authentication_mode != "CONFIG_MAP" and role not in cluster.entries:
            cluster.entries[role] = entry(self._world, cluster.name, role, {"type": "FARGATE_LINUX"})
        shown = dict(profile)
        self._clusters.run(
            lambda: self._world.hooks.create_fargate_profile(cluster.name, profile),
            lambda _: profile.update(status="ACTIVE"),
            lambda why: self._fail(profile, "CREATE_FAILED", why),
        )
        return {"fargateProfile": shown}

    def _check_role(self, arn: str) -> None:
        role, caller = self._roles.find(arn), Caller({"Service": frozenset({_SERVICE})}, {})
        why = refusal(role.assume_role_policy_document, "sts:AssumeRole", caller) if role else f"there is no role {arn}"
        if why:
            text = f"Misconfigured PodExecutionRole Trust Policy; Please add the {_SERVICE} Service Principal"
            raise invalid(f"{text}: {why}")

    def _private(self, cluster: Cluster, asked: list[str] | None) -> list[str]:
        """The subnets for the pods, the cluster's where none are asked for; none may lead to an internet gateway."""
        all_ = list(asked or cluster.shown["resourcesVpcConfig"]["subnetIds"])
        tables = self._world.backend("ec2").describe_route_tables(
            filters={"vpc-id": [cluster.shown["resourcesVpcConfig"]["vpcId"]]}
        )
        of = {one["SubnetId"]: table for table in tables for one in table.associations if one.get("SubnetId")}
        main = next(table for table in tables if table.main_association_id)
        public = [id for id in all_ if any(_leads_out(route) for route in of.get(id, main).routes)]
        if asked and public:
            raise invalid(f"Subnet {public[0]} provided in Fargate Profile is not a private subnet")
        return [id for id in all_ if id not in public]

    @staticmethod
    def _alone(cluster: Cluster, what: str) -> None:
        for name, profile in cluster.profiles.items():
            if profile["status"] in _CHANGING:
                text = f"currently has Fargate profile {name} in status {profile['status']}"
                raise in_use(f"Cannot {what} because cluster {cluster.name} {text}", clusterName=cluster.name)

    @staticmethod
    def _fail(profile: Document, status: str, why: str) -> None:
        profile["health"] = {"issues": [{"code": "InternalFailure", "message": why, "resourceIds": []}]}
        profile["status"] = status

    def delete(self, call: Call) -> Document:
        cluster, profile = self._profile(call)
        self._alone(cluster, f"delete Fargate Profile {profile['fargateProfileName']}")
        profile["status"] = "DELETING"
        shown = dict(profile)
        self._clusters.run(
            lambda: self._world.hooks.delete_fargate_profile(cluster.name, profile),
            lambda _: cluster.profiles.pop(profile["fargateProfileName"], None),
            lambda why: self._fail(profile, "DELETE_FAILED", why),
        )
        return {"fargateProfile": shown}


def _leads_out(route: Any) -> bool:
    return str(getattr(route.gateway, "id", "")).startswith("igw-")
