"""What a day of what is left costs, where a dated price is known: on-demand in us-east-1.

AWS's own figures alone. Instances: `gpus.py`. The control plane in standard support:
https://aws.amazon.com/blogs/containers/amazon-eks-extended-support-for-kubernetes-versions-pricing. A NAT gateway: the
example of https://aws.amazon.com/vpc/pricing (2026-09-20). Volumes, snapshots, addresses and load balancers are not
priced: AWS's pages fill their prices in by region when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from karpenter_gpu.gpus import BY_NAME, PRICES_DATED, PRICES_REGION

# The others have prices, and some a currency, of their own.
PARTITION: Final = "aws"
NOTE: Final = f"prices: on-demand, {PRICES_REGION}, {PRICES_DATED}; spot costs less, most other regions more"

_HOURS: Final = 24.0
_CLUSTER: Final = 0.10
_NAT_GATEWAY: Final = 0.045

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
