import pytest

from karpenter_gpu.leftovers.owner import NAMING_TAGS, STACK_TAG, Owner

OWNER = Owner("gpu", "eu-west-1")
OWNED = {"kubernetes.io/cluster/gpu": "owned"}


@pytest.mark.parametrize("tags", [OWNED, *({key: "gpu"} for key in NAMING_TAGS)])
def test_each_tag_that_names_the_cluster_makes_a_thing_its_own(tags):
    claim = OWNER.claim(tags)
    assert claim is not None
    assert claim.kept == ""


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"kubernetes.io/cluster/gpu-2": "owned"},
        {"kubernetes.io/cluster/gpu": "shared", "eks:eks-cluster-name": "gpu"},
        {"kubernetes.io/cluster/gpu": "no"},
        {"team": "gpu"},
        *({key: "gpu-2"} for key in NAMING_TAGS),
    ],
)
def test_what_is_shared_or_of_another_cluster_is_not_the_clusters(tags):
    assert OWNER.claim(tags) is None


def test_what_names_another_cluster_too_is_never_deleted():
    claim = OWNER.claim({**OWNED, "kubernetes.io/cluster/gpu-2": "shared"})
    assert claim.kept == "its tags name cluster gpu-2, too"


def test_a_name_alone_is_told_and_never_enough_to_delete():
    names = ("KarpenterNodeRole-{cluster}",)
    assert OWNER.claim({}, "KarpenterNodeRole-gpu", names).kept == "only its name says so"
    assert OWNER.claim({}, "KarpenterNodeRole-gpu-2", names) is None
    assert OWNER.claim({"eks:eks-cluster-name": "other"}, "KarpenterNodeRole-gpu", names) is None


def test_what_belongs_to_no_region_is_deleted_only_where_it_names_this_one():
    assert OWNER.claim(OWNED, regions=("eu-west-1",)).kept == ""
    assert OWNER.claim(OWNED, regions=("us-east-1",)) is None
    assert OWNER.claim({**OWNED, "topology.kubernetes.io/region": "us-east-1"}, regions=()) is None
    assert "another region" in OWNER.claim(OWNED, regions=()).kept


def test_the_stack_that_made_it_says_the_region_too():
    made = {
        region: OWNED | {STACK_TAG: f"arn:aws:cloudformation:{region}:1:stack/a/b"}
        for region in ("eu-west-1", "us-east-1")
    }
    assert OWNER.claim(made["eu-west-1"], regions=()).kept == ""
    assert OWNER.claim(made["us-east-1"], regions=()) is None
