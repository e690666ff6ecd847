"""Reserved capacity through whole rehearsals, `make prove`."""

import os
import subprocess
import sys

import pytest

from eks_rehearsal.rehearse import rehearse
from tests.forms import EXAMPLES
from tests.rehearsal.test_rehearsals import Quiet, stories

pytestmark = pytest.mark.rehearsal


@pytest.fixture(scope="module")
def reserved(tmp_path_factory):
    """The assembly of `examples/reserved_capacity.py`."""
    folder = tmp_path_factory.mktemp("reserved") / "cdk.out"
    caller = {"CDK_DEFAULT_ACCOUNT": "111122223333", "CDK_DEFAULT_REGION": "us-west-2"}
    env = {**os.environ, **caller, "CDK_OUTDIR": str(folder), "CDK_VALIDATION": "false"}
    subprocess.run([sys.executable, EXAMPLES / "reserved_capacity.py"], env=env, check=True)
    return folder


def test_reservations_are_used_first_and_end_without_harm(reserved):
    result = rehearse(reserved, Quiet(), stories("reserved"))
    assert [(one.name, one.verdict, one.reason) for one in result.outcomes] == [
        (name, "passed", "") for name in ("deploy", "reserved", "destroy")
    ]
    seen = [moment.what for moment in result.moments if moment.lane == "story"]
    for said in (
        "pool inference launches into its reservation first",
        "all 2 slots of the reservation of pool inference are used",
        "while a slot was held and not launched, the next pod waited and went nowhere else",
        "when it was full, pool inference launched spot",
        "they run on",
        "pool training was drained before EC2 takes its Capacity Block away",
    ):
        assert said in seen
    assert (result.left, result.unknown) == ((), ())
