"""The version matrix, against what upstream's own files say of the versions that trap people."""

import pytest

from karpenter_gpu import compat
from karpenter_gpu.versions import Minor


@pytest.mark.parametrize(
    ("kubernetes", "first_patches"),
    [
        (
            "1.31",
            "1.0.5 1.1.0 1.2.0 1.3.0 1.4.0 1.5.0 1.6.0 1.7.0 1.8.0 1.9.0 1.10.0 1.11.0 1.12.0 1.13.0 1.14.0 1.15.0",
        ),
        ("1.34", "1.6.6 1.7.4 1.8.0 1.9.0 1.10.0 1.11.0 1.12.0 1.13.0 1.14.0 1.15.0"),
        ("1.35", "1.9.0 1.10.0 1.11.0 1.12.0 1.13.0 1.14.0 1.15.0"),
        ("1.36", "1.13.0 1.14.0 1.15.0"),
        ("1.37", "1.15.0"),
    ],
)
def test_first_patch_of_every_minor_for_a_kubernetes(kubernetes, first_patches):
    assert compat.karpenter_patches_for(Minor.parse(kubernetes)) == tuple(first_patches.split())


def test_every_kubernetes_has_a_karpenter_and_a_kubectl_layer():
    for minor in compat.KUBERNETES:
        assert compat.karpenter_patches_for(minor)
        assert compat.KUBECTL_LAYERS[minor] == f"aws-cdk.lambda-layer-kubectl-v{minor.minor}"


def test_the_defaults_are_in_their_own_tables():
    assert compat.DEFAULT_KUBERNETES in compat.KUBERNETES
    row = compat.KARPENTER[compat.DEFAULT_KARPENTER.line]
    assert row.latest_patch == compat.DEFAULT_KARPENTER.patch
    assert row.newest_for(compat.DEFAULT_KARPENTER.patch) >= compat.DEFAULT_KUBERNETES
    assert compat.DEFAULT_DEVICE_PLUGIN in compat.DEVICE_PLUGINS


def test_support_ends_after_it_begins():
    for row in compat.KUBERNETES.values():
        if row.released and row.standard_support_ends and row.extended_support_ends:
            assert row.released < row.standard_support_ends < row.extended_support_ends


def test_releases_of_images_are_in_order_and_hold_every_first_and_last():
    releases = compat.AMI_RELEASES_SEEN
    assert list(releases) == sorted(set(releases))
    assert not compat.AMI_TAGS_WITHOUT_RELEASE & set(releases)
    assert releases[-1] == compat.NEWEST_AMI_SEEN
    for rows in compat.AMI_RELEASES.values():
        for row in rows.values():
            assert {row.first, row.first_arm64, row.last} - {None} <= set(releases)


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-gov-west-9", "aws-us-gov")],
)
def test_a_region_is_of_a_partition(region, partition):
    assert compat.partition_of(region) == partition
