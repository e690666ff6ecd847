"""What EC2's calls ask IAM for: launches with all they make and are made of, launch templates, tags, terminations.

Source: the service authorization reference, `list_amazonec2`; the EC2 user guide, "Example policies for launching
instances", for what RunInstances asks of each resource, and "EC2 Fleet prerequisites" for CreateFleet, which asks for
RunInstances too; the EBS user guide, "Requirements for Amazon EBS encryption".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from eks_rehearsal.aws.asked.request import TAGS, Asked, Rule, key_arn, listed, passed, tag_keys, unscoped
from eks_rehearsal.aws.wire import Call, tags_of
from eks_rehearsal.aws.world import World
from eks_rehearsal.iam.evaluator import UNKNOWN
from eks_rehearsal.iam.matching import Context

_CREATE_TAGS: Final = (*TAGS, "ec2:createaction")
_KINDS: Final = {
    "acl": "network-acl",
    "ami": "image",
    "cr": "capacity-reservation",
    "eigw": "egress-only-internet-gateway",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "fl": "vpc-flow-log",
    "fleet": "fleet",
    "i": "instance",
    "igw": "internet-gateway",
    "lt": "launch-template",
    "nat": "natgateway",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "sir": "spot-instances-request",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
# What a launch is made of, by the parameter that names it.
_USED: Final = (("SubnetId", "subnet"), ("ImageId", "image"), ("KeyName", "key-pair"))


def _standing(world: World, kind: str, name: str) -> tuple[str, Context]:
    """The ARN and keys of something that stands."""
    account = "" if kind in {"image", "snapshot"} else world.account
    arn = f"arn:{world.partition}:ec2:{world.region}:{account}:{kind}/{name}"
    tags = {tag["key"]: tag["value"] for tag in world.backend("ec2").describe_tags({"resource-id": [name]})}
    keys = tag_keys("resource", tags)
    return arn, {**keys, **{f"ec2:{key.removeprefix('aws:')}": of for key, of in keys.items()}}


def _kind(name: str) -> str:
    return _KINDS.get(name.partition("-")[0], "")


def _made(world: World, call: Call, action: str, kind: str, tags: Mapping[str, str], **more: str) -> Iterator[Asked]:
    """What a call makes, and the tags it gives it: `ec2:CreateTags` is asked for by itself."""
    arn, keys = world.arn("ec2", f"{kind}/*"), tag_keys("request", tags)
    known = {f"ec2:{key}": (value,) for key, value in more.items() if value}
    if tags:
        yield Asked("ec2:CreateTags", arn, {**keys, "ec2:createaction": (call.action,)}, _CREATE_TAGS)
    choice = f"{action} {arn}" if known.get("ec2:instancetype") else ""
    yield Asked(action, arn, {**keys, **known}, (*TAGS, *known), choice=choice)


def _template(world: World, asked: Mapping[str, Any]) -> Any:
    backend = world.backend("ec2")
    if "LaunchTemplateId" in asked:
        return backend.get_launch_template(asked["LaunchTemplateId"])
    return backend.get_launch_template_by_name(asked["LaunchTemplateName"])


def _create_template(world: World, call: Call) -> Iterator[Asked]:
    tags = tags_of(call.parameters.get("TagSpecifications", ()), "launch-template")
    yield from _made(world, call, "ec2:CreateLaunchTemplate", "launch-template", tags)


def _of_template(world: World, call: Call) -> Iterator[Asked]:
    template = _template(world, call.parameters)
    yield Asked(f"ec2:{call.action}", *_standing(world, "launch-template", template.id), TAGS)


class _Launch:
    """RunInstances or CreateFleet, with the data that templates and overrides give it."""

    def __init__(self, world: World, call: Call) -> None:
        self._world, self._call = world, call
        asked = call.parameters
        configs = [
            (one["LaunchTemplateSpecification"], one.get("Overrides") or [{}])
            for one in asked.get("LaunchTemplateConfigs", ())
        ]
        if call.action == "RunInstances":
            configs = [(asked.get("LaunchTemplate"), [asked])]
        self._templates = [_template(world, named) for named, _ in configs if named]
        versions = [
            _template(world, named).get_version(named.get("Version") or "$Default").data if named else {}
            for named, _ in configs
        ]
        self._of_templates = [one for data in versions for one in data.get("TagSpecifications", ())]
        self._each = [{**data, **one} for data, (_, each) in zip(versions, configs, strict=True) for one in each]
        target = asked.get("TargetCapacitySpecification", {}).get("DefaultTargetCapacityType")
        market = (asked.get("InstanceMarketOptions") or {}).get("MarketType")
        self._spot = "spot" in (target, market)

    def asked(self) -> Iterator[Asked]:
        if self._call.action == "CreateFleet":
            yield from self._new("ec2:CreateFleet", "fleet")
            yield from self._whole("ec2:CreateFleet")
        yield from self._whole("ec2:RunInstances")
        yield from self._roles()
        yield from self._keys()

    def _new(self, action: str, kind: str, **more: str) -> Iterator[Asked]:
        of_request = tags_of(self._call.parameters.get("TagSpecifications", ()), kind)
        tags = {**tags_of(self._of_templates, kind), **of_request}
        yield from _made(self._world, self._call, action, kind, tags, **more)

    def _whole(self, action: str) -> Iterator[Asked]:
        for kind in ("volume", "network-interface", *(["spot-instances-request"] if self._spot else [])):
            yield from self._new(action, kind)
        market = "spot" if self._spot else "on-demand"
        for name in dict.fromkeys(str(data.get("InstanceType", "")) for data in self._each):
            yield from self._new(action, "instance", instancetype=name, instancemarkettype=market)
        for kind, name in dict.fromkeys(self._used()):
            yield Asked(action, *_standing(self._world, kind, name), TAGS)

    def _used(self) -> Iterator[tuple[str, str]]:
        yield from (("launch-template", one.id) for one in self._templates)
        for data in self._each:
            yield from ((kind, data[key]) for key, kind in _USED if data.get(key))
            interfaces = data.get("NetworkInterfaces") or ()
            groups = [*data.get("SecurityGroupIds", ()), *(id for one in interfaces for id in one.get("Groups", ()))]
            yield from (("security-group", group) for group in groups)
            target = (data.get("CapacityReservationSpecification") or {}).get("CapacityReservationTarget") or {}
            if reservation := target.get("CapacityReservationId"):
                yield "capacity-reservation", reservation
            if placement := (data.get("Placement") or {}).get("GroupName"):
                yield "placement-group", placement

    def _roles(self) -> Iterator[Asked]:
        """The roles of the instance profiles, which are passed to EC2."""
        profiles = self._world.backend("iam").get_instance_profiles()
        named = [data.get("IamInstanceProfile") or {} for data in self._each]
        wanted = {one.get("Name") or one.get("Arn") for one in named}
        for role in dict.fromkeys(role.arn for one in profiles if {one.name, one.arn} & wanted for role in one.roles):
            yield passed(role, "ec2.amazonaws.com")

    def _keys(self) -> Iterator[Asked]:
        """The keys of volumes: EC2 makes a data key and a grant in the name of whoever launches."""
        blocks = [one.get("Ebs") or {} for data in self._each for one in data.get("BlockDeviceMappings") or ()]
        service = f"ec2.{self._world.region}.amazonaws.com" + (".cn" if self._world.partition == "aws-cn" else "")
        through: Context = {"kms:viaservice": (service,), "kms:calleraccount": (self._world.account,)}
        for name in dict.fromkeys(one["KmsKeyId"] for one in blocks if one.get("KmsKeyId")):
            key = key_arn(self._world, name)
            for action in ("DescribeKey", "GenerateDataKeyWithoutPlaintext"):
                yield Asked(f"kms:{action}", key, through, tuple(through))
            grant = {**through, "kms:grantisforawsresource": ("true",)}
            yield Asked("kms:CreateGrant", key, grant, tuple(grant))


def _launch(world: World, call: Call) -> Iterator[Asked]:
    return _Launch(world, call).asked()


def _instances(world: World, call: Call) -> Iterator[Asked]:
    for name in call.parameters.get("InstanceIds", ()):
        yield Asked(f"ec2:{call.action}", *_standing(world, "instance", name), TAGS)


def _tagging(world: World, call: Call) -> Iterator[Asked]:
    tags = listed(call.parameters.get("Tags", ()))
    for name in call.parameters.get("Resources", ()):
        arn, keys = _standing(world, _kind(name) or "*", name)
        yield Asked(f"ec2:{call.action}", arn, {**keys, **tag_keys("request", tags)}, _CREATE_TAGS)


def _by_id(parameter: str) -> Rule:
    """A call on the one resource that its parameter names."""

    def rule(world: World, call: Call) -> Iterable[Asked]:
        name = call.parameters.get(parameter)
        if not name or not _kind(name):
            return [Asked(f"ec2:{call.action}", UNKNOWN)]
        return [Asked(f"ec2:{call.action}", *_standing(world, _kind(name), name), TAGS)]

    return rule


_RULES: Final[Mapping[str, Rule]] = {
    "CreateFleet": _launch,
    "CreateLaunchTemplate": _create_template,
    "CreateTags": _tagging,
    "DeleteLaunchTemplate": _of_template,
    "DeleteNetworkInterface": _by_id("NetworkInterfaceId"),
    "DeleteSecurityGroup": _by_id("GroupId"),
    "DeleteTags": _tagging,
    "DeleteVolume": _by_id("VolumeId"),
    "RebootInstances": _instances,
    "RunInstances": _launch,
    "TerminateInstances": _instances,
}


def rule_of(call: Call) -> Rule:
    """What says it of a call of EC2's."""
    return _RULES.get(call.action) or (unscoped if call.action.startswith("Describe") else _unknown)


def _unknown(_: World, call: Call) -> Iterable[Asked]:
    return [Asked(f"ec2:{call.action}")]
