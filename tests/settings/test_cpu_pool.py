"""Pools without GPUs: what they render, and the sentence for what they may not be."""

import pytest

from karpenter_gpu import CpuPool, GpuPool, InvalidSettings, KarpenterSettings, Taint, platform_from_context
from karpenter_gpu.manifests.node_class import ec2_node_class
from karpenter_gpu.manifests.node_pool import node_pool
from karpenter_gpu.settings import rules
from karpenter_gpu.versions import Minor


def pool(**given):
    return CpuPool(**{"name": "web", "vcpu_limit": 64} | given)


def requirements(pool):
    found = node_pool(pool)["spec"]["template"]["spec"]["requirements"]
    return {one["key"].rpartition("/")[2]: (one["operator"], one["values"]) for one in found}


def test_nodes_without_gpus_are_safe_by_default_and_take_any_pod():
    spec = node_pool(pool())["spec"]
    assert spec["limits"] == {"cpu": "64"}
    assert spec["disruption"] == {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "1m"}
    assert spec["template"]["metadata"]["labels"] == {}
    assert "taints" not in spec["template"]["spec"]
    assert requirements(pool()) == {
        "instance-category": ("In", ["c", "m", "r"]),
        "instance-generation": ("Gt", ["2"]),
        "capacity-type": ("In", ["spot", "on-demand"]),
        "arch": ("In", ["amd64"]),
        "os": ("In", ["linux"]),
    }


def test_its_class_is_that_of_any_pool():
    given = {"role": "nodes", "subnets": [{"id": "s"}], "security_groups": [{"id": "g"}]}
    gpu = ec2_node_class(GpuPool(name="web", gpu_names=("l4",), gpu_limit=1), **given)
    assert ec2_node_class(pool(), **given) == gpu


def test_families_and_types_stand_in_place_of_categories():
    found = requirements(pool(instance_families=("m7i",), instance_types=("m7i.xlarge",), taints=(Taint(key="a"),)))
    assert (found["instance-family"], found["instance-type"]) == (("In", ["m7i"]), ("In", ["m7i.xlarge"]))
    assert "instance-category" not in found


def test_a_document_with_vcpu_limit_is_of_one_and_c_changes_it():
    profile = {"cluster": {"name": "gpu"}, "pools": [{"name": "web", "vcpu_limit": 8}]}
    made = platform_from_context({"profiles": {"a": profile}, "pools.web.vcpu_limit": "16"})
    assert made.pools == (pool(vcpu_limit=16),)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"vcpu_limit": -1}, "vcpu_limit: -1 is too small; the least is 0"),
        (
            {"instance_types": ("g6.xlarge",)},
            "instance_types: 'g6.xlarge' has GPUs or other accelerators, which nothing would use here; give it to a GpuPool",
        ),
        ({"instance_families": ("p5",)}, "instance_families: 'p5' has GPUs or other accelerators"),
        ({"instance_families": ("trn1",)}, "instance_families: 'trn1' has GPUs or other accelerators"),
        (
            {"instance_families": ("M7I",)},
            "instance_families: 'M7I' is not an instance family; families are written as",
        ),
        (
            {"instance_types": ("m7i.xlarg",)},
            "instance_types: 'm7i.xlarg' is not an instance type of EC2; did you mean m7i.xlarge",
        ),
        (
            {"instance_types": ("m7g.xlarge",)},
            "instance_types: m7g.xlarge is not of architecture amd64, so it could never launch; leave it out, or change",
        ),
        (
            {"instance_families": ("m7i",), "architecture": "arm64"},
            "instance_families: m7i is not of architecture arm64",
        ),
        (
            {"instance_families": ("m7i",), "instance_types": ("c7i.large",)},
            "instance_types: c7i.large is of none of instance_families; leave it out, or add its family",
        ),
        (
            {"instance_families": ("m7i",), "instance_categories": ("m",)},
            "instance_categories: say nothing beside families or types; leave one of the two out",
        ),
        (
            {"instance_categories": ("c", "z")},
            "instance_categories: 'z' has z1d of architecture amd64, and categories are of the third generation and later; leave",
        ),
        (
            {"instance_categories": ("d",), "architecture": "arm64"},
            "instance_categories: 'd' has nothing of architecture arm64, and categories are of",
        ),
        ({"instance_categories": ("p",)}, "instance_categories: 'p' is not one of 'a', 'c', 'd'"),
        (
            {"capacity_types": ("reserved",)},
            "capacity_types: 'reserved' is what GPU pools have settings for, and this one has none; leave it out",
        ),
        (
            {"gpu_limit": 8},
            "gpu_limit: 'gpu_limit' and 'vcpu_limit' exclude each other, as GpuPool and CpuPool do; leave",
        ),
        (
            {"labels": {"kubernetes.io/arch": "arm64"}},
            "labels: kubernetes.io/arch=arm64 contradicts architecture amd64",
        ),
        ({"pool_spec": {"limits": {"cpu": "9"}}}, "pool_spec.limits.cpu: is managed by karpenter-gpu; use vcpu_limit"),
    ],
)
def test_what_no_such_pool_can_be_is_one_sentence(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        pool(**given)
    (found,) = caught.value.faults
    assert str(found).startswith(fault)


@pytest.mark.parametrize(
    ("category", "architecture"), [*((one, "amd64") for one in "cdimrtx"), *((one, "arm64") for one in "cimrtx")]
)
def test_every_other_category_has_something_to_launch(category, architecture):
    assert pool(instance_categories=(category,), architecture=architecture)


@pytest.mark.parametrize(
    ("setting", "name", "near"),
    [
        ("instance_families", "m77i", "m7i"),
        ("instance_types", "c5x.large", "c5.large"),
        ("instance_families", "q1", "a typo"),
    ],
)
def test_a_family_that_ec2_did_not_have_is_a_warning(setting, name, near):
    said = dict(rules.pool_warnings(pool(**{setting: (name,)})))
    (about,) = [one for one in said if one.endswith("-unseen")]
    assert said[about].startswith(f"pool 'web': {name} is of no family that EC2 had on")
    assert near in said[about]


def test_a_family_that_ec2_has_is_none():
    given = pool(instance_families=("m7i",), instance_types=("m7i.large",))
    assert not [about for about, _ in rules.pool_warnings(given) if about.endswith("-unseen")]


@pytest.mark.parametrize("name", ["m7g", "c6gn.large", "im4gn", "t4g.small", "a1"])
def test_graviton_is_known_by_its_name(name):
    assert pool(architecture="arm64", **{"instance_types" if "." in name else "instance_families": (name,)})


def test_images_need_no_driver():
    old = pool(architecture="arm64")
    assert list(rules.pool_fits(old, Minor(1, 30), KarpenterSettings(version="1.0.14"), None)) == []
    gpu = GpuPool(name="g", gpu_names=("t4g",), architecture="arm64", gpu_limit=1)
    (found,) = rules.pool_fits(gpu, Minor(1, 30), KarpenterSettings(version="1.0.14"), None)
    assert "no arm64 NVIDIA image" in found.problem
