import json
import os
import runpy
import subprocess
import sys
from functools import partial

import aws_cdk as cdk
import pytest
import yaml

from tests.shapes import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_whole_app_that_synthesizes(example, tmp_path, monkeypatch):
    monkeypatch.setattr(cdk, "App", partial(cdk.App, outdir=str(tmp_path)))
    # As the command line says whose credentials it has.
    monkeypatch.setenv("CDK_DEFAULT_ACCOUNT", "111122223333")
    monkeypatch.setenv("CDK_DEFAULT_REGION", "eu-west-1")
    runpy.run_path(str(example), run_name="__main__")
    templates = [json.loads(path.read_text()) for path in tmp_path.glob("*.template.json")]
    kinds = {resource["Type"] for template in templates for resource in template["Resources"].values()}
    assert {"Custom::AWSCDK-EKS-HelmChart", "Custom::KarpenterGpuDrain"} <= kinds
    is_made = {"AWS::EKS::Cluster", "Custom::AWSCDK-EKS-Cluster"} & kinds
    assert bool(is_made) != ("Custom::KarpenterGpuAttachment" in kinds)
    assert (tmp_path / "manifest.json").exists()


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
