"""The contract between the templates of existing clusters and the rehearsal: one fixture, held against both sides."""

import json
from typing import get_type_hints

import pytest

from eks_rehearsal import existing_cluster
from eks_rehearsal.errors import RehearsalError
from karpenter_gpu.cdk.existing_facts import EXISTING_CLUSTER, ExistingClusterFacts
from tests.shapes import ROOT, synthesized

FIXTURE = json.loads((ROOT / "tests/rehearsal/existing_cluster.json").read_text())
SCHEMA = json.loads(existing_cluster.SCHEMA.read_text())


def read(**changes):
    return existing_cluster.read({"Metadata": {existing_cluster.KEY: FIXTURE | changes}}, "stack gpu")


def test_the_construct_writes_the_fixture():
    assert synthesized("existing-cluster").template["Metadata"][EXISTING_CLUSTER] == FIXTURE


def test_the_rehearsal_reads_the_fixture():
    assert existing_cluster.KEY == EXISTING_CLUSTER
    assert read() == FIXTURE


@pytest.mark.parametrize("mapping", [ExistingClusterFacts, existing_cluster.ExistingCluster])
def test_both_mappings_have_the_properties_of_the_schema(mapping):
    assert set(get_type_hints(mapping)) == set(SCHEMA["properties"])


def test_a_template_that_makes_its_cluster_says_nothing():
    assert existing_cluster.read({"Resources": {}}, "stack gpu") is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"Version": 2}, r"stack gpu is not of version 1 .*\$\.Version 1 was expected"),
        ({"Vpc": "vpc-1"}, "'Vpc' was unexpected"),
        ({"AuthenticationMode": "MAP"}, r"\$\.AuthenticationMode 'MAP' is not one of"),
        ({"KubernetesVersion": 1.36}, r"\$\.KubernetesVersion 1\.36 is not of type 'string'"),
    ],
)
def test_facts_of_another_shape_are_refused(changes, fault):
    with pytest.raises(RehearsalError, match=fault):
        read(**changes)
