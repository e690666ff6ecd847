"""Instances as EC2 launches them: what a launch template and a request say, on the instance.

moto's CreateFleet takes an instance's type, image, subnet and user data from the template and forgets its security
groups, profile, metadata options and lifecycle; it knows no lack of capacity.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.utils import parse_user_data

from eks_rehearsal.aws.extensions.pricing import spot_usd_per_hour, usd_per_hour
from eks_rehearsal.aws.extensions.reservations import CapacityReservations
from eks_rehearsal.aws.wire import AwsError, tags_of
from eks_rehearsal.aws.world import World

Document = dict[str, Any]

_NO_CAPACITY: Final = "InsufficientInstanceCapacity"


@dataclass(frozen=True)
class Choice:
    """One of the offerings that a fleet may launch.

    Args:
        specification: The launch template and its version, as the answer repeats it.

        override: As the request has it.

        data: The template's data with the override on top.

        zone: The subnet's.

        capacity_type: `spot`, `on-demand` or `capacity-block`.
    """

    specification: Document
    override: Document
    data: Document
    zone: str
    capacity_type: str

    @property
    def instance_type(self) -> str:
        """Empty when neither template nor override names one."""
        return str(self.data.get("InstanceType", ""))

    @property
    def usd(self) -> float:
        """What an hour costs."""
        vcpus = INSTANCE_TYPES.get(self.instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0)
        price = spot_usd_per_hour if self.capacity_type == "spot" else usd_per_hour
        return price(self.instance_type, vcpus)

    @property
    def shown(self) -> Document:
        """`LaunchTemplateAndOverrides` of an answer."""
        override = {**self.override, "AvailabilityZone": self.zone}
        return {"LaunchTemplateSpecification": self.specification, "Overrides": override}


class Launching:
    """Starts instances in moto, complete, and says so to the hooks."""

    def __init__(self, world: World, reservations: CapacityReservations) -> None:
        self._world = world
        self._reservations = reservations

    @property
    def _ec2(self) -> Any:
        return self._world.backend("ec2")

    # Templates.

    def template(self, asked: Mapping[str, Any]) -> Any:
        """The version of a launch template that a specification means."""
        backend = self._ec2
        if "LaunchTemplateId" in asked:
            found = backend.get_launch_template(asked["LaunchTemplateId"])
        else:
            found = backend.get_launch_template_by_name(asked["LaunchTemplateName"])
        return found.get_version(asked.get("Version") or "$Default")

    def choices(self, asked: Document, capacity_type: str) -> list[Choice]:
        """Every offering that a fleet request names."""
        return [
            self._choice(self.template(config["LaunchTemplateSpecification"]), override, capacity_type)
            for config in asked.get("LaunchTemplateConfigs", ())
            for override in config.get("Overrides") or [{}]
        ]

    def _choice(self, version: Any, override: Document, capacity_type: str) -> Choice:
        data = {**version.data, **override}
        specification = {
            "LaunchTemplateId": version.template.id,
            "LaunchTemplateName": version.template.name,
            "Version": str(version.number),
        }
        return Choice(specification, override, data, self.zone_of(data), capacity_type)

    def zone_of(self, data: Mapping[str, Any]) -> str:
        """The zone an instance would come to stand in."""
        if subnet := data.get("SubnetId"):
            return str(self._ec2.get_subnet(subnet).availability_zone)
        placement = data.get("Placement") or {}
        return str(data.get("AvailabilityZone") or placement.get("AvailabilityZone") or f"{self._world.region}a")

    # Refusals.

    def refusal(self, data: Mapping[str, Any], zone: str, capacity_type: str) -> tuple[str, str] | None:
        """The error code and message with which EC2 would not launch this; None when it would."""
        name = data.get("InstanceType", "")
        known = INSTANCE_TYPES.get(name)
        if known is None:
            return "InvalidParameterValue", f"Invalid value '{name}' for InstanceType."
        image = self._ec2.amis.get(data.get("ImageId", ""))
        if image is None:
            return "InvalidAMIID.NotFound", f"The image id '[{data.get('ImageId')}]' does not exist"
        supported = known["ProcessorInfo"]["SupportedArchitectures"]
        if image.architecture and image.architecture not in supported:
            text = f"The architecture '{supported[0]}' of the specified instance type does not match the architecture"
            return "InvalidParameterValue", f"{text} '{image.architecture}' of the specified AMI."
        return self._shortage(data, zone, capacity_type)

    def _shortage(self, data: Mapping[str, Any], zone: str, capacity_type: str) -> tuple[str, str] | None:
        """What is lacking; a reservation lacks nothing while it has room."""
        name = data["InstanceType"]
        try:
            is_reserved = self._reservations.chosen(data, zone) is not None
        except AwsError as error:
            return error.code, error.message
        if is_reserved or self._world.hooks.has_capacity(name, zone, capacity_type):
            return None
        text = f"We currently do not have sufficient {name} capacity in the Availability Zone you requested ({zone})."
        return _NO_CAPACITY, text

    # Launches.

    def launch(
        self,
        data: Mapping[str, Any],
        *,
        capacity_type: str,
        tags: Mapping[str, Mapping[str, str]],
        template: Mapping[str, Any] | None = None,
        count: int = 1,
    ) -> Any:
        """Moto's reservation of `count` instances that carry everything `data` says."""
        profile = self._profile(data.get("IamInstanceProfile") or {})
        kept = self._reservations.chosen(data, self.zone_of(data))
        reservation = self._ec2.run_instances(
            data.get("ImageId"),
            count,
            _user_data(data.get("UserData")),
            data.get("SecurityGroups", []),
            instance_type=data.get("InstanceType", "m1.small"),
            is_instance_type_default=False,
            region_name=self._world.region,
            placement=None if data.get("SubnetId") else self.zone_of(data),
            subnet_id=data.get("SubnetId"),
            key_name=data.get("KeyName"),
            security_group_ids=list(_groups(data)),
            associate_public_ip=_public_ip(data),
            private_ip=data.get("PrivateIpAddress"),
            ebs_optimized=data.get("EbsOptimized", False),
            monitoring_state="enabled" if (data.get("Monitoring") or {}).get("Enabled") else "disabled",
            metadata_options=data.get("MetadataOptions") or {},
            launch_template=dict(template or {}),
            lifecycle=None if capacity_type == "on-demand" else capacity_type,
            block_device_mappings=_volumes(data),
            client_token=data.get("ClientToken"),
            tags={kind: dict(named) for kind, named in tags.items()},
        )
        reservation.groups = []
        for instance in reservation.instances:
            self._finish(instance, profile)
            if kept:
                self._reservations.mark(instance, kept, data)
            self._world.background(self._world.hooks.instance_launched, instance.id)
        return reservation

    def _finish(self, instance: Any, profile: Any) -> None:
        if instance.lifecycle == "spot":
            # By this, and not by its lifecycle, Karpenter knows a spot instance.
            instance.spot_instance_request_id = f"sir-{uuid.uuid4().hex[:8]}"
        if instance.subnet_id:
            instance.placement.availability_zone_id = self._ec2.get_subnet(instance.subnet_id).availability_zone_id
        if profile is not None:
            self._ec2.associate_iam_instance_profile(instance.id, iam_instance_profile_arn=profile.arn)
            # moto shows the association's id for the profile's.
            instance.iam_instance_profile = {"Arn": profile.arn, "Id": profile.id}

    def _profile(self, asked: Mapping[str, str]) -> Any:
        profiles = self._world.backend("iam").get_instance_profiles()
        named, arn = asked.get("Name"), asked.get("Arn")
        if not named and not arn:
            return None
        found = next((profile for profile in profiles if profile.name == named or profile.arn == arn), None)
        if found is None:
            key = "name" if named else "ARN"
            message = f"Value ({named or arn}) for parameter iamInstanceProfile.{key} is invalid. Invalid IAM Instance Profile {key}"
            raise AwsError("InvalidParameterValue", message)
        return found

    def fleet(self, asked: Document) -> Document:
        """What CreateFleet answers to a request of type `instant`."""
        target = asked["TargetCapacitySpecification"]
        capacity_type = target.get("DefaultTargetCapacityType") or "on-demand"
        choices = sorted(self.choices(asked, capacity_type), key=_order(asked, capacity_type))
        fleet_id = f"fleet-{uuid.uuid4()}"
        errors: list[Document] = []
        for choice in choices:
            if why := self.refusal(choice.data, choice.zone, capacity_type):
                errors.append(_failure(choice, *why))
                continue
            count = int(target.get("TotalTargetCapacity", 1))
            return {
                "FleetId": fleet_id,
                "Instances": [self._launched(choice, asked, fleet_id, count)],
                "Errors": errors,
            }
        return {"FleetId": fleet_id, "Instances": [], "Errors": errors}

    def _launched(self, choice: Choice, asked: Document, fleet_id: str, count: int) -> Document:
        tags = _tags(choice.data.get("TagSpecifications", ()), asked.get("TagSpecifications", ()))
        tags["instance"] = {**tags.get("instance", {}), "aws:ec2:fleet-id": fleet_id}
        template = {key: choice.specification[key] for key in ("LaunchTemplateId", "Version")}
        reservation = self.launch(
            choice.data, capacity_type=choice.capacity_type, tags=tags, template=template, count=count
        )
        return {
            "LaunchTemplateAndOverrides": choice.shown,
            "Lifecycle": choice.capacity_type,
            "InstanceIds": [instance.id for instance in reservation.instances],
            "InstanceType": choice.instance_type,
        }


def _order(asked: Document, capacity_type: str) -> Any:
    options = asked.get("SpotOptions" if capacity_type == "spot" else "OnDemandOptions") or {}
    prioritized = "prioritized" in options.get("AllocationStrategy", "")

    def order(choice: Choice) -> tuple[float, float]:
        return (float(choice.override.get("Priority", 0)) if prioritized else 0.0, choice.usd)

    return order


def _failure(choice: Choice, code: str, message: str) -> Document:
    return {
        "LaunchTemplateAndOverrides": choice.shown,
        "Lifecycle": choice.capacity_type,
        "ErrorCode": code,
        "ErrorMessage": message,
    }


def _tags(*specifications: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    kinds = {asked["ResourceType"] for specification in specifications for asked in specification}
    return {
        kind: {key: value for asked in specifications for key, value in tags_of(asked, kind).items()} for kind in kinds
    }


def _user_data(said: Any) -> Any:
    """Moto's own type of it: a template's has it already, a request's has not."""
    return parse_user_data(said) if isinstance(said, (str, bytes)) else said


def _groups(data: Mapping[str, Any]) -> Iterable[str]:
    of_interfaces = [group for nic in data.get("NetworkInterfaces") or () for group in nic.get("Groups", ())]
    return dict.fromkeys([*data.get("SecurityGroupIds", ()), *of_interfaces])


def _public_ip(data: Mapping[str, Any]) -> bool | None:
    said = [nic.get("AssociatePublicIpAddress") for nic in data.get("NetworkInterfaces") or ()]
    return next((answer for answer in said if answer is not None), None)


def _volumes(data: Mapping[str, Any]) -> list[Document]:
    """The mappings that moto can make volumes of; they go with their instance, as EC2 has it by default."""
    mappings = [asked for asked in data.get("BlockDeviceMappings") or () if (asked.get("Ebs") or {}).get("VolumeSize")]
    return [{**asked, "Ebs": {"DeleteOnTermination": True, **asked["Ebs"]}} for asked in mappings]


def tags_of_request(*documents: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The tags that tag specifications give, by type of resource; a later document's win."""
    return _tags(*(document.get("TagSpecifications", ()) for document in documents))
