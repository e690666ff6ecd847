"""What a day of what is left costs, where a dated price is known: on-demand in us-east-1.

Instances: `gpus.py`. The control plane in standard support and a public IPv4 address: https://computingforgeeks.com/aws-costs-explained
(April 2026). A NAT gateway: https://cloudburn.io/blog/aws-nat-gateway-pricing (February 2026). gp3:
https://www.factualminds.com/blog/amazon-ebs-pricing-orphaned-volumes-snapshots (June 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from karpenter_gpu.gpus import BY_NAME, PRICES_DATED, PRICES_REGION

NOTE: Final = (
    f"prices: on-demand, {PRICES_REGION}, {PRICES_DATED} at the latest; spot costs less, most other regions more"
)

_HOURS: Final = 24.0
_DAYS_OF_A_MONTH: Final = 30.0
_CLUSTER: Final = 0.10
_NAT_GATEWAY: Final = 0.045
_ADDRESS: Final = 0.005
_GP3_GB_MONTH: Final = 0.08

About = Mapping[str, Any]


def none(_: About) -> float | None:
    """No dated price is known."""


def free(_: About) -> float | None:
    """AWS bills nothing for it."""
    return 0.0


def cluster(_: About) -> float | None:
    """Its control plane, in standard support."""
    return _CLUSTER * _HOURS


def nat_gateway(_: About) -> float | None:
    """Without what goes through it."""
    return _NAT_GATEWAY * _HOURS


def address(_: About) -> float | None:
    """A public IPv4 address, in use or not."""
    return _ADDRESS * _HOURS


def volume(about: About) -> float | None:
    """Of gp3, without more IOPS and throughput than each volume has."""
    return about["Size"] * _GP3_GB_MONTH / _DAYS_OF_A_MONTH if about.get("VolumeType") == "gp3" else None


def instance(about: About) -> float | None:
    """A stopped one has volumes, which are priced apart."""
    is_billed = about["State"]["Name"] in ("pending", "running")
    return _type(about["InstanceType"]) if is_billed else 0.0


def reservation(about: About) -> float | None:
    """Of all its instances: one without an instance in it costs as much."""
    each = _type(about["InstanceType"])
    return None if each is None else each * int(about["TotalInstanceCount"])


def _type(name: str) -> float | None:
    known = BY_NAME.get(name)
    return known.usd_per_hour * _HOURS if known and known.usd_per_hour is not None else None
