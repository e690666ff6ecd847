"""The NVIDIA instance types EC2 offers, and what one hour of each costs.

Source of the shapes: karpenter-provider-aws website/content/en/v1.14/reference/instance-types.md (2026-08-21), the
union of us-east-1, us-east-2 and us-west-2. Source of the prices: on-demand Linux in us-east-1, generated
2026-07-20, karpenter-provider-aws v1.15.1 pkg/providers/pricing/zz_generated.pricing_aws.go; other regions cost
more, spot less.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

PRICES_DATED: Final = "2026-07-20"
PRICES_REGION: Final = "us-east-1"


@dataclass(frozen=True)
class InstanceType:
    """One row of the catalogue.

    Args:
        name: As EC2 writes it, `g6.xlarge`.

        architecture: Kubernetes' word, `amd64` or `arm64`.

        vcpus: Gross, before what the node reserves.

        memory_gib: Gross, before what the node reserves.

        gpus: What EC2 reports and Karpenter counts; 0 for the fractional types (g6f, gr6f).

        gpu_name: Karpenter's label value, `l4`.

        gpu_memory_mib: Of one GPU.

        nvme_gb: Local instance storage in all; 0 when there is none.

        efa: Elastic Fabric Adapter interfaces.

        usd_per_hour: On-demand; None when the price list has none.
    """

    name: str
    architecture: str
    vcpus: int
    memory_gib: int
    gpus: int
    gpu_name: str
    gpu_memory_mib: int
    nvme_gb: int
    efa: int
    usd_per_hour: float | None

    @property
    def family(self) -> str:
        """`g6` of `g6.xlarge`."""
        return self.name.partition(".")[0]

    @property
    def is_fractional(self) -> bool:
        """True for a type with a part of a GPU, which EC2 counts as none."""
        return self.gpus == 0

    @property
    def countable_gpus(self) -> int:
        """GPUs a node of this type offers to pods once it is counted right: at least one."""
        return max(self.gpus, 1)


# fmt: off
INSTANCE_TYPES: Final = (
    InstanceType("g4dn.xlarge", "amd64", 4, 16, 1, "t4", 16384, 125, 0, 0.526),
    InstanceType("g4dn.2xlarge", "amd64", 8, 32, 1, "t4", 16384, 225, 0, 0.752),
    InstanceType("g4dn.4xlarge", "amd64", 16, 64, 1, "t4", 16384, 225, 0, 1.204),
    InstanceType("g4dn.8xlarge", "amd64", 32, 128, 1, "t4", 16384, 900, 1, 2.176),
    InstanceType("g4dn.12xlarge", "amd64", 48, 192, 4, "t4", 16384, 900, 1, 3.912),
    InstanceType("g4dn.16xlarge", "amd64", 64, 256, 1, "t4", 16384, 900, 1, 4.352),
    InstanceType("g4dn.metal", "amd64", 96, 384, 8, "t4", 16384, 1800, 1, 7.824),
    InstanceType("g5.xlarge", "amd64", 4, 16, 1, "a10g", 22888, 250, 0, 1.006),
    InstanceType("g5.2xlarge", "amd64", 8, 32, 1, "a10g", 22888, 450, 0, 1.212),
    InstanceType("g5.4xlarge", "amd64", 16, 64, 1, "a10g", 22888, 600, 0, 1.624),
    InstanceType("g5.8xlarge", "amd64", 32, 128, 1, "a10g", 22888, 900, 1, 2.448),
    InstanceType("g5.12xlarge", "amd64", 48, 192, 4, "a10g", 22888, 3800, 1, 5.672),
    InstanceType("g5.16xlarge", "amd64", 64, 256, 1, "a10g", 22888, 1900, 1, 4.096),
    InstanceType("g5.24xlarge", "amd64", 96, 384, 4, "a10g", 22888, 3800, 1, 8.144),
    InstanceType("g5.48xlarge", "amd64", 192, 768, 8, "a10g", 22888, 7600, 1, 16.288),
    InstanceType("g5g.xlarge", "arm64", 4, 8, 1, "t4g", 16384, 0, 0, 0.42),
    InstanceType("g5g.2xlarge", "arm64", 8, 16, 1, "t4g", 16384, 0, 0, 0.556),
    InstanceType("g5g.4xlarge", "arm64", 16, 32, 1, "t4g", 16384, 0, 0, 0.828),
    InstanceType("g5g.8xlarge", "arm64", 32, 64, 1, "t4g", 16384, 0, 0, 1.372),
    InstanceType("g5g.16xlarge", "arm64", 64, 128, 2, "t4g", 16384, 0, 0, 2.744),
    InstanceType("g5g.metal", "arm64", 64, 128, 2, "t4g", 16384, 0, 0, 2.744),
    InstanceType("g6.xlarge", "amd64", 4, 16, 1, "l4", 22888, 250, 0, 0.8048),
    InstanceType("g6.2xlarge", "amd64", 8, 32, 1, "l4", 22888, 450, 0, 0.9776),
    InstanceType("g6.4xlarge", "amd64", 16, 64, 1, "l4", 22888, 600, 0, 1.3232),
    InstanceType("g6.8xlarge", "amd64", 32, 128, 1, "l4", 22888, 900, 1, 2.0144),
    InstanceType("g6.12xlarge", "amd64", 48, 192, 4, "l4", 22888, 3760, 1, 4.6016),
    InstanceType("g6.16xlarge", "amd64", 64, 256, 1, "l4", 22888, 1880, 1, 3.3968),
    InstanceType("g6.24xlarge", "amd64", 96, 384, 4, "l4", 22888, 3760, 1, 6.6752),
    InstanceType("g6.48xlarge", "amd64", 192, 768, 8, "l4", 22888, 7520, 1, 13.3504),
    InstanceType("g6e.xlarge", "amd64", 4, 32, 1, "l40s", 45776, 250, 0, 1.861),
    InstanceType("g6e.2xlarge", "amd64", 8, 64, 1, "l40s", 45776, 450, 0, 2.24208),
    InstanceType("g6e.4xlarge", "amd64", 16, 128, 1, "l40s", 45776, 600, 0, 3.00424),
    InstanceType("g6e.8xlarge", "amd64", 32, 256, 1, "l40s", 45776, 900, 1, 4.52856),
    InstanceType("g6e.12xlarge", "amd64", 48, 384, 4, "l40s", 45776, 3800, 1, 10.49264),
    InstanceType("g6e.16xlarge", "amd64", 64, 512, 1, "l40s", 45776, 1900, 1, 7.57719),
    InstanceType("g6e.24xlarge", "amd64", 96, 768, 4, "l40s", 45776, 3800, 2, 15.06559),
    InstanceType("g6e.48xlarge", "amd64", 192, 1536, 8, "l40s", 45776, 7600, 4, 30.13118),
    InstanceType("g6f.large", "amd64", 2, 8, 0, "l4", 2861, 100, 0, 0.202),
    InstanceType("g6f.xlarge", "amd64", 4, 16, 0, "l4", 2861, 100, 0, 0.2375),
    InstanceType("g6f.2xlarge", "amd64", 8, 32, 0, "l4", 5722, 200, 0, 0.475),
    InstanceType("g6f.4xlarge", "amd64", 16, 64, 0, "l4", 11444, 450, 0, 0.95),
    InstanceType("g7.2xlarge", "amd64", 8, 32, 1, "rtx-pro-4500", 32768, 440, 0, 2.52),
    InstanceType("g7.4xlarge", "amd64", 16, 64, 1, "rtx-pro-4500", 32768, 875, 0, 3.04208),
    InstanceType("g7.8xlarge", "amd64", 32, 128, 1, "rtx-pro-4500", 32768, 930, 1, 4.08624),
    InstanceType("g7.12xlarge", "amd64", 48, 192, 2, "rtx-pro-4500", 32768, 1900, 1, 7.12832),
    InstanceType("g7.24xlarge", "amd64", 96, 384, 4, "rtx-pro-4500", 32768, 3800, 1, 14.25664),
    InstanceType("g7.48xlarge", "amd64", 192, 768, 8, "rtx-pro-4500", 32768, 7600, 2, 28.51328),
    InstanceType("g7e.2xlarge", "amd64", 8, 64, 1, "rtx-pro-server-6000", 98304, 1900, 0, 3.36312),
    InstanceType("g7e.4xlarge", "amd64", 16, 128, 1, "rtx-pro-server-6000", 98304, 1900, 0, 3.99816),
    InstanceType("g7e.8xlarge", "amd64", 32, 256, 1, "rtx-pro-server-6000", 98304, 1900, 1, 5.26824),
    InstanceType("g7e.12xlarge", "amd64", 48, 512, 2, "rtx-pro-server-6000", 98304, 3800, 1, 8.28608),
    InstanceType("g7e.24xlarge", "amd64", 96, 1024, 4, "rtx-pro-server-6000", 98304, 7600, 2, 16.57216),
    InstanceType("g7e.48xlarge", "amd64", 192, 2048, 8, "rtx-pro-server-6000", 98304, 15200, 4, 33.14432),
    InstanceType("gr6.4xlarge", "amd64", 16, 128, 1, "l4", 22888, 600, 0, 1.5392),
    InstanceType("gr6.8xlarge", "amd64", 32, 256, 1, "l4", 22888, 900, 1, 2.4464),
    InstanceType("gr6f.4xlarge", "amd64", 16, 128, 0, "l4", 11444, 450, 0, 1.066),
    InstanceType("p3dn.24xlarge", "amd64", 96, 768, 8, "v100", 32768, 1800, 1, 31.212),
    InstanceType("p4d.24xlarge", "amd64", 96, 1152, 8, "a100", 40960, 8000, 4, 21.957642),
    InstanceType("p4de.24xlarge", "amd64", 96, 1152, 8, "a100", 81920, 8000, 4, 27.44705),
    InstanceType("p5.4xlarge", "amd64", 16, 256, 1, "h100", 81920, 3800, 1, 6.88),
    InstanceType("p5.48xlarge", "amd64", 192, 2048, 8, "h100", 81920, 30400, 32, 55.04),
    InstanceType("p5e.48xlarge", "amd64", 192, 2048, 8, "h200", 144384, 30400, 32, None),
    InstanceType("p5en.48xlarge", "amd64", 192, 2048, 8, "h200", 144384, 30400, 16, 63.296),
    InstanceType("p6-b200.48xlarge", "amd64", 192, 2048, 8, "b200", 183359, 30400, 8, 113.9328),
    InstanceType("p6-b300.48xlarge", "amd64", 192, 4096, 8, "b300", 275040, 30400, 16, 142.416),
)
# fmt: on

GPU_NAMES: Final = tuple(dict.fromkeys(i.gpu_name for i in INSTANCE_TYPES))
FAMILIES: Final = tuple(dict.fromkeys(i.family for i in INSTANCE_TYPES))
BY_NAME: Final = {i.name: i for i in INSTANCE_TYPES}
FRACTIONAL_FAMILIES: Final = tuple(dict.fromkeys(i.family for i in INSTANCE_TYPES if i.is_fractional))


# Families that EC2 has and Karpenter's list, which this is made from, has not. Source: as in instance_types.py.
_LEFT_OUT: Final = ("g2", "g3", "g3s", "p2", "p3", "p6e-gb200")


def why_not(name: str) -> str | None:
    """Why a type or family that EC2 has is not in the catalogue; None where that needs no reason of its own."""
    family = name.partition(".")[0]
    if family in _LEFT_OUT:
        return "has NVIDIA GPUs and is not in this package's catalogue, which is Karpenter's own list of 2026-08-21"
    if family == "g4ad":
        return "has AMD GPUs, and a pool is of NVIDIA's"
    return None


def matching(
    *,
    gpu_names: Collection[str] = (),
    families: Collection[str] = (),
    names: Collection[str] = (),
    gpu_counts: Collection[int] = (),
    architecture: str | None = None,
) -> tuple[InstanceType, ...]:
    """The types that meet every constraint given; an empty constraint allows everything."""
    return tuple(
        i
        for i in INSTANCE_TYPES
        if (not gpu_names or i.gpu_name in gpu_names)
        and (not families or i.family in families)
        and (not names or i.name in names)
        and (not gpu_counts or i.gpus in gpu_counts)
        and architecture in (None, i.architecture)
    )
