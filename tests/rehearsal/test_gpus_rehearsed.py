"""What a pool's GPUs can be asked for, through whole rehearsals, `make prove`: shared ones, and the stacks that do it wrongly."""

import os
import subprocess
import sys

import pytest

from eks_rehearsal.rehearse import rehearse
from eks_rehearsal.result import FAILED
from tests.forms import EXAMPLES
from tests.rehearsal.broken import broken, replaced
from tests.rehearsal.test_rehearsals import Quiet, stories

pytestmark = pytest.mark.rehearsal


def synthesized(example, folder):
    env = {**os.environ, "CDK_OUTDIR": str(folder), "CDK_VALIDATION": "false"}
    subprocess.run([sys.executable, EXAMPLES / f"{example}.py"], env=env, check=True)
    return folder


@pytest.fixture(scope="module")
def shared_gpus(tmp_path_factory):
    return synthesized("shared_gpus", tmp_path_factory.mktemp("shared") / "cdk.out")


@pytest.fixture(scope="module")
def healthy_gpus(tmp_path_factory):
    return synthesized("healthy_gpus", tmp_path_factory.mktemp("healthy") / "cdk.out")


def test_pods_share_gpus_of_both_images_and_the_ceiling_holds(shared_gpus):
    result = rehearse(shared_gpus, Quiet(), stories("sharing"))
    assert [(one.name, one.verdict, one.reason) for one in result.outcomes] == [
        (name, "passed", "") for name in ("deploy", "sharing", "destroy")
    ]
    seen = [moment.what for moment in result.moments if moment.lane == "story"]
    for pool, pods in (("notebooks", 4), ("models", 6)):
        assert f"{pods} pods share 1 GPU of pool {pool}" in seen
    assert (result.left, result.unknown) == ((), ())


def test_a_sick_node_is_replaced(healthy_gpus):
    result = rehearse(healthy_gpus, Quiet(), stories("repair"))
    assert [(one.name, one.verdict, one.reason) for one in result.outcomes] == [
        (name, "passed", "") for name in ("deploy", "repair", "destroy")
    ]
    assert (result.left, result.unknown) == ((), ())


def test_without_its_tolerations_the_agent_has_every_gpu_node_replaced_and_that_is_said(healthy_gpus, tmp_path):
    change = replaced(
        lambda _, one: one["Type"] == "AWS::EKS::Addon",
        '\\"tolerations\\": [{\\"operator\\": \\"Exists\\"}]',
        '\\"tolerations\\": []',
    )
    result = rehearse(broken(healthy_gpus, change, tmp_path / "cdk.out"), Quiet(), stories("repair"))
    (failure,) = [one for one in result.outcomes if one.verdict == FAILED]
    for words in (
        "though nothing is wrong",
        "every ten minutes, for ever",
        "does not tolerate the taint nvidia.com/gpu",
    ):
        assert words in failure.reason, failure.reason


# What is broken; how; the story that shows it; and the words that its reason must have.
BROKEN = {
    "the plugin's configuration says two": (
        replaced(lambda name, _: "ConfigMap" in name, '\\\\\\"replicas\\\\\\": 4', '\\\\\\"replicas\\\\\\": 2'),
        "sharing",
        (
            "shows 2 nvidia.com/gpu, and NodeOverlay notebooks.1 tells Karpenter of 4",
            "a node for every pod",
            "for ever",
        ),
    ),
    "Bottlerocket renames what it shares": (
        replaced(lambda name, _: "modelsNodeClass" in name, "rename-by-default = false", "rename-by-default = true"),
        "sharing",
        ("shows 6 nvidia.com/gpu.shared, and NodeOverlay models.1 tells Karpenter of 6 nvidia.com/gpu", "for ever"),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_broken_fails_and_says_why(shared_gpus, tmp_path, fault):
    change, name, words = BROKEN[fault]
    result = rehearse(broken(shared_gpus, change, tmp_path / "cdk.out"), Quiet(), stories(name))
    (failure,) = [one for one in result.outcomes if one.verdict == FAILED]
    assert failure.name == name
    assert [word for word in words if word not in failure.reason] == [], failure.reason
    assert "\n" not in failure.reason
