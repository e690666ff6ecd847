"""The network: VPCs and what is in them, and launch templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from eks_rehearsal.cloudformation.resource import Context, Made, Properties, ResourceType
from eks_rehearsal.cloudformation.types.calls import (
    call,
    chosen,
    document,
    known,
    refusal,
    rolled_back_on_failure,
    tried,
    until,
)
from eks_rehearsal.cloudformation.types.tags import own_tags, pairs, tags_of
from eks_rehearsal.errors import NotEmulated

Change = Callable[[Context, str, Any, Any], None]
RULE_ENDS = {
    "CidrIp": ("IpRanges", "CidrIp"),
    "CidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
    "SourceSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
    "DestinationSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
    "SourcePrefixListId": ("PrefixListIds", "PrefixListId"),
    "DestinationPrefixListId": ("PrefixListIds", "PrefixListId"),
}
RULE_KEYS = frozenset(RULE_ENDS) | {"IpProtocol", "FromPort", "ToPort", "Description"}
EVERYWHERE = {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}
VERSION = frozenset({"LaunchTemplateData", "VersionDescription"})
ALIVE = [{"Name": "instance-state-name", "Values": ["pending", "running", "shutting-down", "stopping", "stopped"]}]


class LazyAttributes(Mapping[str, Any]):
    """Attributes that are looked up each time: a VPC's IPv6 blocks come after it, with an `AWS::EC2::VPCCidrBlock`."""

    def __init__(self, ask: Callable[[], Mapping[str, Any]]) -> None:
        self._ask = ask

    def __getitem__(self, name: str) -> Any:
        return self._ask()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ask())

    def __len__(self) -> int:
        return len(self._ask())


@dataclass(frozen=True)
class Ec2Type:
    """What EC2 makes with `create_<noun>`, deletes with `delete_<noun>`, and tags.

    Args:
        type: The CloudFormation type.

        noun: Its name in the operations, `internet_gateway`.

        id: The parameter and the key of the answer that has its id.

        created: The properties that creation takes, by their name there. A change of one replaces.

        changed: The others, with what changes one from an old to a new value; None stands for one that is not given.

        attributes: What GetAtt gives, beside the id.

        holders: What is in the way of a deletion in AWS and not in moto.

        refused: What AWS says then.

        ready: Whether it can be used, for a thing that takes its time.

        deletion: What deletes it where that is more than `delete_<noun>`.
    """

    type: str
    noun: str
    id: str
    created: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, Change] = field(default_factory=dict)
    attributes: Callable[[Context, str], Mapping[str, Any]] = lambda _context, _id: {}
    holders: Callable[[Context, str], list[str]] = lambda _context, _id: []
    refused: str = ""
    ready: Callable[[Context, str], bool] = lambda _context, _id: True
    deletion: Callable[[Context, str], None] | None = None

    @property
    def operation(self) -> str:
        return self.noun.title().replace("_", "")

    def create(self, context: Context, properties: Properties) -> Made:
        given = {self.created[name]: value for name, value in properties.items() if name in self.created}
        if self.noun == "security_group" and "GroupName" not in given:
            given["GroupName"] = context.name(255)
        answer = call(
            context, "ec2", f"create_{self.noun}", **given, **tag_specifications(self.noun, context, properties)
        )
        id = answer.get(self.operation, answer)[self.id]
        with rolled_back_on_failure(id):
            for name, change in self.changed.items():
                if name in properties:
                    change(context, id, None, properties[name])
            until(lambda: self.ready(context, id), f"{context.logical_id} ({self.type}) {id} to be available")
        return self.made(context, id)

    def made(self, context: Context, id: str) -> Made:
        return Made(id, LazyAttributes(lambda: {self.id: id} | dict(self.attributes(context, id))))

    def update(self, context: Context, id: str, old: Properties, new: Properties) -> Made:
        for name, change in self.changed.items():
            if old.get(name) != new.get(name):
                change(context, id, old.get(name), new.get(name))
        retag(context, id, old, new)
        return self.made(context, id)

    def delete(self, context: Context, id: str, _properties: Properties) -> None:
        holders = self.holders(context, id)
        if holders:
            raise refusal("DependencyViolation", f"Delete{self.operation}", self.refused.format(id), holders)
        if self.deletion:
            self.deletion(context, id)
        else:
            tried(context, "ec2", f"delete_{self.noun}", **{self.id: id})

    def row(self) -> ResourceType:
        return ResourceType(
            self.type,
            frozenset({"Tags", *self.created, *self.changed}),
            self.create,
            self.delete,
            self.update,
            frozenset(self.created),
        )


def tag_specifications(noun: str, context: Context, properties: Properties) -> dict[str, Any]:
    """The parameter that tags a thing as it is made."""
    kind = {"egress_only_internet_gateway": "egress-only-internet-gateway", "nat_gateway": "natgateway"}
    return {
        "TagSpecifications": [
            {"ResourceType": kind.get(noun, noun.replace("_", "-")), "Tags": pairs(tags_of(context, properties))}
        ]
    }


def retag(context: Context, id: str, old: Properties, new: Properties) -> None:
    """From the old tags to the new."""
    before, after = own_tags(context, old), own_tags(context, new)
    removed = before.keys() - after.keys()
    if removed:
        call(context, "ec2", "delete_tags", Resources=[id], Tags=[{"Key": key} for key in sorted(removed)])
    if after.items() - before.items():
        call(context, "ec2", "create_tags", Resources=[id], Tags=pairs(after))


def _found(context: Context, operation: str, **filters: str) -> Iterator[dict[str, Any]]:
    """What a describe operation lists for filters, their dashes written as underscores."""
    pages = (
        context.client("ec2")
        .get_paginator(operation)
        .paginate(Filters=[{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()])
    )
    for page in pages:
        (listed,) = (value for value in page.values() if isinstance(value, list))
        yield from listed


def _instances(context: Context, filter: str, value: str) -> list[dict[str, Any]]:
    pages = (
        context.client("ec2")
        .get_paginator("describe_instances")
        .paginate(Filters=[{"Name": filter, "Values": [value]}, *ALIVE])
    )
    return [instance for page in pages for reservation in page["Reservations"] for instance in reservation["Instances"]]


def _ids(things: Any, key: str) -> list[str]:
    return [thing[key] for thing in things]


def _nat_gateways(context: Context, **filters: str) -> list[str]:
    gateways = (gateway for gateway in _found(context, "describe_nat_gateways", **filters))
    return [gateway["NatGatewayId"] for gateway in gateways if gateway["State"] != "deleted"]


def _interfaces(context: Context, **filters: str) -> list[str]:
    """Those that are not an instance's: moto keeps an instance's when it is gone."""
    found = _found(context, "describe_network_interfaces", **filters)
    return [one["NetworkInterfaceId"] for one in found if not one.get("Attachment", {}).get("InstanceId")]


def _in_subnet(context: Context, id: str) -> list[str]:
    return [
        *_ids(_instances(context, "subnet-id", id), "InstanceId"),
        *_interfaces(context, subnet_id=id),
        *_nat_gateways(context, subnet_id=id),
    ]


def _in_vpc(context: Context, id: str) -> list[str]:
    groups = _found(context, "describe_security_groups", vpc_id=id)
    gateways = _found(context, "describe_internet_gateways", **{"attachment.vpc_id": id})
    egress_only = _found(context, "describe_egress_only_internet_gateways")
    return [
        *_ids(_instances(context, "vpc-id", id), "InstanceId"),
        *_ids(_found(context, "describe_subnets", vpc_id=id), "SubnetId"),
        *_interfaces(context, vpc_id=id),
        *(group["GroupId"] for group in groups if group["GroupName"] != "default"),
        *_ids(gateways, "InternetGatewayId"),
        *(
            gateway["EgressOnlyInternetGatewayId"]
            for gateway in egress_only
            if any(attachment.get("VpcId") == id for attachment in gateway["Attachments"])
        ),
        *_nat_gateways(context, vpc_id=id),
        *_ids(_endpoints(context, vpc_id=id), "VpcEndpointId"),
    ]


def _in_group(context: Context, id: str) -> list[str]:
    """What carries a security group, and the other groups whose rules name it."""
    naming = [
        *_found(context, "describe_security_groups", **{"ip_permission.group_id": id}),
        *_found(context, "describe_security_groups", **{"egress.ip_permission.group_id": id}),
    ]
    return [
        *_ids(_instances(context, "instance.group-id", id), "InstanceId"),
        *_interfaces(context, group_id=id),
        *(
            one["VpcEndpointId"]
            for one in _endpoints(context)
            if any(group["GroupId"] == id for group in one.get("Groups") or [])
        ),
        *({group["GroupId"] for group in naming} - {id}),
    ]


def _vpc_attribute(name: str, *, default: bool) -> Change:
    def change(context: Context, id: str, _old: Any, new: Any) -> None:
        call(context, "ec2", "modify_vpc_attribute", VpcId=id, **{name: {"Value": default if new is None else new}})

    return change


def _subnet_attribute(name: str) -> Change:
    def change(context: Context, id: str, _old: Any, new: Any) -> None:
        call(context, "ec2", "modify_subnet_attribute", SubnetId=id, **{name: {"Value": new or False}})

    return change


def _vpc_attributes(context: Context, id: str) -> Mapping[str, Any]:
    (vpc,) = call(context, "ec2", "describe_vpcs", VpcIds=[id])["Vpcs"]
    (group,) = _found(context, "describe_security_groups", vpc_id=id, group_name="default")
    (acl,) = _found(context, "describe_network_acls", vpc_id=id, default="true")
    blocks = vpc.get("Ipv6CidrBlockAssociationSet", [])
    return {
        "CidrBlock": vpc["CidrBlock"],
        "CidrBlockAssociations": [block["AssociationId"] for block in vpc["CidrBlockAssociationSet"]],
        "DefaultSecurityGroup": group["GroupId"],
        "DefaultNetworkAcl": acl["NetworkAclId"],
        "Ipv6CidrBlocks": [
            block["Ipv6CidrBlock"] for block in blocks if block["Ipv6CidrBlockState"]["State"] == "associated"
        ],
    }


def _subnet_attributes(context: Context, id: str) -> Mapping[str, Any]:
    (subnet,) = call(context, "ec2", "describe_subnets", SubnetIds=[id])["Subnets"]
    blocks = subnet.get("Ipv6CidrBlockAssociationSet", [])
    acls = _found(context, "describe_network_acls", **{"association.subnet_id": id})
    associations = (association for acl in acls for association in acl["Associations"])
    return {
        "AvailabilityZone": subnet["AvailabilityZone"],
        "AvailabilityZoneId": subnet["AvailabilityZoneId"],
        "CidrBlock": subnet["CidrBlock"],
        "Ipv6CidrBlocks": [block["Ipv6CidrBlock"] for block in blocks],
        "NetworkAclAssociationId": next(
            (found["NetworkAclAssociationId"] for found in associations if found["SubnetId"] == id), ""
        ),
        "VpcId": subnet["VpcId"],
    }


def _group_attributes(context: Context, id: str) -> Mapping[str, Any]:
    (group,) = call(context, "ec2", "describe_security_groups", GroupIds=[id])["SecurityGroups"]
    return {"Id": id, "VpcId": group["VpcId"]}


def _nat_gateway(context: Context, id: str) -> dict[str, Any]:
    (gateway,) = call(context, "ec2", "describe_nat_gateways", NatGatewayIds=[id])["NatGateways"]
    return dict(gateway)


def _delete_nat_gateway(context: Context, id: str) -> None:
    answer = tried(context, "ec2", "describe_nat_gateways", NatGatewayIds=[id])
    gateways = answer["NatGateways"] if answer else []
    if not any(gateway["State"] != "deleted" for gateway in gateways):
        return
    tried(context, "ec2", "delete_nat_gateway", NatGatewayId=id)
    until(lambda: id not in _nat_gateways(context), f"{context.logical_id} (AWS::EC2::NatGateway) {id} to be gone")
    # moto leaves the interface behind, and then no subnet could be deleted.
    for address in gateways[0]["NatGatewayAddresses"]:
        tried(context, "ec2", "delete_network_interface", NetworkInterfaceId=address["NetworkInterfaceId"])


def permission(context: Context, where: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as the API takes it."""
    known(context, where, rule, RULE_KEYS)
    ports = chosen(rule, ("IpProtocol", "FromPort", "ToPort"))
    described = chosen(rule, ("Description",))
    return ports | {
        RULE_ENDS[key][0]: [{RULE_ENDS[key][1]: rule[key], **described}] for key in RULE_ENDS if key in rule
    }


def _rules(direction: str) -> Change:
    """Of a group's own rules; those of separate resources stay."""
    where = f"SecurityGroup{direction.title()}"

    def change(context: Context, id: str, old: Any, new: Any) -> None:
        before = _initial_rules(context, id, direction) if old is None else _permissions(context, where, old)
        after = _permissions(context, where, _default_rules(direction) if new is None else new)
        gone, come = [rule for rule in before if rule not in after], [rule for rule in after if rule not in before]
        if gone:
            tried(context, "ec2", f"revoke_security_group_{direction}", GroupId=id, IpPermissions=gone)
        if come:
            call(context, "ec2", f"authorize_security_group_{direction}", GroupId=id, IpPermissions=come)

    return change


def _permissions(context: Context, where: str, rules: Any) -> list[dict[str, Any]]:
    return [permission(context, f"{where}[{index}]", rule) for index, rule in enumerate(rules)]


def _default_rules(direction: str) -> list[dict[str, Any]]:
    return [EVERYWHERE] if direction == "egress" else []


def _initial_rules(context: Context, id: str, direction: str) -> list[dict[str, Any]]:
    """What EC2 put in a new group: everything may leave, until the template says otherwise."""
    if direction == "ingress":
        return []
    (group,) = call(context, "ec2", "describe_security_groups", GroupIds=[id])["SecurityGroups"]
    return [{key: value for key, value in rule.items() if value} for rule in group["IpPermissionsEgress"]]


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


EC2_TYPES = (
    Ec2Type(
        "AWS::EC2::VPC",
        "vpc",
        "VpcId",
        created=_same("CidrBlock", "InstanceTenancy"),
        changed={
            "EnableDnsSupport": _vpc_attribute("EnableDnsSupport", default=True),
            "EnableDnsHostnames": _vpc_attribute("EnableDnsHostnames", default=False),
        },
        attributes=_vpc_attributes,
        holders=_in_vpc,
        refused="The vpc '{}' has dependencies and cannot be deleted.",
    ),
    Ec2Type(
        "AWS::EC2::Subnet",
        "subnet",
        "SubnetId",
        created=_same("VpcId", "CidrBlock", "Ipv6CidrBlock", "AvailabilityZone"),
        changed={
            "MapPublicIpOnLaunch": _subnet_attribute("MapPublicIpOnLaunch"),
            "AssignIpv6AddressOnCreation": _subnet_attribute("AssignIpv6AddressOnCreation"),
        },
        attributes=_subnet_attributes,
        holders=_in_subnet,
        refused="The subnet '{}' has dependencies and cannot be deleted.",
    ),
    Ec2Type(
        "AWS::EC2::SecurityGroup",
        "security_group",
        "GroupId",
        created={"GroupDescription": "Description", "GroupName": "GroupName", "VpcId": "VpcId"},
        changed={"SecurityGroupEgress": _rules("egress"), "SecurityGroupIngress": _rules("ingress")},
        attributes=_group_attributes,
        holders=_in_group,
        refused="resource {} has a dependent object",
    ),
    Ec2Type("AWS::EC2::InternetGateway", "internet_gateway", "InternetGatewayId"),
    Ec2Type(
        "AWS::EC2::EgressOnlyInternetGateway",
        "egress_only_internet_gateway",
        "EgressOnlyInternetGatewayId",
        created=_same("VpcId"),
        attributes=lambda _context, gateway: {"Id": gateway},
    ),
    Ec2Type("AWS::EC2::RouteTable", "route_table", "RouteTableId", created=_same("VpcId")),
    Ec2Type(
        "AWS::EC2::NatGateway",
        "nat_gateway",
        "NatGatewayId",
        created=_same("AllocationId", "SubnetId", "ConnectivityType", "PrivateIpAddress"),
        attributes=lambda context, gateway: {
            "EniId": _nat_gateway(context, gateway)["NatGatewayAddresses"][0].get("NetworkInterfaceId", "")
        },
        ready=lambda context, gateway: _nat_gateway(context, gateway)["State"] == "available",
        deletion=_delete_nat_gateway,
    ),
)


def _allocate(context: Context, properties: Properties) -> Made:
    given = chosen(properties, ("Domain",))
    made = call(context, "ec2", "allocate_address", **given, **tag_specifications("elastic_ip", context, properties))
    return Made(made["PublicIp"], chosen(made, ("AllocationId", "PublicIp")))


def _address(context: Context, ip: str) -> dict[str, Any] | None:
    answer = tried(context, "ec2", "describe_addresses", PublicIps=[ip])
    return answer["Addresses"][0] if answer and answer["Addresses"] else None


def _update_address(context: Context, id: str, old: Properties, new: Properties) -> Made:
    address = _address(context, id) or {}
    retag(context, address["AllocationId"], old, new)
    return Made(id, chosen(address, ("AllocationId", "PublicIp")))


def _release(context: Context, id: str, _properties: Properties) -> None:
    address = _address(context, id)
    if not address:
        return
    allocation = address["AllocationId"]
    gateways = [
        gateway["NatGatewayId"]
        for gateway in _found(context, "describe_nat_gateways")
        if gateway["State"] != "deleted"
        and any(part.get("AllocationId") == allocation for part in gateway["NatGatewayAddresses"])
    ]
    users = [*gateways, *filter(None, [address.get("InstanceId")])]
    if users:
        raise refusal("InvalidIPAddress.InUse", "ReleaseAddress", f"Address {id} is in use.", users)
    tried(context, "ec2", "release_address", AllocationId=allocation)


def _attach_gateway(context: Context, properties: Properties) -> Made:
    call(context, "ec2", "attach_internet_gateway", **properties)
    return Made(f"IGW|{properties['VpcId']}", {"AttachmentType": "IGW"})


def _detach_gateway(context: Context, _id: str, properties: Properties) -> None:
    vpc = properties["VpcId"]
    public = [found["InstanceId"] for found in _instances(context, "vpc-id", vpc) if found.get("PublicIpAddress")]
    mapped = [*public, *_nat_gateways(context, vpc_id=vpc)]
    if mapped:
        sentence = (
            f"Network {vpc} has some mapped public address(es). "
            "Please unmap those public address(es) before detaching the gateway."
        )
        raise refusal("DependencyViolation", "DetachInternetGateway", sentence, mapped)
    tried(context, "ec2", "detach_internet_gateway", **properties)


def _replace_attachment(context: Context, id: str, old: Properties, new: Properties) -> Made:
    if old:
        _detach_gateway(context, id, old)
    return _attach_gateway(context, new)


def _destination(properties: Properties) -> str:
    return next(
        str(properties[key]) for key in ("DestinationCidrBlock", "DestinationIpv6CidrBlock") if key in properties
    )


def _write_route(operation: str) -> Callable[[Context, Properties], Made]:
    def write(context: Context, properties: Properties) -> Made:
        call(context, "ec2", operation, **properties)
        to = _destination(properties)
        return Made(f"{properties['RouteTableId']}|{to}", {"CidrBlock": to})

    return write


def _replace_route(context: Context, _id: str, _old: Properties, new: Properties) -> Made:
    return _write_route("replace_route")(context, new)


def _delete_route(context: Context, _id: str, properties: Properties) -> None:
    named = chosen(properties, ("RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock"))
    tried(context, "ec2", "delete_route", **named)


def _associate_table(context: Context, properties: Properties) -> Made:
    id = call(context, "ec2", "associate_route_table", **properties)["AssociationId"]
    return Made(id, {"Id": id})


def _disassociate_table(context: Context, id: str, _properties: Properties) -> None:
    tried(context, "ec2", "disassociate_route_table", AssociationId=id)


def _associate_block(context: Context, properties: Properties) -> Made:
    answer = call(context, "ec2", "associate_vpc_cidr_block", **properties)
    association = answer.get("Ipv6CidrBlockAssociation") or answer["CidrBlockAssociation"]
    return Made(association["AssociationId"], {"Id": association["AssociationId"]})


def _disassociate_block(context: Context, id: str, _properties: Properties) -> None:
    tried(context, "ec2", "disassociate_vpc_cidr_block", AssociationId=id)


def _flow_log(context: Context, properties: Properties) -> Made:
    given = {key: value for key, value in properties.items() if key not in {"ResourceId", "Tags"}}
    specifications = tag_specifications("vpc_flow_log", context, properties)
    answer = call(context, "ec2", "create_flow_logs", ResourceIds=[properties["ResourceId"]], **given, **specifications)
    for failed in answer.get("Unsuccessful", []):
        raise refusal(failed["Error"]["Code"], "CreateFlowLogs", failed["Error"]["Message"])
    (id,) = answer["FlowLogIds"]
    return Made(id, {"Id": id})


def _retag_only(context: Context, id: str, old: Properties, new: Properties) -> Made:
    retag(context, id, old, new)
    return Made(id, {"Id": id})


def _delete_flow_log(context: Context, id: str, _properties: Properties) -> None:
    tried(context, "ec2", "delete_flow_logs", FlowLogIds=[id])


def _endpoints(context: Context, **filters: str) -> list[dict[str, Any]]:
    """VPC endpoints that stand; moto shows deleted ones for ever, as AWS does for some minutes."""
    return [one for one in _found(context, "describe_vpc_endpoints", **filters) if one["State"] != "deleted"]


def _create_endpoint(context: Context, properties: Properties) -> Made:
    kind = properties.get("VpcEndpointType", "Gateway")
    if kind not in {"Gateway", "Interface"}:
        raise NotEmulated(f"{context.logical_id}: the rehearsal does not know VPC endpoints of the type {kind}")
    if kind == "Interface":
        _check_interface_endpoint(context, properties)
    given = {key: value for key, value in properties.items() if key not in {"Tags", "PolicyDocument"}}
    answer = call(
        context,
        "ec2",
        "create_vpc_endpoint",
        **{"VpcEndpointType": kind, **given},
        PolicyDocument=document(properties.get("PolicyDocument")),
        **tag_specifications("vpc_endpoint", context, properties),
    )
    return _endpoint_made(context, answer["VpcEndpoint"]["VpcEndpointId"])


def _endpoint_made(context: Context, id: str) -> Made:
    (shown,) = call(context, "ec2", "describe_vpc_endpoints", VpcEndpointIds=[id])["VpcEndpoints"]
    entries = [f"{entry.get('HostedZoneId', '')}:{entry['DnsName']}" for entry in shown.get("DnsEntries", [])]
    interfaces = list(shown.get("NetworkInterfaceIds", []))
    return Made(id, {"Id": id, "DnsEntries": entries, "NetworkInterfaceIds": interfaces})


def _check_interface_endpoint(context: Context, properties: Properties) -> None:
    """What EC2 refuses of an interface endpoint and moto does not.

    Source: AWS PrivateLink guide, "Access an AWS service using an interface VPC endpoint": prerequisites, considerations.
    """
    vpc, zones = properties["VpcId"], set()
    for subnet in call(context, "ec2", "describe_subnets", SubnetIds=properties.get("SubnetIds") or [])["Subnets"]:
        if subnet["AvailabilityZone"] in zones:
            sentence = f"Found another VPC endpoint subnet in the availability zone of {subnet['SubnetId']}."
            raise refusal("DuplicateSubnetsInSameZone", "CreateVpcEndpoint", sentence)
        zones.add(subnet["AvailabilityZone"])
    if str(properties.get("PrivateDnsEnabled", False)).lower() != "true":
        return
    for name in ("EnableDnsSupport", "EnableDnsHostnames"):
        attribute = name[:1].lower() + name[1:]
        if not call(context, "ec2", "describe_vpc_attribute", VpcId=vpc, Attribute=attribute)[name]["Value"]:
            sentence = (
                "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for "
                f"{vpc}"
            )
            raise refusal("InvalidParameter", "CreateVpcEndpoint", sentence)
    there = _endpoints(context, vpc_id=vpc, service_name=properties["ServiceName"])
    if any(one.get("PrivateDnsEnabled") for one in there):
        sentence = (
            f"private-dns-enabled cannot be set because there is already a conflicting DNS domain for "
            f"{properties['ServiceName']} in the VPC {vpc}"
        )
        raise refusal("InvalidParameter", "CreateVpcEndpoint", sentence)


def _update_endpoint(context: Context, id: str, old: Properties, new: Properties) -> Made:
    changes: dict[str, Any] = {}
    for name in ("SubnetIds", "RouteTableIds", "SecurityGroupIds"):
        before, after = set(old.get(name) or []), set(new.get(name) or [])
        changes[f"Add{name}"] = sorted(after - before) or None
        changes[f"Remove{name}"] = sorted(before - after) or None
    if old.get("PolicyDocument") != new.get("PolicyDocument"):
        changes["PolicyDocument"] = document(new.get("PolicyDocument"))
    if old.get("PrivateDnsEnabled") != new.get("PrivateDnsEnabled"):
        changes["PrivateDnsEnabled"] = new.get("PrivateDnsEnabled", False)
    call(context, "ec2", "modify_vpc_endpoint", VpcEndpointId=id, **changes)
    retag(context, id, old, new)
    return _endpoint_made(context, id)


def _delete_endpoint(context: Context, id: str, _properties: Properties) -> None:
    if any(one["VpcEndpointId"] == id for one in _endpoints(context)):
        call(context, "ec2", "delete_vpc_endpoints", VpcEndpointIds=[id])


def _rule(direction: str) -> ResourceType:
    """A rule of a security group as a resource of its own."""
    ends = {
        "ingress": ("SourceSecurityGroupId", "SourcePrefixListId"),
        "egress": ("DestinationSecurityGroupId", "DestinationPrefixListId"),
    }
    fixed = frozenset({"GroupId", "IpProtocol", "FromPort", "ToPort", "CidrIp", "CidrIpv6", *ends[direction]})

    def given(context: Context, properties: Properties) -> dict[str, Any]:
        rule = {key: value for key, value in properties.items() if key != "GroupId"}
        return {"GroupId": properties["GroupId"], "IpPermissions": [permission(context, "Rule", rule)]}

    def create(context: Context, properties: Properties) -> Made:
        answer = call(context, "ec2", f"authorize_security_group_{direction}", **given(context, properties))
        id = answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        return Made(id, {"Id": id})

    def update(context: Context, id: str, _old: Properties, new: Properties) -> Made:
        call(context, "ec2", f"update_security_group_rule_descriptions_{direction}", **given(context, new))
        return Made(id, {"Id": id})

    def delete(context: Context, _id: str, properties: Properties) -> None:
        tried(context, "ec2", f"revoke_security_group_{direction}", **given(context, properties))

    name = f"AWS::EC2::SecurityGroup{direction.title()}"
    return ResourceType(name, fixed | {"Description"}, create, delete, update, fixed)


def _tagged(context: Context, properties: Properties) -> Properties:
    """The tags of what has tag specifications, in the form of every other type."""
    given = properties.get("TagSpecifications", [])
    for index, own in enumerate(given):
        known(context, f"TagSpecifications[{index}]", own, ("ResourceType", "Tags"))
    return {"Tags": [tag for own in given for tag in own["Tags"]]}


def _launch_template(context: Context, properties: Properties) -> Made:
    made = call(
        context,
        "ec2",
        "create_launch_template",
        LaunchTemplateName=properties.get("LaunchTemplateName") or context.name(128),
        **chosen(properties, VERSION),
        **tag_specifications("launch_template", context, _tagged(context, properties)),
    )
    return _template_made(made["LaunchTemplate"])


def _template_made(template: Mapping[str, Any]) -> Made:
    numbers = {key: str(template[key]) for key in ("LatestVersionNumber", "DefaultVersionNumber")}
    return Made(template["LaunchTemplateId"], {"LaunchTemplateId": template["LaunchTemplateId"], **numbers})


def _new_version(context: Context, id: str, old: Properties, new: Properties) -> Made:
    if chosen(old, VERSION) != chosen(new, VERSION):
        call(context, "ec2", "create_launch_template_version", LaunchTemplateId=id, **chosen(new, VERSION))
    retag(context, id, _tagged(context, old), _tagged(context, new))
    (template,) = call(context, "ec2", "describe_launch_templates", LaunchTemplateIds=[id])["LaunchTemplates"]
    return _template_made(template)


def _delete_template(context: Context, id: str, _properties: Properties) -> None:
    tried(context, "ec2", "delete_launch_template", LaunchTemplateId=id)


def _reservation(context: Context, properties: Properties) -> Made:
    given = {name: value for name, value in properties.items() if name != "TagSpecifications"}
    tags = tag_specifications("capacity_reservation", context, _tagged(context, properties))
    made = call(context, "ec2", "create_capacity_reservation", **given, **tags)
    return _reservation_made(made["CapacityReservation"])


def _reservation_made(one: Mapping[str, Any]) -> Made:
    counts = {name: str(one[name]) for name in ("AvailableInstanceCount", "TotalInstanceCount")}
    names = {"Id": one["CapacityReservationId"], "CapacityReservationArn": one["CapacityReservationArn"]}
    return Made(one["CapacityReservationId"], {**names, **counts, "Tenancy": one["Tenancy"]})


def _modified_reservation(context: Context, id: str, old: Properties, new: Properties) -> Made:
    if chosen(old, RESERVATION_CHANGED) != chosen(new, RESERVATION_CHANGED):
        given = chosen(new, RESERVATION_CHANGED)
        call(context, "ec2", "modify_capacity_reservation", CapacityReservationId=id, **given)
    retag(context, id, _tagged(context, old), _tagged(context, new))
    asked = {"CapacityReservationIds": [id]}
    return _reservation_made(call(context, "ec2", "describe_capacity_reservations", **asked)["CapacityReservations"][0])


def _cancelled_reservation(context: Context, id: str, _properties: Properties) -> None:
    """One that has ended cannot be cancelled, and need not be."""
    there = tried(context, "ec2", "describe_capacity_reservations", CapacityReservationIds=[id])
    if there and there["CapacityReservations"][0]["State"] == "active":
        call(context, "ec2", "cancel_capacity_reservation", CapacityReservationId=id)


RESERVATION_CHANGED = frozenset({"InstanceCount", "EndDate", "EndDateType", "InstanceMatchCriteria"})
RESERVATION_FIXED = frozenset({"AvailabilityZone", "InstanceType", "InstancePlatform", "Tenancy"})
ROUTE = frozenset({"RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock"})
BLOCK = frozenset({"VpcId", "CidrBlock", "AmazonProvidedIpv6CidrBlock"})
FLOW_LOG = frozenset(
    {
        "DeliverLogsPermissionArn",
        "LogDestination",
        "LogDestinationType",
        "LogFormat",
        "LogGroupName",
        "MaxAggregationInterval",
        "ResourceId",
        "ResourceType",
        "TrafficType",
    }
)
ASSOCIATION = frozenset({"RouteTableId", "SubnetId"})
ENDPOINT = frozenset({"VpcId", "ServiceName", "VpcEndpointType"})
ENDPOINT_CHANGES = frozenset(
    {"SubnetIds", "RouteTableIds", "SecurityGroupIds", "PolicyDocument", "PrivateDnsEnabled", "Tags"}
)

ROWS = (
    *(thing.row() for thing in EC2_TYPES),
    ResourceType("AWS::EC2::EIP", frozenset({"Domain", "Tags"}), _allocate, _release, _update_address),
    ResourceType(
        "AWS::EC2::VPCGatewayAttachment",
        frozenset({"InternetGatewayId", "VpcId"}),
        _attach_gateway,
        _detach_gateway,
        _replace_attachment,
        frozenset({"VpcId"}),
    ),
    ResourceType(
        "AWS::EC2::Route",
        ROUTE | {"GatewayId", "NatGatewayId", "EgressOnlyInternetGatewayId"},
        _write_route("create_route"),
        _delete_route,
        _replace_route,
        ROUTE,
    ),
    ResourceType(
        "AWS::EC2::SubnetRouteTableAssociation",
        ASSOCIATION,
        _associate_table,
        _disassociate_table,
        replaced_by=ASSOCIATION,
    ),
    ResourceType("AWS::EC2::VPCCidrBlock", BLOCK, _associate_block, _disassociate_block, replaced_by=BLOCK),
    ResourceType("AWS::EC2::FlowLog", FLOW_LOG | {"Tags"}, _flow_log, _delete_flow_log, _retag_only, FLOW_LOG),
    ResourceType(
        "AWS::EC2::VPCEndpoint",
        ENDPOINT | ENDPOINT_CHANGES,
        _create_endpoint,
        _delete_endpoint,
        _update_endpoint,
        ENDPOINT,
    ),
    _rule("ingress"),
    _rule("egress"),
    ResourceType(
        "AWS::EC2::LaunchTemplate",
        VERSION | {"LaunchTemplateName", "TagSpecifications"},
        _launch_template,
        _delete_template,
        _new_version,
        frozenset({"LaunchTemplateName"}),
    ),
    ResourceType(
        "AWS::EC2::CapacityReservation",
        RESERVATION_CHANGED | RESERVATION_FIXED | {"TagSpecifications"},
        _reservation,
        _cancelled_reservation,
        _modified_reservation,
        RESERVATION_FIXED,
    ),
)
