"""An existing cluster: created as the template takes it to be, with the very ids that it names."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from eks_rehearsal.account import Account
from eks_rehearsal.assembly import NamedReservation
from eks_rehearsal.aws.extensions.ids import next_id
from eks_rehearsal.aws.extensions.reservations import CAPACITY_BLOCK, DEFAULT
from eks_rehearsal.cluster.authentication import AWS_AUTH
from eks_rehearsal.cluster.kube import Kube
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.processes import wait_for

Facts = Mapping[str, Any]
Client = Callable[[str], Any]

CONFIG_MAP: Final = "CONFIG_MAP"
NOTHING: Final[Mapping[str, Mapping[str, Any]]] = {}
ALLOWS_ALL: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
NODE_POLICIES: Final = ("AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly")
START_SECONDS: Final = 180.0

# What others have in aws-auth, which must be there afterwards to the last blank.
FOREIGN_ROLES: Final = """\
# looked after by the platform team
- rolearn: arn:{partition}:iam::{account}:role/auditors
  username: auditor:{{{{SessionName}}}}
  groups: [view-only]
"""
FOREIGN_USERS: Final = """\
- userarn: arn:{partition}:iam::{account}:user/eve
  username: eve
  groups:
    - system:masters
"""


def make(account: Account, facts: Facts) -> None:
    """Make the cluster that a template attaches to.

    Args:
        account: Bootstrapped.

        facts: As the template's metadata has them.

    Raises:
        RehearsalError: It does not come up, and why.
    """
    client, name = account.aws.client, facts["Name"]
    _, subnets = network(client, facts)
    issuer = facts.get("OidcIssuer")
    if issuer:
        account.issuers[name] = issuer
    _roles(client, facts)
    cluster(client, facts, subnets)
    _until(client, "cluster", lambda eks: eks.describe_cluster(name=name)["cluster"], account)
    if facts.get("OidcProvider") and issuer:
        client("iam").create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])
    kube = account.clusters[name].kube
    for addon in ("vpc-cni", "kube-proxy", *(["eks-pod-identity-agent"] if facts.get("PodIdentityAgent") else [])):
        client("eks").create_addon(clusterName=name, addonName=addon)
    node_group(client, facts, subnets)
    group = facts.get("NodeGroup") or "system"
    _until(
        client,
        f"node group {group}",
        lambda eks: eks.describe_nodegroup(clusterName=name, nodegroupName=group)["nodegroup"],
        account,
    )
    client("eks").create_addon(clusterName=name, addonName="coredns")
    if facts["AuthenticationMode"] != "API":
        _foreign_entries(kube, facts, partition=account.aws.world.partition, account=account.aws.account)


def principals(
    account: Account, named: Iterable[re.Match[str]], policies: Mapping[str, Mapping[str, Any]] = NOTHING
) -> None:
    """The roles, users and policies of the account that a template names by ARN; anybody in the account may take such a role.

    Args:
        account: Whose they are.

        named: As PRINCIPAL matches them.

        policies: What policies say, by their name; one that is not among them allows everything, and the report says so.
    """
    iam, root = account.aws.client("iam"), account.aws.world.root
    for one in named:
        if one["account"] != account.aws.account:
            continue
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            if one["kind"] == "user":
                iam.create_user(UserName=one["name"], Path=one["path"])
            elif one["kind"] == "role":
                iam.create_role(RoleName=one["name"], Path=one["path"], AssumeRolePolicyDocument=_trust({"AWS": root}))
            else:
                document = json.dumps(policies.get(one["name"], ALLOWS_ALL))
                iam.create_policy(PolicyName=one["name"], Path=one["path"], PolicyDocument=document)
                if one["name"] not in policies:
                    account.notes.append(
                        f"the policy {one['name']} is your account's, and is taken to allow everything; --policy says what it allows"
                    )


def reservations(account: Account, named: Iterable[NamedReservation]) -> None:
    """The capacity reservations that pools name by id, with two instances each."""
    for one in named:
        if not one.instance_type:
            account.notes.append(f"{one.id}: its pool names no instance type, so it is not in the emulated account")
            continue
        account.aws.extensions.reservations.add(
            one.instance_type,
            one.zone or f"{account.aws.region}a",
            2,
            id=one.id,
            kind=CAPACITY_BLOCK if one.is_block else DEFAULT,
            ends=datetime.now(tz=timezone.utc) + timedelta(days=1) if one.is_block else None,
        )


def network(client: Client, facts: Facts) -> tuple[str, list[str]]:
    """The VPC, its subnets in the region's zones, and the security groups of the nodes; nothing of it is tagged."""
    ec2 = client("ec2")
    with next_id("vpc", facts.get("VpcId")):
        vpc = ec2.create_vpc(CidrBlock="10.42.0.0/16")["Vpc"]["VpcId"]
    zones = [zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]]
    subnets = []
    for place, id in enumerate(facts.get("SubnetIds") or [None, None]):
        with next_id("subnet", id):
            made = ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.42.{place * 16}.0/20", AvailabilityZone=zones[place % len(zones)]
            )
        subnets.append(made["Subnet"]["SubnetId"])
    for id in _groups_of_nodes(facts):
        with next_id("sg", id):
            ec2.create_security_group(GroupName=f"nodes-{id}", Description="the node group's nodes", VpcId=vpc)
    return vpc, subnets


def cluster(client: Client, facts: Facts, subnets: list[str]) -> None:
    """The cluster; EKS makes its security group, with the id that the template names."""
    family = facts.get("IpFamily", "ipv4")
    with next_id("sg", facts.get("ClusterSecurityGroupId")):
        client("eks").create_cluster(
            name=facts["Name"],
            version=facts["KubernetesVersion"],
            roleArn=_role(client, f"{facts['Name']}-cluster"),
            resourcesVpcConfig={"subnetIds": subnets, "endpointPrivateAccess": True},
            kubernetesNetworkConfig={"ipFamily": family},
            accessConfig={
                "authenticationMode": facts["AuthenticationMode"],
                "bootstrapClusterCreatorAdminPermissions": False,
            },
        )


def node_group(client: Client, facts: Facts, subnets: list[str]) -> None:
    """Two nodes of its own, with the security groups that the template takes them to have."""
    launch: dict[str, Any] = {"instanceTypes": ["m6i.large"]}
    if groups := _groups_of_nodes(facts):
        template = client("ec2").create_launch_template(
            LaunchTemplateName=f"{facts['Name']}-nodes", LaunchTemplateData={"SecurityGroupIds": groups}
        )["LaunchTemplate"]
        launch["launchTemplate"] = {"id": template["LaunchTemplateId"], "version": "1"}
    client("eks").create_nodegroup(
        clusterName=facts["Name"],
        nodegroupName=facts.get("NodeGroup") or "system",
        subnets=subnets,
        nodeRole=_role(client, f"{facts['Name']}-nodes"),
        scalingConfig={"minSize": 2, "desiredSize": 2, "maxSize": 3},
        **launch,
    )


def _groups_of_nodes(facts: Facts) -> list[str]:
    """The security groups of the nodes, but for the cluster's own."""
    return [id for id in facts.get("SecurityGroupIds") or [] if id != facts.get("ClusterSecurityGroupId")]


def _roles(client: Client, facts: Facts) -> None:
    iam, name = client("iam"), facts["Name"]
    for role, service in ((f"{name}-cluster", "eks.amazonaws.com"), (f"{name}-nodes", "ec2.amazonaws.com")):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=_trust({"Service": service}))
    for policy in NODE_POLICIES:
        iam.attach_role_policy(RoleName=f"{name}-nodes", PolicyArn=f"arn:aws:iam::aws:policy/{policy}")


def _trust(principal: Mapping[str, str]) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _role(client: Client, name: str) -> str:
    return str(client("iam").get_role(RoleName=name)["Role"]["Arn"])


def _until(client: Client, what: str, ask: Any, account: Account) -> None:
    """Wait until it is ACTIVE."""
    seen: dict[str, Any] = {}

    def active() -> bool:
        seen.update(ask(client("eks")))
        return seen["status"] in {"ACTIVE", "FAILED", "CREATE_FAILED"}

    wait_for(f"the existing {what}", active, seconds=START_SECONDS)
    if seen["status"] != "ACTIVE":
        issues = [issue["message"] for issue in seen["health"]["issues"]] or account.aws.world.failures
        raise RehearsalError(f"the existing {what} did not come up: {'; '.join(issues)}")


def _foreign_entries(kube: Kube, facts: Facts, **where: str) -> None:
    """What people have written into aws-auth, around what EKS wrote."""
    there = kube.find(AWS_AUTH)
    roles = FOREIGN_ROLES.format(**where) + ((there or {}).get("data") or {}).get("mapRoles", "")
    if arn := facts.get("KubectlRoleArn"):
        bare = f"{arn.partition(':role/')[0]}:role/{arn.rpartition('/')[2]}"
        roles += f"- rolearn: {bare}\n  username: ops\n  groups:\n    - system:masters\n"
    data = {"mapRoles": roles, "mapUsers": FOREIGN_USERS.format(**where)}
    if there is None:
        metadata = {"name": "aws-auth", "namespace": "kube-system"}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        kube.create(AWS_AUTH.rpartition("/")[0], document)
    else:
        kube.patch(AWS_AUTH, {"data": data})
