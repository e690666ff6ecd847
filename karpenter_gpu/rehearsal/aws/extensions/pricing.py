"""Prices: the Price List service, which moto does not have, and what an hour of any type costs here.

GPU types cost what the catalogue says, wherever the region is. Others are estimated from their size: the price list
answers without them, so that Karpenter keeps its own.
"""

from __future__ import annotations

import json
from typing import Any, Final

from karpenter_gpu.gpus import BY_NAME, INSTANCE_TYPES, InstanceType
from karpenter_gpu.rehearsal.aws.wire import Call
from karpenter_gpu.rehearsal.aws.world import Operations, World

# Spot prices move; this part of the on-demand price is an assumption, not a quotation.
SPOT_PART: Final = 0.4
# Near what general purpose types ask for one vCPU.
_USD_PER_VCPU: Final = 0.048
# For the GPU types that the price list has no price of.
_USD_PER_GPU: Final = 8.0
_CURRENCIES: Final = {"aws-cn": "CNY"}


def usd_per_hour(name: str, vcpus: int) -> float:
    """On-demand."""
    known = BY_NAME.get(name)
    if known is None:
        return round(vcpus * _USD_PER_VCPU, 4)
    return known.usd_per_hour or known.countable_gpus * _USD_PER_GPU


def spot_usd_per_hour(name: str, vcpus: int) -> float:
    """What a spot instance is said to cost, in every zone."""
    return round(usd_per_hour(name, vcpus) * SPOT_PART, 4)


class Pricing:
    """GetProducts, for the instance types of the catalogue."""

    def __init__(self, world: World) -> None:
        self._currency = _CURRENCIES.get(world.partition, "USD")

    @property
    def operations(self) -> Operations:
        return {("pricing", "GetProducts"): self.get_products}

    def get_products(self, call: Call) -> dict[str, Any]:
        fields = {asked["Field"]: asked["Value"] for asked in call.parameters.get("Filters", ())}
        metal = "bare metal" in fields.get("productFamily", "")
        wanted = fields.get("instanceType")
        listed = [
            self._product(kind)
            for kind in INSTANCE_TYPES
            if kind.usd_per_hour and kind.name.endswith(".metal") == metal and wanted in (None, kind.name)
        ]
        return {"FormatVersion": "aws_v1", "PriceList": listed}

    def _product(self, kind: InstanceType) -> str:
        dimensions = {"rate": {"unit": "Hrs", "pricePerUnit": {self._currency: f"{kind.usd_per_hour:.10f}"}}}
        attributes = {"instanceType": kind.name, "vcpu": str(kind.vcpus), "operatingSystem": "Linux"}
        return json.dumps(
            {
                "product": {"productFamily": "Compute Instance", "attributes": attributes},
                "serviceCode": "AmazonEC2",
                "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}},
            }
        )
