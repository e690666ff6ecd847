"""Finds by its name what must be known of an existing cluster, through the CDK's own context.

The answers of the CDK's command line are kept in `cdk.context.json`; no call is made from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aws_cdk import ContextProvider, Stack, Validations

from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.settings import ExistingCluster
from karpenter_gpu.settings.existing import API

_PROVIDER: Final = "cc-api-provider"
_VPC_PROVIDER: Final = "vpc-provider"
_ERROR: Final = "$providerError"
_ASK_ANEW: Final = "what was found before is in cdk.context.json, and 'cdk context --clear' asks anew"

_NODE_GROUP: Final = "AWS::EKS::Nodegroup"
_SUBNET: Final = "AWS::EC2::Subnet"
# Of the CDK's VpcSubnetGroupType: routes to an internet gateway; to a NAT or transit gateway.
_PUBLIC, _PRIVATE = "Public", "Private"
# As the command line says that an answer has not what was asked for; it then gives none of the rest either.
_LACKS: Final = re.compile(r"Cannot read field ([A-Za-z]+(?:[.][A-Za-z]+)*)")

# Where Cloud Control has each setting. Source: the resource schemas of AWS::EKS::Cluster and AWS::EKS::Nodegroup.
_CLUSTER: Final = {
    "kubernetes_version": "Version",
    "authentication_mode": "AccessConfig.AuthenticationMode",
    "ip_family": "KubernetesNetworkConfig.IpFamily",
    "oidc_issuer": "OpenIdConnectIssuerUrl",
    "cluster_security_group_id": "ClusterSecurityGroupId",
    "kubectl_in_vpc": "ResourcesVpcConfig",
}
_SUBNETS: Final = "Subnets"
_NODES: Final = "ScalingConfig.DesiredSize"
# Not every node group has one, and what may be missing must be asked for by itself.
_TEMPLATE: Final = "LaunchTemplate"

# What stands in for an answer that is still to come, so that the app can be run until all questions are known.
_UNTIL_THEN: Final = {
    "kubernetes_version": None,
    "authentication_mode": API,
    "ip_family": "ipv4",
    "oidc_issuer": "https://oidc.eks.{region}.amazonaws.com/id/00000000000000000000000000000000",
    "cluster_security_group_id": "sg-00000000000000000",
    "kubectl_in_vpc": False,
    "subnet_ids": ("subnet-00000000000000000",),
}


def look_up(stack: Stack, cluster: ExistingCluster, *, controllers: int) -> ExistingCluster:
    """A cluster with all that was left out.

    While an answer is to come, a stand-in is in its place, and only the Kubernetes version may still be left out.

    Args:
        stack: Of the account and region to look in; is told what could not be looked up.

        cluster: What is said of it.

        controllers: On how many nodes the controller runs.

    Raises:
        InvalidSettings: It is not there, is not what was said, or has nowhere for the controller to run.
    """
    unknown = cluster.unknown
    if not unknown:
        return cluster
    found: dict[str, Any] = {setting: _UNTIL_THEN[setting] for setting in unknown}
    if issuer := found.get("oidc_issuer"):
        found["oidc_issuer"] = issuer.format(region=stack.region)
    # Its version is asked for even where it is said: what goes with a wrong one may not fit.
    asked = {name: path for name, path in _CLUSTER.items() if name in {*unknown, "kubernetes_version"}}
    answer = _one(stack, cluster, "AWS::EKS::Cluster", cluster.name, list(asked.values()))
    if answer:
        _agree(cluster, answer)
        found |= {name: answer[path] for name, path in asked.items()}
        if "kubectl_in_vpc" in unknown:
            found["kubectl_in_vpc"] = _needs_the_vpc(found["kubectl_in_vpc"])
    subnets = cluster.subnet_ids
    if "subnet_ids" in unknown:
        subnets = _node_subnets(stack, cluster, controllers)
        found["subnet_ids"] = subnets or found["subnet_ids"]
    if subnets and not cluster.function_subnet_ids and found.get("kubectl_in_vpc", cluster.has_kubectl_in_vpc):
        found["function_subnet_ids"] = _with_a_way_out(stack, cluster, subnets)
    try:
        return replace(cluster, **found)
    except InvalidSettings as error:
        raise InvalidSettings(fault.under("cluster") for fault in error.faults) from None


def _needs_the_vpc(network: Mapping[str, Any]) -> bool:
    """Whether the API server is reached from inside alone: a function in a VPC has no public address and costs a way out."""
    anywhere = {"0.0.0.0/0"} & set(network.get("PublicAccessCidrs") or ["0.0.0.0/0"])
    is_open = network.get("EndpointPublicAccess", True) and bool(anywhere)
    return bool(network.get("EndpointPrivateAccess")) and not is_open


def _agree(cluster: ExistingCluster, answer: Mapping[str, Any]) -> None:
    """What was said of its version is so."""
    said, runs = cluster.kubernetes_version, answer[_CLUSTER["kubernetes_version"]]
    if said is not None and said != runs:
        raise InvalidSettings(
            [
                Fault(
                    "cluster.kubernetes_version",
                    f"{said!r} was said, and {cluster.name!r} runs Kubernetes {runs}; say that, or leave it out and it is "
                    f"looked up; {_ASK_ANEW}",
                )
            ]
        )


def _node_groups(stack: Stack, cluster: ExistingCluster) -> list[Mapping[str, Any]] | None:
    """The node group that was named, or all; None while an answer is to come."""
    if cluster.node_group:
        ids = [f"{cluster.name}/{cluster.node_group}"]
    else:
        # A list has the identifiers, which come unasked, and need not have more.
        query = {"typeName": _NODE_GROUP, "propertyMatch": {}, "resourceModel": {"ClusterName": cluster.name}}
        listed = _ask(stack, query | {"propertiesToReturn": []})
        if isinstance(listed, str):
            raise _not_found(stack, cluster, f"its node groups could not be listed: {listed}")
        if listed is None:
            return None
        ids = [one["Identifier"] for one in listed]
    groups = []
    for id in ids:
        group = _one(stack, cluster, _NODE_GROUP, id, ["NodegroupName", _SUBNETS, _NODES])
        groups.append(group)
        if not cluster.security_group_ids:
            _look_for_template(stack, cluster, id, group)
    return None if None in groups else [group for group in groups if group is not None]


def _node_subnets(stack: Stack, cluster: ExistingCluster, controllers: int) -> tuple[str, ...]:
    """Those of the node groups, on which the controllers have room; none while an answer is to come."""
    groups = _node_groups(stack, cluster)
    if groups is None:
        return ()
    _suffice(stack, cluster, groups, controllers)
    return tuple(dict.fromkeys(id for group in groups for id in group[_SUBNETS]))


def _look_for_template(stack: Stack, cluster: ExistingCluster, id: str, group: Mapping[str, Any] | None) -> None:
    """Warn where nodes have security groups by a launch template, which Cloud Control does not tell.

    The question goes along with the one about the node group. A node group without a template is an error of the
    command line, which keeps none: where the one answer is kept and the other is not, there is no template.
    """
    query = {"typeName": _NODE_GROUP, "exactIdentifier": id, "propertiesToReturn": [_TEMPLATE]}
    answer = _ask(stack, query, anew=group is None)
    if isinstance(answer, str) and not _LACKS.search(answer):
        raise _not_found(stack, cluster, f"{_NODE_GROUP} {id}: {answer}")
    if group is None or not isinstance(answer, list):
        return
    name, template = group["NodegroupName"], answer[0][_TEMPLATE]
    which = f"id {template['Id']}" if "Id" in template else f"name {template['Name']}"
    Validations.of(stack).add_warning(
        f"karpenter-gpu:{name}-security-groups",
        f"node group {name!r} of {cluster.name!r} has a launch template, whose security groups cannot be looked up: run "
        f'"aws ec2 describe-launch-template-versions --launch-template-{which} --versions {template["Version"]} --query '
        "'LaunchTemplateVersions[0].LaunchTemplateData.[NetworkInterfaces[0].Groups||SecurityGroupIds]' --output text "
        f"--region {stack.region}\", and say them as cluster.security_group_ids, or the cluster's own if there are none; "
        "until then GPU nodes get the cluster's own, and where the others have not, the deployment fails before it "
        "changes anything",
    )


def _with_a_way_out(stack: Stack, cluster: ExistingCluster, subnets: Sequence[str]) -> tuple[str, ...]:
    """The subnets from which a function reaches AWS: a function has no public address for an internet gateway to use.

    The command line tells public subnets from others by their routes, or their tag `aws-cdk:subnet-type`.
    Source: Lambda guide, "Enable internet access for VPC-connected Lambda functions"; the CDK's vpc-provider.
    """
    subnet = _one(stack, cluster, _SUBNET, subnets[0], ["VpcId"])
    if subnet is None:
        return tuple(subnets)
    query = {"filter": {"vpc-id": subnet["VpcId"]}, "returnAsymmetricSubnets": True, "returnVpnGateways": False}
    vpc = _ask(stack, query, provider=_VPC_PROVIDER)
    if isinstance(vpc, str):
        raise _not_found(stack, cluster, f"the subnets of {subnet['VpcId']}: {vpc}")
    if vpc is None:
        return tuple(subnets)
    kinds = {one["subnetId"]: group["type"] for group in vpc["subnetGroups"] for one in group["subnets"]}
    private = [id for id in subnets if kinds.get(id) != _PUBLIC]
    private = private or [id for id, kind in kinds.items() if kind == _PRIVATE]
    if not private:
        raise InvalidSettings(
            [
                Fault(
                    "cluster.function_subnet_ids",
                    f"the API server of {cluster.name!r} is reached from inside {subnet['VpcId']} alone, or every function is to "
                    f"be there, and the way out of {', '.join(subnets)} is an internet gateway, which a function has no public "
                    "address for; name subnets with a NAT gateway or endpoints, or open the public endpoint to any address and "
                    f"set cluster.kubectl_in_vpc to false; {_ASK_ANEW}",
                )
            ]
        )
    return tuple(private)


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
    nodes = sum(int(group[_NODES]) for group in groups)
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
    answer = _ask(stack, {"typeName": kind, "exactIdentifier": id, "propertiesToReturn": list(paths)})
    if isinstance(answer, str):
        raise _not_found(stack, cluster, f"{kind} {id}: {answer}")
    return answer[0] if answer else None


def _not_found(stack: Stack, cluster: ExistingCluster, why: str) -> InvalidSettings:
    """What to do about an error of the command line."""
    lacks = _LACKS.search(why)
    if "No resource of type AWS::EKS::Cluster" in why:
        fault = Fault(
            "cluster.name",
            f"there is no EKS cluster {cluster.name!r} in account {stack.account} and region {stack.region}; see 'aws eks "
            f"list-clusters --region {stack.region}', or say the region it is in, as in region=eu-west-1",
        )
    elif f"No resource of type {_SUBNET}" in why:
        fault = Fault("cluster.subnet_ids", f"{why.rpartition(' ')[2]} is not a subnet of this account and region")
    elif f"No resource of type {_NODE_GROUP}" in why:
        fault = Fault(
            "cluster.node_group",
            f"{why.rpartition('/')[2]!r} is not a node group of cluster {cluster.name!r}; see 'aws eks list-nodegroups "
            f"--cluster-name {cluster.name} --region {stack.region}'",
        )
    elif lacks and lacks[1] in _CLUSTER.values():
        setting = next(name for name, path in _CLUSTER.items() if path == lacks[1])
        fault = Fault(
            f"cluster.{setting}", f"AWS does not tell {lacks[1]} of {cluster.name!r}, so it cannot be looked up; say it"
        )
    else:
        settings = ", ".join(f"cluster.{name}" for name in cluster.unknown)
        fault = Fault("cluster.name", f"{cluster.name!r} could not be looked up: {why}; or say it yourself: {settings}")
    return InvalidSettings([fault])


def _ask(stack: Stack, query: Mapping[str, Any], *, provider: str = _PROVIDER, anew: bool = True) -> Any:
    """What the command line found, text for what kept it from finding it, or None while it has not looked.

    Args:
        anew: Whether it is to look where it has not.
    """
    key = ContextProvider.get_key(stack, provider=provider, props=query).key
    kept = stack.node.try_get_context(key)
    if isinstance(kept, Mapping) and _ERROR in kept:
        return " ".join(str(kept[_ERROR]).split())
    if kept is None and anew:
        ContextProvider.get_value(stack, provider=provider, props=query, dummy_value=[])
    return kept
