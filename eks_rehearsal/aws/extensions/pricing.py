"""Prices: the Price List service, which moto does not have, and what an hour of any type costs here.

GPU types cost what the dated table says, whatever the region. Others are estimated from their size: the price list
answers without them, so that Karpenter keeps its own.
"""

from __future__ import annotations

import json
from typing import Any, Final

from moto.ec2.models.instance_types import INSTANCE_TYPES

from eks_rehearsal.aws.wire import Call
from eks_rehearsal.aws.world import Operations, World
from eks_rehearsal.prices import USD_PER_HOUR

# Spot prices move; this part of the on-demand price is an assumption, not a quotation.
SPOT_PART: Final = 0.4
# Near what general purpose types ask for one vCPU.
_USD_PER_VCPU: Final = 0.048
# For the GPU types that the price list has no price of.
_USD_PER_GPU: Final = 8.0
_CURRENCIES: Final = {"aws-cn": "CNY"}


def usd_per_hour(name: str, vcpus: int) -> float:
    """On-demand."""
    if name in USD_PER_HOUR:
        return USD_PER_HOUR[name]
    gpus = sum(gpu["Count"] for gpu in INSTANCE_TYPES.get(name, {}).get("GpuInfo", {}).get("Gpus", ()))
    return gpus * _USD_PER_GPU if gpus else round(vcpus * _USD_PER_VCPU, 4)


def spot_usd_per_hour(name: str, vcpus: int) -> float:
    """What a spot instance is said to cost, in every zone."""
    return round(usd_per_hour(name, vcpus) * SPOT_PART, 4)


class Pricing:
    """GetProducts, for the instance types that the table has a price of."""

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
            self._product(name) for name in USD_PER_HOUR if name.endswith(".metal") == metal and wanted in (None, name)
        ]
        return {"FormatVersion": "aws_v1", "PriceList": listed}

    def _product(self, name: str) -> str:
        dimensions = {"rate": {"unit": "Hrs", "pricePerUnit": {self._currency: f"{USD_PER_HOUR[name]:.10f}"}}}
        attributes = {"instanceType": name, "operatingSystem": "Linux"}
        return json.dumps(
            {
                "product": {"productFamily": "Compute Instance", "attributes": attributes},
                "serviceCode": "AmazonEC2",
                "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}},
            }
        )
