"""Reserved capacity: which reservations a pool uses, and which the stack makes for it.

Sources: EC2NodeClass CRD, spec.capacityReservationSelectorTerms; karpenter-provider-aws website tasks/odcrs.md;
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import Field, Tag

from karpenter_gpu import gpus
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import AccountId, case_by_key, karpenter_duration

RESERVED: Final = "reserved"

ReservationMatch = Literal["open", "targeted"]

# What the EC2NodeClass CRD takes.
_MOST_TERMS: Final = 30
_MOST_TAGS: Final = 20
# Karpenter drains 40 minutes before a Capacity Block ends, once a minute, and EC2 terminates from 30 minutes before.
# Sources: karpenter-provider-aws pkg/apis/v1/ec2nodeclass_status.go, pkg/controllers/capacityreservation/expiration.
LONGEST_DRAIN_OF_A_BLOCK: Final = timedelta(minutes=9)
_UNTIL: Final = "%Y-%m-%dT%H:%MZ"


@setting
class ReservationById:
    """One reservation that exists: an On-Demand Capacity Reservation, or a Capacity Block.

    Args:
        id: `cr-…`.

        capacity_block: Whether it is a Capacity Block. Karpenter drains its nodes 40 minutes before it ends; EC2
            terminates them from 30 minutes before. Needs Karpenter 1.6.
    """

    id: str
    capacity_block: bool = False

    def check(self) -> Iterator[Fault]:
        if not re.fullmatch(r"cr-[0-9a-z]+", self.id):
            yield Fault("id", f"{self.id!r} is not the id of a reservation; ids look like cr-0123456789abcdef0")


@setting
class ReservationsByTags:
    """Every reservation with these tags, also one that comes later: On-Demand Capacity Reservations, and from Karpenter 1.6 on
    Capacity Blocks.

    Args:
        tags: Each must be there; the value `*` takes any value.

        owner: The account that shares it. Default: any.

        match: `targeted`, or `open`. Default: both. Needs Karpenter 1.8.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    owner: AccountId | None = None
    match: ReservationMatch | None = None

    def check(self) -> Iterator[Fault]:
        if not self.tags:
            said = " and ".join(name for name in ("owner", "match") if getattr(self, name)) or "nothing"
            yield Fault(
                "",
                f"{said} alone would take every such reservation of the account, other teams' too; give tags, or an id",
            )
        if len(self.tags) > _MOST_TAGS:
            yield Fault("tags", f"has {len(self.tags)} members and may have {_MOST_TAGS}")
        for key, value in self.tags.items():
            if not key or not value:
                yield Fault("tags", f"{key!r}: {value!r} is half a tag, which Karpenter refuses; '*' takes any value")


_CASES: Final[dict[str, type[Any]]] = {"id": ReservationById, "tags": ReservationsByTags}

Reservation = Annotated[
    Annotated[ReservationById, Tag("ReservationById")] | Annotated[ReservationsByTags, Tag("ReservationsByTags")],
    case_by_key(_CASES, ReservationsByTags),
]


@setting
class NewReservation:
    """An On-Demand Capacity Reservation that the stack makes for a pool, which alone uses it.

    AWS bills it from the moment it exists, used or not. The deployment fails while EC2 has no such capacity. It goes with the
    pool, when no node is left.

    Args:
        instance_type: One that the pool may launch.

        zone: The zone that it is in. Another type or zone is another reservation.

        count: Of instances.

        until: When it ends, in UTC: `2027-01-31T18:00Z`. Nodes then go on as on-demand. Default: never.
    """

    instance_type: str
    zone: str
    count: Annotated[int, Field(ge=1, le=1000)]
    until: str | None = None

    def check(self) -> Iterator[Fault]:
        if self.instance_type not in gpus.BY_NAME:
            yield Fault(
                "instance_type", f"{self.instance_type!r} is not an instance type with NVIDIA GPUs, as g6.xlarge is"
            )
        try:
            _ = self.ends
        except ValueError:
            yield Fault("until", f"{self.until!r} is not a time in UTC; write it as in 2027-01-31T18:00Z")

    @property
    def ends(self) -> datetime | None:
        """When it ends; None for one that does not."""
        return (self.until and datetime.strptime(self.until, _UNTIL).replace(tzinfo=timezone.utc)) or None

    @property
    def gpus(self) -> int:
        """The GPUs of all its instances."""
        return self.count * gpus.BY_NAME[self.instance_type].countable_gpus

    @property
    def usd_per_hour(self) -> float | None:
        """What it costs in an hour; None for a type without a price."""
        each = gpus.BY_NAME[self.instance_type].usd_per_hour
        return None if each is None else round(each * self.count, 2)


class _Pool(Protocol):
    """What reservations ask of a pool."""

    @property
    def capacity_types(self) -> tuple[str, ...]: ...
    @property
    def reservations(self) -> tuple[ReservationById | ReservationsByTags, ...]: ...
    @property
    def reserve(self) -> tuple[NewReservation, ...]: ...
    @property
    def zones(self) -> tuple[str, ...]: ...
    @property
    def types(self) -> tuple[gpus.InstanceType, ...]: ...
    @property
    def blocks(self) -> tuple[str, ...]: ...
    @property
    def has_ceiling(self) -> bool: ...
    @property
    def gpu_limit(self) -> int | None: ...
    @property
    def effective_gpu_limit(self) -> int: ...
    @property
    def termination_grace_period(self) -> timedelta | None: ...


def faults(pool: _Pool) -> Iterator[Fault]:
    """What a pool's reservations demand of the rest of it."""
    has_some = bool(pool.reservations or pool.reserve)
    if RESERVED in pool.capacity_types and not has_some:
        yield Fault(
            "capacity_types",
            "'reserved' needs reservations to use, or the pool never launches any; give reservations or reserve",
        )
    if has_some and RESERVED not in pool.capacity_types:
        where = "reservations" if pool.reservations else "reserve"
        yield Fault(where, "would be paid for and never used; add 'reserved' to capacity_types, which has "
                           f"{', '.join(pool.capacity_types)}")  # fmt: skip
    if len(pool.reservations) + len(pool.reserve) > _MOST_TERMS:
        yield Fault("reservations", f"are more than {_MOST_TERMS} with those of reserve, and Karpenter takes no more")
    yield from _repetitions(pool)
    yield from _drain_faults(pool)
    for made in pool.reserve:
        yield from _made_faults(pool, made)
    reserved = sum(made.gpus for made in pool.reserve)
    if pool.types and pool.has_ceiling and reserved > pool.effective_gpu_limit:
        yield Fault(
            "gpu_limit" if pool.gpu_limit is not None else "hourly_limit_usd",
            f"lets the pool have {pool.effective_gpu_limit} GPUs, and reserve pays for {reserved}; raise the ceiling to what is "
            "reserved and what may come beside it",
        )


def _repetitions(pool: _Pool) -> Iterator[Fault]:
    ids = Counter(one.id for one in pool.reservations if isinstance(one, ReservationById))
    yield from (Fault("reservations", f"{id} is given more than once; give it once") for id, n in ids.items() if n > 1)
    for (kind, zone), times in Counter((made.instance_type, made.zone) for made in pool.reserve).items():
        if times > 1:
            yield Fault(
                "reserve", f"{kind} in {zone} is reserved {times} times; make it one, with the sum as its count"
            )


def _drain_faults(pool: _Pool) -> Iterator[Fault]:
    grace = pool.termination_grace_period
    if pool.blocks and grace is not None and grace > LONGEST_DRAIN_OF_A_BLOCK:
        yield Fault(
            "termination_grace_period",
            f"{karpenter_duration(grace)} is longer than {pool.blocks[0]} leaves: nodes of a Capacity Block are drained from 40 "
            "minutes before its end, and EC2 terminates them from 30 minutes before; give at most 9m",
        )


def _made_faults(pool: _Pool, made: NewReservation) -> Iterator[Fault]:
    if pool.types and made.instance_type not in {one.name for one in pool.types}:
        yield Fault(
            "reserve", f"{made.instance_type} is not a type that the pool may launch, so it would be paid for and never used; "
            "reserve another, or let the pool launch it",
        )  # fmt: skip
    if pool.zones and made.zone not in pool.zones:
        yield Fault(
            "reserve", f"{made.zone} is not among the pool's zones, {', '.join(pool.zones)}, so it would be paid for and never "
            "used; reserve in one of these, or add it to zones",
        )  # fmt: skip
