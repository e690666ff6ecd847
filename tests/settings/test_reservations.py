"""What may be said of reserved capacity, and the sentence for what may not."""

from datetime import date
from typing import Any

import pytest

from karpenter_gpu import (
    FeatureGates,
    GpuPool,
    InvalidSettings,
    KarpenterSettings,
    NewCluster,
    NewReservation,
    NewVpc,
    ReservationById,
    ReservationsByTags,
    platform_from_context,
)
from karpenter_gpu.compat import KARPENTER
from karpenter_gpu.settings import rules
from karpenter_gpu.versions import Minor

ZONE = "eu-west-1a"
ONE = ReservationById(id="cr-0123456789abcdef0")
BLOCK = ReservationById(id="cr-0b", capacity_block=True)
MADE = NewReservation(instance_type="g6.xlarge", zone=ZONE, count=2)
LADDER: dict[str, Any] = {"capacity_types": ("reserved", "spot", "on-demand")}


def pool(**given):
    return GpuPool(**{"name": "p", "gpu_names": ("l4",), "gpu_limit": 8} | given)


def faults(cls, **given):
    with pytest.raises(InvalidSettings) as caught:
        cls(**given)
    return [str(fault) for fault in caught.value.faults]


def fit(pool, karpenter=None, region="eu-west-1"):
    found = rules.pool_fits(pool, Minor(1, 30), karpenter or KarpenterSettings(), region)
    return [str(fault) for fault in found]


def test_a_ladder_with_every_kind_of_reservation_is_taken():
    tags = ReservationsByTags(tags={"team": "*"}, owner="111122223333", match="targeted")
    made = pool(**LADDER, reservations=[ONE, BLOCK, tags], reserve=[MADE], termination_grace_period="9m")
    assert fit(made) == []
    assert made.blocks == ("cr-0b",)


def test_one_document_says_it_for_python_cdk_json_and_the_command_line():
    profile = {
        "cluster": {"name": "gpu", "network": {"availability_zones": [ZONE, "eu-west-1b"]}},
        "region": "eu-west-1",
        "pools": [{"name": "p", "gpu_names": ["l4"], "gpu_limit": 8}],
    }
    made = platform_from_context(
        {
            "profiles": {"a": profile},
            "pools.p.capacity_types": "reserved,spot,on-demand",
            "pools.p.reservations": '[{"id": "cr-0123456789abcdef0"}, {"id": "cr-0b", "capacity_block": true}]',
            "pools.p.reserve": f'[{{"instance_type": "g6.xlarge", "zone": "{ZONE}", "count": 1}}]',
            "pools.p.reserve.0.count": "2",
        }
    )
    assert made.pools == (pool(**LADDER, reservations=(ONE, BLOCK), reserve=(MADE,)),)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"capacity_types": ("reserved",)},
            "capacity_types: 'reserved' needs reservations to use, or the pool never launches any; give reservations or reserve",
        ),
        (
            {"reservations": (ONE,)},
            "reservations: would be paid for and never used; add 'reserved' to capacity_types, which has spot, on-demand",
        ),
        ({"reserve": (MADE,)}, "reserve: would be paid for and never used; add 'reserved' to capacity_types"),
        (
            LADDER | {"reserve": (MADE,), "gpu_limit": 1},
            "gpu_limit: lets the pool have 1 GPUs, and reserve pays for 2; raise the ceiling",
        ),
        (
            LADDER | {"reserve": (MADE,), "gpu_limit": None, "instance_types": ("g6.xlarge",), "hourly_limit_usd": 1},
            "hourly_limit_usd: lets the pool have 1 GPUs, and reserve pays for 2; raise the ceiling",
        ),
        (
            LADDER | {"reserve": (MADE,), "gpu_limit": 0},
            "gpu_limit: lets the pool have 0 GPUs, and reserve pays for 2; raise the ceiling",
        ),
        (
            LADDER | {"reserve": (MADE,), "gpu_names": ("a10g",)},
            "reserve: g6.xlarge is not a type that the pool may launch, so it would be paid for and never used; reserve another",
        ),
        (
            LADDER | {"reserve": (MADE,), "zones": ("eu-west-1b",)},
            "reserve: eu-west-1a is not among the pool's zones, eu-west-1b, so it would be paid for and never used; reserve in",
        ),
        (
            LADDER | {"reserve": (MADE, NewReservation(instance_type="g6.xlarge", zone=ZONE, count=1))},
            "reserve: g6.xlarge in eu-west-1a is reserved 2 times; make it one, with the sum as its count",
        ),
        (
            LADDER | {"reservations": (ONE, ONE)},
            "reservations: cr-0123456789abcdef0 is given more than once; give it once",
        ),
        (
            LADDER | {"reservations": tuple(ReservationById(id=f"cr-{n}") for n in range(30)), "reserve": (MADE,)},
            "reservations: are more than 30 with those of reserve, and Karpenter takes no more",
        ),
        (
            LADDER | {"reservations": (BLOCK,), "termination_grace_period": "10m"},
            "termination_grace_period: 10m is longer than cr-0b leaves: nodes of a Capacity Block are drained from 40 minutes",
        ),
        (
            {"class_spec": {"capacityReservationSelectorTerms": [{"id": "cr-0a"}]}},
            "class_spec.capacityReservationSelectorTerms: is managed by karpenter-gpu; use reservations or reserve",
        ),
        (
            LADDER | {"reservations": [{"id": "cr-0a", "tags": {"team": "a"}}]},
            "reservations.tags: 'tags' and 'id' exclude each other, as ReservationsByTags and ReservationById do; leave one out",
        ),
        (
            LADDER | {"reservations": [{"tags": {"team": "a"}, "capacity_block": True}]},
            "reservations.capacity_block: 'capacity_block' and 'tags' exclude each other",
        ),
        (LADDER | {"reservations": [{"owner": "1"}]}, "reservations.owner: '1' is not an AWS account"),
    ],
)
def test_a_pool_whose_reservations_could_not_be_used_is_refused(given, fault):
    (found,) = faults(pool, **given)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("cls", "given", "fault"),
    [
        (
            ReservationById,
            {"id": "r-1"},
            "id: 'r-1' is not the id of a reservation; ids look like cr-0123456789abcdef0",
        ),
        (
            ReservationsByTags,
            {"owner": "111122223333"},
            "owner alone would take every such reservation of the account, other teams' too; give tags, or an id",
        ),
        (ReservationsByTags, {"match": "open"}, "match alone would take every such reservation of the account"),
        (ReservationsByTags, {}, "nothing alone would take every such reservation of the account"),
        (
            ReservationsByTags,
            {"tags": {"a": ""}},
            "tags: 'a': '' is half a tag, which Karpenter refuses; '*' takes any",
        ),
        (ReservationsByTags, {"tags": {str(n): "x" for n in range(21)}}, "tags: has 21 members and may have 20"),
        (ReservationsByTags, {"tags": {"a": "b"}, "match": "any"}, "match: 'any' is not one of 'open' or 'targeted'"),
        (
            NewReservation,
            {"instance_type": "m5.large", "zone": ZONE, "count": 1},
            "instance_type: 'm5.large' is not an instance type with NVIDIA GPUs, as g6.xlarge is",
        ),
        (
            NewReservation,
            {"instance_type": "g6.xlarge", "zone": ZONE, "count": 0},
            "count: 0 is too small; the least is 1",
        ),
        (
            NewReservation,
            {"instance_type": "g6.xlarge", "zone": ZONE, "count": 1, "until": "2027-01-31"},
            "until: '2027-01-31' is not a time in UTC; write it as in 2027-01-31T18:00Z",
        ),
    ],
)
def test_a_reservation_that_says_nothing_or_too_much_is_refused(cls, given, fault):
    (found,) = faults(cls, **given)
    assert found.startswith(fault)


TAGGED = ReservationsByTags(tags={"team": "a"}, match="open")


@pytest.mark.parametrize(
    ("reservation", "since", "fault"),
    [
        (
            ONE,
            "1.3.0",
            "pools.p.capacity_types: Karpenter uses no reservations unless it is told to, and Karpenter 1.2.8 cannot be told",
        ),
        (
            BLOCK,
            "1.6.0",
            "pools.p.reservations.capacity_block: came with Karpenter 1.6, and this is 1.5.8; use that or",
        ),
        (TAGGED, "1.8.0", "pools.p.reservations.match: came with Karpenter 1.8, and this is 1.7.6; use that or later"),
    ],
)
def test_what_a_karpenter_does_not_know_is_said_with_the_one_that_does(reservation, since, fault):
    made = pool(**LADDER, reservations=(reservation,))
    line = Minor(1, int(since.split(".")[1]) - 1)
    older = f"{line}.{KARPENTER[line].latest_patch}"
    assert fit(made, KarpenterSettings(version=since)) == []
    (found,) = fit(made, KarpenterSettings(version=older))
    assert found.startswith(fault)


def test_ids_and_zones_are_of_the_stacks_region():
    made = pool(**LADDER, reservations=(ONE,), reserve=(MADE,))
    assert fit(made, region="us-east-1") == [
        "pools.p.reserve: 'eu-west-1a' is not a zone of us-east-1; zones there are named like us-east-1a"
    ]
    assert [one.partition(" is of one region")[0] for one in fit(made, region=None)] == [
        "pools.p.reservations: cr-0123456789abcdef0",
        "pools.p.reserve: eu-west-1a",
    ]


def test_a_reservation_is_where_the_vpc_has_a_subnet():
    made = [pool(**LADDER, reserve=(MADE,))]
    somewhere, elsewhere = NewVpc(), NewVpc(availability_zones=("eu-west-1b", "eu-west-1c"))
    (unknown,) = rules.pools_reach_the_network(made, NewCluster(name="x", network=somewhere))
    assert str(unknown).startswith("pools.p.reserve: eu-west-1a may have no subnet")
    (without,) = rules.pools_reach_the_network(made, NewCluster(name="x", network=elsewhere))
    assert str(without).startswith("pools.p.reserve: 'eu-west-1a' has no subnet of the cluster's network")


def test_a_reservation_that_has_ended_is_a_warning_with_which_a_stack_can_still_be_destroyed(monkeypatch):
    monkeypatch.setattr(rules, "today", lambda: date(2027, 2, 1))
    made = NewReservation(instance_type="g6.xlarge", zone=ZONE, count=1, until="2027-01-31T18:00Z")
    ended = pool(**LADDER, reserve=(made,))
    assert fit(ended) == []
    warning = dict(rules.pool_warnings(ended))[f"p-reserve-g6.xlarge-{ZONE}-ended"]
    assert warning.startswith(
        f"pool 'p': reserve in {ZONE} until 2027-01-31T18:00Z has ended, and EC2 refuses a new one"
    )
    monkeypatch.setattr(rules, "today", lambda: date(2027, 1, 31))
    assert f"p-reserve-g6.xlarge-{ZONE}-ended" not in dict(rules.pool_warnings(ended))


def test_synthesis_says_what_a_reservation_costs_from_the_moment_it_exists():
    made = NewReservation(instance_type="g6.xlarge", zone=ZONE, count=2, until="2027-01-31T18:00Z")
    warnings = dict(rules.pool_warnings(pool(**LADDER, reserve=(made,))))
    assert (
        "costs $1.61 an hour from the moment it exists, used or not, until 2027-01-31"
        in warnings[f"p-reserve-g6.xlarge-{ZONE}"]
    )
    unpriced = NewReservation(instance_type="p5e.48xlarge", zone=ZONE, count=1)
    warnings = dict(rules.pool_warnings(pool(**LADDER, gpu_names=("h200",), reserve=(unpriced,))))
    assert "costs an unknown price an hour" in warnings[f"p-reserve-p5e.48xlarge-{ZONE}"]


def test_synthesis_says_which_pods_never_use_a_reservation():
    warnings = dict(rules.pool_warnings(pool(**LADDER, reservations=(ONE,))))
    assert (
        "pods that select karpenter.sh/capacity-type on-demand or spot never use its reservations"
        in warnings["p-reserved"]
    )
    assert list(rules.pool_warnings(pool())) == []


def test_a_capacity_block_without_a_grace_period_is_warned_of():
    assert "p-block" in dict(rules.pool_warnings(pool(**LADDER, reservations=(BLOCK,))))
    ends = pool(**LADDER, reservations=(BLOCK,), termination_grace_period="9m")
    assert "p-block" not in dict(rules.pool_warnings(ends))


@pytest.mark.parametrize(
    ("reservation", "grace", "warned"),
    [
        (TAGGED, None, True),
        (TAGGED, "10m", True),
        (TAGGED, "9m", False),
        (ONE, None, False),
    ],
)
def test_tags_that_a_capacity_block_may_have_are_warned_of_without_a_grace_period_for_one(reservation, grace, warned):
    made = pool(**LADDER, reservations=(reservation,), termination_grace_period=grace)
    assert ("p-blocks-by-tags" in dict(rules.pool_warnings(made))) is warned


def test_a_gate_that_is_closed_is_named():
    closed = KarpenterSettings(feature_gates=FeatureGates(reserved_capacity=False))
    (found,) = fit(pool(**LADDER, reservations=(ONE,)), closed)
    assert found.startswith(
        "pools.p.capacity_types: Karpenter uses no reservations unless it is told to, and karpenter.feature_gates.reserved_capacity"
    )
    assert fit(pool(), closed) == []
