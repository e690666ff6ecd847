"""Finds by its name what must be known of a cluster that is there, through the CDK's own context.

The answers of the CDK's command line are kept in `cdk.context.json`; no call is made from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aws_cdk import ContextProvider, Stack

from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.settings import ExistingCluster
from karpenter_gpu.settings.existing import API

_PROVIDER: Final = "cc-api-provider"
_ERROR: Final = "$providerError"
_ASK_ANEW: Final = "what was found before is in cdk.context.json, and 'cdk context --clear' asks anew"

# Where Cloud Control has each setting. Source: the resource schema of AWS::EKS::Cluster.
_CLUSTER: Final = {
    "kubernetes_version": "Version",
    "authentication_mode": "AccessConfig.AuthenticationMode",
    "ip_family": "KubernetesNetworkConfig.IpFamily",
    "oidc_issuer": "OpenIdConnectIssuerUrl",
    "cluster_security_group_id": "ClusterSecurityGroupId",
    "kubectl_in_vpc": "ResourcesVpcConfig.EndpointPrivateAccess",
}

# What stands in for an answer that is still to come, so that the app can be run until all questions are known.
_UNTIL_THEN: Final = {
    "kubernetes_version": None,
    "authentication_mode": API,
    "ip_family": "ipv4",
    "oidc_issuer": "https://oidc.eks.us-east-1.amazonaws.com/id/00000000000000000000000000000000",
    "cluster_security_group_id": "sg-00000000000000000",
    "kubectl_in_vpc": False,
    "subnet_ids": ("subnet-00000000000000000",),
}


def look_up(stack: Stack, cluster: ExistingCluster, *, controllers: int) -> tuple[ExistingCluster, bool]:
    """A cluster with all that was left out, and whether every answer is there.

    While one is not, stand-ins are in its place, and only the Kubernetes version may still be left out.

    Args:
        stack: Of the account and region to look in.

        cluster: What is said of it.

        controllers: On how many nodes the controller runs.

    Raises:
        InvalidSettings: It is not there, or has nowhere for the controller to run.
    """
    unknown = cluster.unknown
    if not unknown:
        return cluster, True
    asked = {setting: path for setting, path in _CLUSTER.items() if setting in unknown}
    found: dict[str, Any] = {setting: _UNTIL_THEN[setting] for setting in unknown}
    # A mode that stands in must not ask for what only another would need.
    complete = True
    if asked:
        answer = _one(stack, cluster, "AWS::EKS::Cluster", cluster.name, list(asked.values()))
        complete = answer is not None
        found |= {setting: answer[path] for setting, path in asked.items()} if answer else {}
    if "subnet_ids" in unknown:
        groups = _node_groups(stack, cluster)
        if groups is None:
            complete = False
        else:
            _suffice(stack, cluster, groups, controllers)
            found["subnet_ids"] = tuple(dict.fromkeys(id for group in groups for id in group["Subnets"]))
    try:
        return replace(cluster, **found), complete
    except InvalidSettings as error:
        raise InvalidSettings(fault.under("cluster") for fault in error.faults) from None


def _node_groups(stack: Stack, cluster: ExistingCluster) -> list[Mapping[str, Any]] | None:
    """The node group that was named, or all; None while an answer is to come."""
    kind = "AWS::EKS::Nodegroup"
    if cluster.node_group:
        ids = [f"{cluster.name}/{cluster.node_group}"]
    else:
        listed = _ask(
            stack,
            {"typeName": kind, "propertyMatch": {}, "resourceModel": {"ClusterName": cluster.name}},
            ["NodegroupName"],
        )
        if isinstance(listed, str):
            raise _not_found(stack, cluster, f"its node groups could not be listed: {listed}")
        if listed is None:
            return None
        ids = [one["Identifier"] for one in listed]
    paths = ["NodegroupName", "Subnets", "ScalingConfig.DesiredSize"]
    groups = [_one(stack, cluster, kind, id, paths) for id in ids]
    return None if None in groups else [group for group in groups if group is not None]


def _suffice(stack: Stack, cluster: ExistingCluster, groups: Sequence[Mapping[str, Any]], controllers: int) -> None:
    """The controller has somewhere to run."""
    where = f"{cluster.name!r} in account {stack.account} and region {stack.region}"
    if not groups:
        raise InvalidSettings(
            [
                Fault(
                    "cluster.node_group",
                    f"{where} has no managed node group, and the controller needs nodes that Karpenter did not make; "
                    "make one, or run it on Fargate (karpenter.on_fargate, with cluster.subnet_ids for the GPU nodes), or "
                    f"name cluster.subnet_ids where it has nodes of another kind; {_ASK_ANEW}",
                )
            ]
        )
    nodes = sum(int(group["ScalingConfig.DesiredSize"]) for group in groups)
    if nodes < controllers:
        names = ", ".join(str(group["NodegroupName"]) for group in groups)
        raise InvalidSettings(
            [
                Fault(
                    "cluster.node_group",
                    f"{names} of {where} has {nodes} node(s), and the controller runs on {controllers} different ones; "
                    f"scale it, name another one, or set karpenter.values.replicas to {max(nodes, 1)}; {_ASK_ANEW}",
                )
            ]
        )


def _one(stack: Stack, cluster: ExistingCluster, kind: str, id: str, paths: Sequence[str]) -> Mapping[str, Any] | None:
    """The answer about one resource; None while it is to come."""
    answer = _ask(stack, {"typeName": kind, "exactIdentifier": id}, paths)
    if isinstance(answer, str):
        raise _not_found(stack, cluster, f"{kind} {id}: {answer}")
    return answer[0] if answer else None


def _not_found(stack: Stack, cluster: ExistingCluster, why: str) -> InvalidSettings:
    missing = "No resource of type AWS::EKS::Cluster" in why
    there = f"there is no EKS cluster {cluster.name!r} in account {stack.account} and region {stack.region}"
    if missing:
        fault = Fault(
            "cluster.name",
            f"{there}; see 'aws eks list-clusters --region {stack.region}', or say the region it is in, as in "
            "region=eu-west-1",
        )
    elif "No resource of type AWS::EKS::Nodegroup" in why:
        fault = Fault(
            "cluster.node_group",
            f"{cluster.node_group!r} is not a node group of cluster {cluster.name!r}; see 'aws eks list-nodegroups "
            f"--cluster-name {cluster.name} --region {stack.region}'",
        )
    else:
        settings = ", ".join(f"cluster.{name}" for name in cluster.unknown)
        fault = Fault("cluster.name", f"{cluster.name!r} could not be looked up: {why}; or say it yourself: {settings}")
    return InvalidSettings([fault])


def _ask(stack: Stack, query: Mapping[str, Any], paths: Sequence[str]) -> list[dict[str, Any]] | str | None:
    """What the command line found, what kept it from finding it, or None while it has not looked."""
    props = {**query, "propertiesToReturn": list(paths)}
    key = ContextProvider.get_key(stack, provider=_PROVIDER, props=props).key
    kept = stack.node.try_get_context(key)
    if isinstance(kept, Mapping) and _ERROR in kept:
        return str(kept[_ERROR])
    if kept is None:
        ContextProvider.get_value(stack, provider=_PROVIDER, props=props, dummy_value=[])
        return None
    answer: list[dict[str, Any]] = kept
    return answer
