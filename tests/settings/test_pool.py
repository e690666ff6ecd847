"""What a pool may say, and the sentence for what it may not."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from karpenter_gpu import AmiAlias, Budget, GpuPool, InvalidSettings, RootVolume, Taint
from karpenter_gpu.manifests.node_pool import node_pool
from karpenter_gpu.settings._types import karpenter_duration
from karpenter_gpu.settings.pool import cron_problem

POOL = GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)


def faults(**given):
    with pytest.raises(InvalidSettings) as caught:
        GpuPool(**{"name": "inference", "gpu_names": ("l4",), "gpu_limit": 8} | given)
    return [str(fault) for fault in caught.value.faults]


def only_fault(**given):
    (fault,) = faults(**given)
    return fault


def test_safe_by_default():
    assert POOL.consolidation_policy == "WhenEmpty"
    assert POOL.consolidate_after == timedelta(minutes=1)
    assert POOL.expire_after == "Never"
    assert POOL.http_put_response_hop_limit == 1
    assert POOL.root_volume.size_gib == 100
    assert POOL.ami.alias == "al2023@v20260714"
    assert POOL.capacity_types == ("spot", "on-demand")


def test_a_pool_is_a_value_that_can_be_replaced_in_part():
    steady = replace(POOL, name="steady", capacity_types=["on-demand"])
    assert (steady.name, steady.capacity_types, steady.gpu_limit) == ("steady", ("on-demand",), 8)


def test_lists_and_tuples_mean_the_same():
    assert GpuPool(name="inference", gpu_names=["l4"], gpu_limit=8) == POOL


def test_fractional_types_come_only_when_named():
    assert not any(i.is_fractional for i in POOL.types)
    named = GpuPool(name="a", instance_families=("g6f",), gpu_limit=4)
    assert {i.family for i in named.types} == {"g6f"}


def test_money_becomes_gpus_by_the_dearest_gpu_of_the_pool():
    pool = GpuPool(name="a", instance_types=("g6.xlarge", "g6.16xlarge"), hourly_limit_usd=10)
    assert pool.effective_gpu_limit == 2
    assert pool.worst_case_usd_per_hour == 6.79


@pytest.mark.parametrize(("name", "usd"), [("g4dn.xlarge", "0.526"), ("g6.xlarge", "0.8048"), ("g5.xlarge", "1.006")])
def test_a_multiple_of_a_price_is_as_many_gpus(name, usd):
    for gpus in range(1, 200):
        limit = float(Decimal(usd) * gpus)
        assert GpuPool(name="a", instance_types=(name,), hourly_limit_usd=limit).effective_gpu_limit == gpus


def test_a_label_that_says_what_the_pool_says_is_taken():
    same = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "g6.xlarge"}
    assert replace(POOL, labels=same).labels == same


def test_a_volume_may_be_as_large_and_fast_as_gp3_is_today():
    assert RootVolume(size_gib=59_000, iops=80_000, throughput_mib=2_000).throughput_mib == 2_000


def test_the_smaller_of_two_ceilings_counts():
    pool = GpuPool(name="a", instance_types=("g6.xlarge",), hourly_limit_usd=100, gpu_limit=3)
    assert pool.effective_gpu_limit == 3


def test_a_pool_is_retired_by_a_limit_of_no_gpus():
    retired = GpuPool(name="a", instance_families=("p5e",), hourly_limit_usd=100, gpu_limit=0)
    assert retired.effective_gpu_limit == 0
    assert node_pool(retired)["spec"]["limits"] == {"nvidia.com/gpu": "0"}


def test_a_pool_of_unpriced_types_has_no_worst_case():
    assert GpuPool(name="a", instance_families=("p5e",), gpu_limit=8).worst_case_usd_per_hour is None


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"name": "Inference"},
            "name: 'Inference' is not a DNS label, which Kubernetes needs for this name; use at most",
        ),
        ({"name": "a" * 64}, f"name: '{'a' * 64}' is not a DNS label"),
        ({"name": ""}, "name: '' is not a DNS label"),
        ({"gpu_limit": None}, "has no ceiling, so one wrong workload could launch without end; give gpu_limit, or"),
        ({"gpu_limit": -1}, "gpu_limit: -1 is too small; the least is 0"),
        ({"gpu_limit": "8"}, "gpu_limit: '8' is not a whole number"),
        ({"gpu_names": ()}, "selects no GPU type; give gpu_names, instance_families or instance_types"),
        ({"gpu_names": ("l5",)}, "gpu_names: 'l5' is not an NVIDIA GPU that EC2 offers; did you mean l4"),
        ({"gpu_names": ("l4", "l4")}, "gpu_names: l4 is given more than once; give each once"),
        ({"instance_families": ("m5",)}, "instance_families: 'm5' is not a family with NVIDIA GPUs; did you mean"),
        (
            {"instance_families": ("g4ad",)},
            "instance_families: 'g4ad' has AMD GPUs, and a pool is of NVIDIA's; did you mean g4dn",
        ),
        ({"instance_types": ("g4dn.large",)}, "instance_types: 'g4dn.large' is not an instance type with NVIDIA GPUs"),
        (
            {"instance_types": ("p3.8xlarge",)},
            "instance_types: 'p3.8xlarge' has NVIDIA GPUs and is not in this package's catalogue, which is Karpenter's own",
        ),
        (
            {"gpu_counts": (1, 3)},
            "gpu_counts: 3 is of no instance type that also meets gpu_names l4 and architecture amd64; leave it out, or",
        ),
        (
            {"gpu_names": ("l4", "h100"), "instance_families": ("g6",)},
            "gpu_names: h100 is of no instance type that also meets instance_families g6 and architecture amd64; leave",
        ),
        (
            {"gpu_names": (), "instance_families": ("g6", "g5g")},
            "instance_families: g5g is of no instance type that also meets architecture amd64; leave it out, or loosen",
        ),
        (
            {"labels": {"kubernetes.io/arch": "arm64"}},
            "labels: kubernetes.io/arch=arm64 contradicts architecture amd64, so that nothing could ever launch; leave the",
        ),
        (
            {"labels": {"node.kubernetes.io/instance-type": "g5.xlarge"}},
            "labels: node.kubernetes.io/instance-type=g5.xlarge contradicts the instance types that the pool may launch",
        ),
        (
            {"labels": {"beta.kubernetes.io/os": "windows"}},
            "labels: beta.kubernetes.io/os=windows contradicts the pool's",
        ),
        (
            {"labels": {"node.kubernetes.io/windows-build": "10"}},
            "labels: node.kubernetes.io/windows-build=10 contradicts",
        ),
        ({"labels": {"topology.ebs.csi.aws.com/zone": "x"}}, "labels: 'topology.ebs.csi.aws.com/zone' belongs to"),
        ({"capacity_types": ("sport",)}, "capacity_types: 'sport' is not one of 'reserved', 'spot' or 'on-demand'"),
        ({"capacity_types": ()}, "capacity_types: has 0 members and needs 1 at least"),
        (
            {"instance_families": ("g5",)},
            "no instance type is left that meets gpu_names l4 and instance_families g5 and architecture amd64; loosen",
        ),
        (
            {"architecture": "arm64"},
            "no instance type is left that meets gpu_names l4 and architecture arm64; loosen one of them",
        ),
        (
            {"gpu_names": ("h100",), "gpu_counts": (8,), "gpu_limit": 4},
            "gpu_limit: gpu_limit 4 is below the pool's smallest instance, p5.48xlarge with 8 GPUs, so nothing could",
        ),
        (
            {"gpu_limit": None, "hourly_limit_usd": 0.5},
            "hourly_limit_usd: $0.5 an hour is below the pool's smallest instance, g6.xlarge with 1 GPU, and a GPU here",
        ),
        (
            {"gpu_names": ("h200",), "hourly_limit_usd": 500.0},
            "hourly_limit_usd: the price list of 2026-07-20 has no price for p5e.48xlarge, so a limit in money cannot",
        ),
        ({"weight": 101}, "weight: 101 is too large; the most is 100"),
        (
            {"consolidate_after": "1d"},
            "consolidate_after: '1d' is not a duration Karpenter takes; use numbers with s, m",
        ),
        ({"consolidate_after": 60}, "consolidate_after: 60 has no unit; write '60s' for seconds, or '60m' for minutes"),
        (
            {"expire_after": "never"},
            "expire_after: 'never' is not a duration Karpenter takes; use numbers with s, m or h",
        ),
        ({"termination_grace_period": "Never"}, "termination_grace_period: 'Never' is not a duration Karpenter takes"),
        ({"consolidate_after": timedelta(seconds=-1)}, "consolidate_after: -1 day, 23:59:59 is not a duration"),
        ({"consolidation_policy": "WhenUnderutilized"}, "consolidation_policy: 'WhenUnderutilized' is not one of"),
        ({"labels": {"karpenter.sh/x": "y"}}, "labels: 'karpenter.sh/x' belongs to Karpenter or to this package"),
        ({"labels": {"team": "a b"}}, "labels.team: 'a b' is not a Kubernetes label value; use at most 63"),
        (
            {"taints": (Taint(key="nvidia.com/gpu"),)},
            "taints: nvidia.com/gpu:NoSchedule is set already, and Karpenter refuses a pool with the same key",
        ),
        ({"expire_after": "0s"}, "expire_after: 0s would end every node as soon as it exists; give an age, or 'Never'"),
        ({"expire_after": "99999999999999h"}, "expire_after: '99999999999999h' is longer than Go can count"),
        ({"hourly_limit_usd": float("inf")}, "hourly_limit_usd: inf must be finite"),
        ({"tags": {"aws:x": "y"}}, "tags: 'aws:x' begins with aws:, which AWS keeps for itself; use another key"),
        ({"tags": {"k": "v" * 257}}, "tags: 'k' is too long; EC2 takes 128 characters in a key and 256 in a value"),
        ({"tags": {"karpenter.sh/nodepool": "x"}}, "tags: 'karpenter.sh/nodepool' is a tag Karpenter keeps for itself"),
        ({"http_put_response_hop_limit": 65}, "http_put_response_hop_limit: 65 is too large; the most is 64"),
    ],
)
def test_one_fault_is_one_sentence(given, fault):
    assert only_fault(**given).startswith(fault)


def test_a_dictionary_is_taken_where_a_setting_belongs():
    pool = replace(POOL, ami={"alias": "bottlerocket@1.62.0"}, root_volume={"size_gib": 200})
    assert (pool.ami.family, pool.root_volume.size_gib) == ("Bottlerocket", 200)


def test_what_is_no_setting_at_all_is_said_to_be_none():
    assert only_fault(root_volume="100Gi") == "root_volume: '100Gi' is not a mapping of settings, as RootVolume takes"


def test_a_setting_without_its_name_is_told_apart():
    with pytest.raises(
        InvalidSettings, match="'l4' is given without the name of its setting; name each, as in name='l4'"
    ):
        GpuPool("l4", name="a", gpu_names=("l4",), gpu_limit=1)


def test_every_fault_of_a_pool_is_reported_together():
    said = faults(name="In_f", gpu_names=("l5",), capacity_types=("sport",), gpu_limt=3)
    assert len(said) == 4
    assert "gpu_limt: 'gpu_limt' is not a setting; did you mean 'gpu_limit'?" in said


def test_what_else_is_wrong_is_said_beside_an_unknown_setting():
    said = faults(gpu_limit=None, gpu_limt=3)
    assert any("'gpu_limt' is not a setting" in fault for fault in said)
    assert any("has no ceiling" in fault for fault in said)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"nodes": "some"}, "nodes: 'some' is not a budget; use a number like '2' or a share like '10%'"),
        ({"nodes": "110%"}, "nodes: '110%' is not a budget"),
        (
            {"nodes": "0", "schedule": "@daily"},
            "schedule is given without duration, and Karpenter takes both or neither",
        ),
        ({"nodes": "0", "duration": "8h"}, "duration is given without schedule, and Karpenter takes both or neither"),
        ({"nodes": "0", "schedule": "@daily", "duration": "90s"}, "duration: 0:01:30 is not whole minutes"),
        ({"nodes": "0", "reasons": ("Expired",)}, "reasons: 'Expired' is not one of"),
        (
            {"nodes": "0", "schedule": "0 9 * *", "duration": "8h"},
            "schedule: '0 9 * *' is not a schedule Karpenter can read: it has 4 fields and needs five",
        ),
    ],
)
def test_a_budget_that_karpenter_would_reject_or_misread(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        Budget(**given)
    assert "\n".join(map(str, caught.value.faults)).startswith(fault)


@pytest.mark.parametrize("line", ["0 9 * * mon-fri", "*/15 0-6 1,15 * ?", "@daily", "0 22 * jan-mar 0", "5 4 * * SUN"])
def test_schedules_karpenter_reads(line):
    assert cron_problem(line) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("60 * * * *", "'60' is no minute, which runs from 0 to 59"),
        ("* 24 * * *", "'24' is no hour, which runs from 0 to 23"),
        ("* * 0 * *", "'0' is no day of month, which runs from 1 to 31"),
        ("* * * 13 *", "'13' is no month, which runs from 1 to 12"),
        ("* * * * 7", "'7' is no day of week, which runs from 0 to 6"),
        ("* * * * fri-mon", "'fri-mon' is no day of week, which runs from 0 to 6"),
        ("* * L * *", "'L' is no day of month"),
        ("*/0 * * * *", "'*/0' has no step behind '/'"),
        ("@reboot", "use one of @annually"),
    ],
)
def test_schedules_karpenter_would_take_for_never(line, problem):
    assert cron_problem(line).startswith(problem)


def test_a_small_volume_is_the_users_choice_and_a_tiny_one_is_not():
    assert RootVolume(size_gib=20).size_gib == 20
    with pytest.raises(InvalidSettings, match=r"RootVolume\(size_gib=…\): 10 is too small; the least is 20"):
        RootVolume(size_gib=10)


@pytest.mark.parametrize(
    ("text", "written"), [("60s", "1m"), ("90m", "1h30m"), ("0s", "0s"), ("24h", "24h"), ("1h1s", "1h1s")]
)
def test_durations_are_written_as_karpenter_does(text, written):
    pool = replace(POOL, consolidate_after=text)
    assert karpenter_duration(pool.consolidate_after) == written


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"size_gib": 59_001},
            "size_gib: 59001 is too large; the most is 59000",
        ),
        (
            {"size_gib": 20, "iops": 16000},
            "iops: 16000 are more than gp3 gives 20 GiB, which is 500 a GiB; use a larger",
        ),
        ({"throughput_mib": 1000}, "throughput_mib: 1000 needs 4000 iops on gp3, and there are 3000; raise iops"),
    ],
)
def test_a_volume_that_ec2_would_refuse(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        RootVolume(**given)
    assert "\n".join(map(str, caught.value.faults)).startswith(fault)


def test_images_are_named_by_releases_that_can_be():
    for alias in ("bottlerocket@foo", "al2023@20260714", "al2024@v20260714", "windows2022@latest", "al2023"):
        with pytest.raises(InvalidSettings, match="AmiAlias\\(alias=…\\): "):
            AmiAlias(alias=alias)
    assert AmiAlias(alias="bottlerocket@v1.62.0").family == "Bottlerocket"
