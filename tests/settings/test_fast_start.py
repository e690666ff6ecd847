import pytest

from karpenter_gpu import AmiIds, GpuPool, InvalidSettings, KarpenterSettings
from karpenter_gpu.settings import rules
from karpenter_gpu.versions import Minor

BOTTLEROCKET = {"alias": "bottlerocket@1.62.0"}
SNAPSHOT = "snap-0123456789abcdef0"


def pool(**given):
    return GpuPool(**{"name": "p", "gpu_names": ("l4",), "gpu_limit": 8, "fast_start": True} | given)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"ami": {"alias": "al2@v20251209"}},
            "fast_start: is nothing that AL2 can do; use an al2023 or bottlerocket alias",
        ),
        (
            {"gpu_names": (), "instance_types": ("g6f.large", "g6.xlarge")},
            "fast_start: does nothing on g6f.large: AL2023 wants 4 vCPUs and 8 GiB for it; leave the type out",
        ),
        (
            {"image_snapshot": "snap-1", "ami": BOTTLEROCKET},
            "image_snapshot: 'snap-1' is not the id of a snapshot; ids look like snap-0123456789abcdef0",
        ),
        (
            {"image_snapshot_mib": 300},
            "image_snapshot_mib: is the pace of image_snapshot, which is not given; leave it out",
        ),
        (
            {"image_snapshot": SNAPSHOT},
            "image_snapshot: is of images alone, and AL2023 keeps them on the volume of its system; use a bottlerocket alias",
        ),
        (
            {"image_snapshot": SNAPSHOT, "ami": BOTTLEROCKET, "instance_store_policy": "RAID0"},
            "image_snapshot: snap-0123456789abcdef0 would be read by nobody: with instance_store_policy images are on the",
        ),
        (
            {"user_data": "[settings.container-runtime]\nsnapshotter = 'overlayfs'", "ami": BOTTLEROCKET},
            "user_data: settings.container-runtime.snapshotter is managed by karpenter-gpu; use fast_start",
        ),
        (
            {
                "user_data": "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {featureGates: {FastImagePull: false}}"
            },
            "user_data: spec.featureGates.FastImagePull is managed by karpenter-gpu; use fast_start",
        ),
    ],
)
def test_one_fault_is_one_sentence(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        pool(**given)
    (found,) = map(str, caught.value.faults)
    assert found.startswith(fault)


def fit(karpenter="1.14.3", region=None, **given):
    return list(map(str, rules.pool_fits(pool(**given), Minor(1, 33), KarpenterSettings(version=karpenter), region)))


@pytest.mark.parametrize(
    ("alias", "karpenter", "fault"),
    [
        (
            "al2023@v20260505",
            "1.14.3",
            "fast_start: can keep every pod of al2023@v20260505 from starting, which al2023@v20260512 mended; use a later release",
        ),
        (
            "bottlerocket@1.43.0",
            "1.14.3",
            "fast_start: is not in bottlerocket@1.43.0: pulling in parallel came with 1.44.0; use bottlerocket@1.44.0 or later",
        ),
        (
            "bottlerocket@1.62.0",
            "1.0.14",
            "fast_start: Karpenter 1.0.14 counts the NVMe of a Bottlerocket node and does not",
        ),
        (
            "bottlerocket@1.62.0",
            "1.7.3",
            "fast_start: would pull onto a slow volume: Karpenter 1.7.3 does not put these layers on the NVMe",
        ),
    ],
)
def test_an_image_or_a_karpenter_that_is_too_old_is_refused(alias, karpenter, fault):
    (found,) = fit(ami={"alias": alias}, karpenter=karpenter)
    assert found.startswith(f"pools.p.{fault}")


@pytest.mark.parametrize("alias", ["al2023@v20260512", "al2023@latest", "bottlerocket@1.44.0", "bottlerocket@latest"])
def test_images_that_can_are_taken(alias):
    assert fit(ami={"alias": alias}) == []


def test_an_older_karpenter_is_taken_with_a_volume_that_is_fast_or_without_nvme():
    volume = {"root_volume": {"throughput_mib": 600}}
    assert fit(ami=BOTTLEROCKET, karpenter="1.7.3", **volume) == []
    slow = {"gpu_names": (), "instance_families": ("g5g",), "architecture": "arm64"}
    assert fit(ami=BOTTLEROCKET, karpenter="1.7.3", **slow) == []


@pytest.mark.parametrize(
    ("ami", "throughput"),
    [
        ({"alias": "bottlerocket@1.45.0"}, 600),
        ({"ami_ids": ("ami-0123456789abcdef0",), "family": "Bottlerocket"}, 600),
        ({"alias": "bottlerocket@1.46.0"}, None),
        ({"alias": "bottlerocket@latest"}, None),
        ({"alias": "al2023@v20260512"}, None),
    ],
)
def test_the_volume_is_fast_unless_the_layers_are_known_to_be_on_nvme(ami, throughput):
    assert pool(ami=ami).disk.throughput_mib == throughput


def test_the_pace_of_a_snapshot_came_with_a_karpenter():
    paced = {"image_snapshot": SNAPSHOT, "image_snapshot_mib": 300, "ami": BOTTLEROCKET, "region": "eu-west-1"}
    assert fit(karpenter="1.5.0", fast_start=False, **paced) == []
    (found,) = fit(karpenter="1.4.0", fast_start=False, **paced)
    assert found.startswith("pools.p.image_snapshot_mib: came with Karpenter 1.5, and this is 1.4.0; use that or later")


def test_a_snapshot_is_of_one_region():
    (found,) = fit(image_snapshot=SNAPSHOT, ami=BOTTLEROCKET)
    assert found.startswith(f"pools.p.image_snapshot: {SNAPSHOT} is of one region, and the stack is for any; say which")
    assert fit(image_snapshot=SNAPSHOT, ami=BOTTLEROCKET, region="eu-west-1") == []


def test_an_image_of_ones_own_is_warned_of_because_its_age_is_not_seen():
    own = pool(ami=AmiIds(ami_ids=("ami-0123456789abcdef0",), family="AL2023"))
    assert "p-fast-start" in dict(rules.pool_warnings(own))
    assert "p-fast-start" not in dict(rules.pool_warnings(pool()))
