"""The forms of cluster through whole rehearsals, `make prove`: each is deployed, brings a GPU node, and leaves all as it was."""

import os
import subprocess
import sys

import pytest

from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.stories import STORIES
from tests.forms import EXAMPLES, FORMS
from tests.rehearsal.test_rehearsals import Quiet

pytestmark = pytest.mark.rehearsal

# Who synthesizes: the CDK's command line would say so from its credentials.
CALLER = {"CDK_DEFAULT_ACCOUNT": "111122223333", "CDK_DEFAULT_REGION": "us-west-2", "CDK_VALIDATION": "false"}
# The one that is looked up has a test of its own, in test_look_up_rehearsal.py.
REHEARSED = [form for form in FORMS if form.story and form.example != "existing_cluster"]


@pytest.mark.parametrize("form", REHEARSED, ids=lambda form: form.example)
def test_a_form_is_deployed_brings_a_gpu_node_and_leaves_all_as_it_was(form, tmp_path):
    folder, env = tmp_path / "cdk.out", {**os.environ, **CALLER, "CDK_OUTDIR": str(tmp_path / "cdk.out")}
    subprocess.run([sys.executable, EXAMPLES / f"{form.example}.py"], cwd=tmp_path, env=env, check=True)
    result = rehearse(folder, Quiet(), Options(stories=[story for story in STORIES if story.name == form.story]))
    acts = [(one.name, one.verdict, one.reason) for one in result.outcomes]
    assert acts == [(name, "passed", "") for name in ("deploy", form.story, "destroy")]
    assert (result.kubernetes, result.karpenter) == ("1.36.4", "1.14.3")
    assert (result.left, result.unknown) == ((), ())
