"""EC2's capacity reservations, of which moto has none: On-Demand Capacity Reservations, and Capacity Blocks that somebody bought.

Sources: EC2 2016-11-15 in botocore 1.44.5; EC2 user guide, "Capacity Reservations" and "Capacity Blocks for ML"; the error codes
are those that karpenter-provider-aws pkg/errors/errors.go knows.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Any, Final

from eks_rehearsal.aws.wire import AwsError, Call, tags_of
from eks_rehearsal.aws.world import Operations, World

Document = dict[str, Any]

DEFAULT: Final = "default"
CAPACITY_BLOCK: Final = "capacity-block"
ACTIVE: Final = "active"
_KIND: Final = "capacity-reservation"
_PAGE: Final = 1000
_BILLED: Final = ("pending", "running", "stopping", "stopped")


@dataclass
class Reservation:
    """One reservation.

    Args:
        said: What it was made with, as it is described.

        state: Until its end; then it is expired.
    """

    said: Document
    state: str = ACTIVE
    id: str = field(default_factory=lambda: f"cr-{uuid.uuid4().hex[:17]}")
    created: datetime = field(default_factory=lambda: datetime.now(tz=timezone.utc))

    @property
    def is_block(self) -> bool:
        """Whether it is a Capacity Block."""
        return bool(self.said["ReservationType"] == CAPACITY_BLOCK)

    @property
    def ends(self) -> datetime | None:
        """When it ends; None for one that does not."""
        end: datetime | None = self.said.get("EndDate")
        return end.replace(tzinfo=end.tzinfo or timezone.utc) if end else None

    def now(self) -> str:
        """Its state at this moment."""
        is_over = self.ends is not None and self.ends <= datetime.now(tz=timezone.utc)
        return "expired" if self.state == ACTIVE and is_over else self.state


class CapacityReservations:
    """What reservations there are, and which instances are in them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._all: dict[str, Reservation] = {}

    @property
    def operations(self) -> Operations:
        table = {
            "CreateCapacityReservation": self.create,
            "DescribeCapacityReservations": self.describe,
            "ModifyCapacityReservation": self.modify,
            "CancelCapacityReservation": self.cancel,
        }
        return {("ec2", action): operation for action, operation in table.items()}

    # Operations.

    def create(self, call: Call) -> Document:
        asked = dict(call.parameters)
        zone = asked.get("AvailabilityZone", "")
        if not self._world.hooks.has_capacity(asked["InstanceType"], zone, "on-demand"):
            text = f"We currently do not have sufficient {asked['InstanceType']} capacity in {zone} to reserve."
            raise AwsError("InsufficientInstanceCapacity", text, status=500)
        made = self.add(
            asked["InstanceType"],
            zone,
            int(asked["InstanceCount"]),
            ends=asked.get("EndDate"),
            match=asked.get("InstanceMatchCriteria", "open"),
            platform=asked["InstancePlatform"],
            tags=tags_of(asked.get("TagSpecifications", ()), _KIND),
        )
        return {"CapacityReservation": self._described(made)}

    def add(
        self,
        instance_type: str,
        zone: str,
        count: int,
        *,
        ends: datetime | None = None,
        match: str = "targeted",
        platform: str = "Linux/UNIX",
        kind: str = DEFAULT,
        tags: Mapping[str, str] | None = None,
        id: str = "",
    ) -> Reservation:
        """A reservation; the only way to a Capacity Block, which is bought beside every template."""
        said = {
            "InstanceType": instance_type,
            "AvailabilityZone": zone,
            "TotalInstanceCount": count,
            "InstancePlatform": platform,
            "InstanceMatchCriteria": match,
            "Tenancy": "default",
            "EbsOptimized": False,
            "EphemeralStorage": False,
            "EndDateType": "limited" if ends else "unlimited",
            "ReservationType": kind,
        }
        made = Reservation(said | ({"EndDate": ends} if ends else {}))
        made.id = id or made.id
        if made.now() != ACTIVE:
            raise AwsError("InvalidParameterValue", f"The end date {ends} is not in the future.")
        self._all[made.id] = made
        if tags:
            self._world.backend("ec2").create_tags([made.id], dict(tags))
        return made

    def describe(self, call: Call) -> Document:
        asked = call.parameters
        ids = asked.get("CapacityReservationIds") or list(self._all)
        found = [self._described(self.find(id)) for id in ids]
        kept = [one for one in found if all(_fits(one, filter) for filter in asked.get("Filters", ()))]
        start, size = int(asked.get("NextToken") or 0), int(asked.get("MaxResults") or _PAGE)
        following = {"NextToken": str(start + size)} if start + size < len(kept) else {}
        return {"CapacityReservations": kept[start : start + size], **following}

    def modify(self, call: Call) -> Document:
        asked = call.parameters
        one = self._active(asked["CapacityReservationId"])
        if "InstanceCount" in asked:
            one.said["TotalInstanceCount"] = int(asked["InstanceCount"])
        for name in ("EndDateType", "EndDate", "InstanceMatchCriteria"):
            if name in asked:
                one.said[name] = asked[name]
        if one.said["EndDateType"] == "unlimited":
            one.said.pop("EndDate", None)
        return {"Return": True}

    def cancel(self, call: Call) -> Document:
        """Its instances go on, as on-demand."""
        one = self._active(call.parameters["CapacityReservationId"])
        if one.is_block:
            raise AwsError("UnsupportedOperation", f"{one.id} is a Capacity Block, which cannot be cancelled.")
        one.state = "cancelled"
        for instance in self._instances(one.id):
            del instance.capacity_reservation_id
        return {"Return": True}

    # Instances.

    def chosen(self, data: Mapping[str, Any], zone: str) -> Reservation | None:
        """The reservation that a launch goes into; None for one that goes into none.

        Raises:
            AwsError: It names one that is not available.
        """
        said = data.get("CapacityReservationSpecification") or {}
        target = (said.get("CapacityReservationTarget") or {}).get("CapacityReservationId")
        kind = data.get("InstanceType", "")
        if target:
            one = self.find(target)
            self._check(one, kind, zone)
            return one
        if said.get("CapacityReservationPreference", "open") != "open":
            return None
        fitting = (one for one in self._all.values() if one.said["InstanceMatchCriteria"] == "open")
        return next((one for one in fitting if self._has_room(one, kind, zone)), None)

    def _check(self, one: Reservation, kind: str, zone: str) -> None:
        if one.now() != ACTIVE:
            text = f"The capacity reservation {one.id} is in state {one.now()} and cannot be used."
            raise AwsError("InvalidCapacityReservationState.Unavailable", text)
        if not self._has_room(one, kind, zone):
            text = "Requested reservation does not have sufficient compatible and available capacity for this request."
            raise AwsError("ReservationCapacityExceeded", text)

    def _has_room(self, one: Reservation, kind: str, zone: str) -> bool:
        is_its = (one.said["InstanceType"], one.said["AvailabilityZone"]) == (kind, zone)
        return one.now() == ACTIVE and is_its and self._free(one) > 0

    @staticmethod
    def mark(instance: Any, one: Reservation, data: Mapping[str, Any]) -> None:
        """Say on an instance that it is in a reservation."""
        instance.capacity_reservation_id = one.id
        instance.capacity_reservation_specification = data.get("CapacityReservationSpecification") or {
            "CapacityReservationPreference": "open"
        }

    def find(self, id: str) -> Reservation:
        """One by its id.

        Raises:
            AwsError: There is none.
        """
        if id not in self._all:
            raise AwsError("InvalidCapacityReservationId.NotFound", f"The capacity reservation '{id}' does not exist")
        return self._all[id]

    def _active(self, id: str) -> Reservation:
        one = self.find(id)
        if one.now() != ACTIVE:
            raise AwsError("IncorrectState", f"The capacity reservation {id} is in state {one.now()}.")
        return one

    def _instances(self, id: str) -> Iterator[Any]:
        for instance in self._world.backend("ec2").all_instances():
            if getattr(instance, "capacity_reservation_id", None) == id and instance.state in _BILLED:
                yield instance

    def _free(self, one: Reservation) -> int:
        return int(one.said["TotalInstanceCount"]) - sum(1 for _ in self._instances(one.id))

    def _described(self, one: Reservation) -> Document:
        tags = self._world.backend("ec2").describe_tags({"resource-id": [one.id]})
        is_active = one.now() == ACTIVE
        return {
            **one.said,
            "CapacityReservationId": one.id,
            "CapacityReservationArn": self._world.arn("ec2", f"{_KIND}/{one.id}"),
            "OwnerId": self._world.account,
            "State": one.now(),
            "AvailableInstanceCount": self._free(one) if is_active else 0,
            "CreateDate": one.created,
            "StartDate": one.created,
            "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in tags],
        }


# A filter's name -> what it is held against.
_FILTERS: Final[Mapping[str, Callable[[Document], str]]] = {
    "state": lambda one: str(one["State"]),
    "owner-id": lambda one: str(one["OwnerId"]),
    "instance-type": lambda one: str(one["InstanceType"]),
    "availability-zone": lambda one: str(one["AvailabilityZone"]),
    "instance-match-criteria": lambda one: str(one["InstanceMatchCriteria"]),
    "instance-platform": lambda one: str(one["InstancePlatform"]),
    "tenancy": lambda one: str(one["Tenancy"]),
}


def _fits(one: Document, asked: Mapping[str, Any]) -> bool:
    name, tags = asked["Name"], {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    if name == "tag-key":
        found = list(tags)
    elif name.startswith("tag:"):
        found = [tags[key] for key in [name.removeprefix("tag:")] if key in tags]
    elif name in _FILTERS:
        found = [_FILTERS[name](one)]
    else:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return any(fnmatchcase(value, pattern) for value in found for pattern in asked["Values"])
