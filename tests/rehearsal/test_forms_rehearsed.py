"""Every form of cluster through a whole rehearsal, `make prove`: its example is deployed, brings a GPU node, and goes again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from karpenter_gpu.rehearsal.cloudformation import template as language
from karpenter_gpu.rehearsal.cloudformation.custom import CustomResources, find
from karpenter_gpu.rehearsal.cloudformation.nested import NestedStacks
from karpenter_gpu.rehearsal.cloudformation.types import TYPES
from karpenter_gpu.rehearsal.rehearse import Options, rehearse
from karpenter_gpu.rehearsal.stories import STORIES
from tests.rehearsal.test_rehearsals import Quiet

ROOT = Path(__file__).parents[2]
# Who synthesizes: the CDK's command line would say so from its credentials.
CALLER = {"CDK_DEFAULT_ACCOUNT": "111122223333", "CDK_DEFAULT_REGION": "eu-west-1", "CDK_VALIDATION": "false"}
# The example, and of which Kubernetes and Karpenter its rehearsal is.
FORMS = {
    "own_cluster_v1": ("1.36.4", "1.14.3"),
    "fargate_cluster_v1": ("1.36.4", "1.14.3"),
}


@pytest.fixture(scope="module", params=FORMS)
def form(request, tmp_path_factory):
    """An example's name and its cloud assembly."""
    folder = tmp_path_factory.mktemp(request.param) / "cdk.out"
    example, env = ROOT / "examples" / f"{request.param}.py", {**os.environ, **CALLER, "CDK_OUTDIR": str(folder)}
    subprocess.run([sys.executable, example], cwd=folder.parent, env=env, check=True)
    return request.param, folder


def test_whatever_a_form_is_made_of_the_rehearsal_knows(form):
    _, folder = form
    nested = NestedStacks(lambda: None).type
    types = find({**TYPES, nested.name: nested}, CustomResources(lambda: None))
    templates = [json.loads(path.read_text()) for path in folder.glob("*.template.json")]
    assert templates
    for template in templates:
        language.check(template)
        for name, resource in template["Resources"].items():
            types(resource["Type"]).check(name, resource.get("Properties", {}))


@pytest.mark.rehearsal
def test_a_form_is_deployed_brings_a_gpu_node_and_leaves_nothing(form):
    example, folder = form
    result = rehearse(folder, Quiet(), Options(stories=[story for story in STORIES if story.name == "scale"]))
    acts = [(one.name, one.verdict, one.reason) for one in result.outcomes]
    assert acts == [(name, "passed", "") for name in ("deploy", "scale", "destroy")]
    assert (result.kubernetes, result.karpenter) == FORMS[example]
    assert (result.left, result.unknown) == ((), ())
