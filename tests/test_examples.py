import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

import aws_cdk as cdk
import pytest
import yaml

from tests.forms import FORMS, shown
from tests.shapes import ROOT

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@cache
def synthesized(example):
    """The templates of an example, by their files' names."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(cdk, "App", partial(cdk.App, outdir=folder))
        # As the command line says whose credentials it has.
        patch.setenv("CDK_DEFAULT_ACCOUNT", "111122223333")
        patch.setenv("CDK_DEFAULT_REGION", "eu-west-1")
        runpy.run_path(str(ROOT / "examples" / f"{example}.py"), run_name="__main__")
        assert (Path(folder) / "manifest.json").exists()
        return [json.loads(path.read_text()) for path in Path(folder).glob("*.template.json")]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_whole_app_that_synthesizes(example):
    kinds = {one["Type"] for template in synthesized(example) for one in template["Resources"].values()}
    assert {"Custom::AWSCDK-EKS-HelmChart", "Custom::KarpenterGpuDrain"} <= kinds
    is_made = {"AWS::EKS::Cluster", "Custom::AWSCDK-EKS-Cluster"} & kinds
    assert bool(is_made) != ("Custom::KarpenterGpuAttachment" in kinds)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.example)
def test_a_form_of_cluster_synthesizes_what_its_row_says(form):
    assert shown(synthesized(form.example)) == form.synthesized


def test_every_example_with_one_cluster_is_a_form_of_cluster():
    assert set(EXAMPLES) - {form.example for form in FORMS} == {
        "fargate_cluster_v1",
        "from_cdk_eks_karpenter",
        "many_clusters",
        "many_pools",
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
