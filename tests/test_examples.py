import os
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
import yaml

from eks_rehearsal.cloudformation import template as language
from eks_rehearsal.cloudformation.custom import CustomResources, find
from eks_rehearsal.cloudformation.nested import NestedStacks
from eks_rehearsal.cloudformation.types import TYPES
from tests.forms import FORMS, shown, synthesized
from tests.graph import Graph
from tests.shapes import ROOT

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_whole_app_that_synthesizes(example):
    kinds = {one["Type"] for template in synthesized(example) for one in template["Resources"].values()}
    assert {"Custom::AWSCDK-EKS-HelmChart", "Custom::KarpenterGpuDrain"} <= kinds
    is_made = {"AWS::EKS::Cluster", "Custom::AWSCDK-EKS-Cluster"} & kinds
    assert bool(is_made) != ("Custom::KarpenterGpuAttachment" in kinds)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.example)
def test_a_form_of_cluster_synthesizes_what_its_row_says(form):
    assert shown(synthesized(form.example)) == form.synthesized


@pytest.mark.parametrize("example", EXAMPLES)
def test_whatever_an_example_is_made_of_the_rehearsal_knows(example):
    nested = NestedStacks(lambda: None).type
    types = find({**TYPES, nested.name: nested}, CustomResources(lambda: None))
    for template in synthesized(example):
        language.check(template)
        for name, resource in template["Resources"].items():
            types(resource["Type"]).check(name, resource.get("Properties", {}))


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_resources_of_an_example_wait_for_each_other(example):
    for template in synthesized(example):
        TopologicalSorter(Graph(template).direct).prepare()


def test_every_example_with_one_cluster_is_a_form_of_cluster():
    assert set(EXAMPLES) - {form.example for form in FORMS} == {
        "from_cdk_eks_karpenter",
        "many_clusters",
        "fast_start",
        "healthy_gpus",
        "many_pools",
        "reserved_capacity",
        "shared_gpus",
    }


def test_an_example_runs_from_anywhere_as_the_readme_says(tmp_path):
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "new_cluster.py"],
        cwd=tmp_path,
        env=os.environ | {"CDK_OUTDIR": str(tmp_path / "out")},
        check=False,
    )
    assert ran.returncode == 0
    assert (tmp_path / "out" / "manifest.json").exists()


def test_there_is_nothing_in_examples_that_no_test_looks_at():
    others = {path.name for path in (ROOT / "examples").iterdir() if path.suffix not in {".py", ""}}
    assert others == {"ai-workload.yaml"}
    assert yaml.safe_load((ROOT / "examples" / "ai-workload.yaml").read_text())["metadata"]["name"] == "ai-workload"
