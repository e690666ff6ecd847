"""The slow proof, `make prove`: whole rehearsals, with the real programs; the fast suite leaves them out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eks_rehearsal.assembly import Assembly
from eks_rehearsal.programs import programs
from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.result import FAILED
from eks_rehearsal.stories import STORIES
from tests.rehearsal.broken import BROKEN, broken

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from eks_rehearsal.command import app; app()"]

pytestmark = pytest.mark.rehearsal


class Quiet:
    def started(self, program, why):
        print(program, why)

    def advanced(self, program, what, done, of):
        pass

    def finished(self, program, seconds):
        print(program, seconds)

    def moment(self, moment):
        print(moment)

    def log(self, line):
        pass

    def kept(self, account):
        raise AssertionError("nobody asked for it")


def synthesized(folder, profile="default", app="app.py", **context):
    env = {**os.environ, "CDK_OUTDIR": str(folder), "CDK_CONTEXT_JSON": json.dumps({"profile": profile, **context})}
    subprocess.run([sys.executable, app], cwd=ROOT, env={**env, "CDK_VALIDATION": "false"}, check=True)
    return folder


def stories(*names):
    return Options(stories=[story for story in STORIES if story.name in names])


@pytest.fixture(scope="session")
def assembly(tmp_path_factory):
    """The default profile's, with its programs built: on a new machine that takes a quarter of an hour."""
    folder = synthesized(tmp_path_factory.mktemp("default") / "cdk.out")
    read = Assembly.read(folder)
    programs(kubernetes=read.kubernetes, karpenter=read.karpenter, progress=Quiet(), neighbour=True)
    return folder


def as_in_a_terminal():
    """Heed ctrl-C, also where this was started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def started():
    """Starts rehearsals, each in a process and with a temporary folder of its own to see what it leaves."""
    running = []

    def start(assembly, folder, *options):
        folder.mkdir()
        with (folder / "log").open("w") as log:
            rehearsal = subprocess.Popen(
                [*COMMAND, str(assembly), "--report", str(folder / "report.html"), *options],
                env={**os.environ, "TMPDIR": str(folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=as_in_a_terminal,  # noqa: PLW1509 - no thread of ours runs
            )
        running.append(rehearsal)
        return rehearsal

    yield start
    for rehearsal in running:
        rehearsal.kill()
        rehearsal.wait()


def until_it_says(folder, words, seconds=120):
    end = time.monotonic() + seconds
    while words not in (folder / "log").read_text():
        assert time.monotonic() < end, (folder / "log").read_text()[-2000:]
        time.sleep(0.5)


def running_in(folder):
    """The processes that have a file or an argument below a folder."""
    shown = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if str(folder) in line]


def nothing_left(folder, seconds=20):
    end = time.monotonic() + seconds
    while running_in(folder) or list(folder.glob("eks-rehearsal-*")):
        assert time.monotonic() < end, running_in(folder)
        time.sleep(0.5)


def test_every_story_passes_and_a_destroy_leaves_nothing(started, assembly, tmp_path):
    rehearsal = started(assembly, tmp_path / "all")
    assert rehearsal.wait(900) == 0, (tmp_path / "all/log").read_text()[-3000:]
    said = (tmp_path / "all/log").read_text()
    # Six stories, the deployment and the destroy; the other stories are about what this profile has not.
    assert said.count("passed  ") == 8
    assert said.count("failed  ") == 0
    assert "nothing but what was there before" in said
    for version in ("1.14.1", "1.14.3"):
        assert f"the new controllers are Karpenter {version}" in said
    assert f"8 of {len(STORIES) + 2} acts passed (" in (tmp_path / "all/report.html").read_text()
    nothing_left(tmp_path / "all")


def test_the_walkthrough_plays_on_its_own_versions(tmp_path):
    folder = synthesized(tmp_path / "cdk.out", "walkthrough")
    result = rehearse(folder, Quiet(), stories("scale"))
    assert (result.kubernetes, result.karpenter) == ("1.30.14", "1.0.1")
    assert [(one.name, one.verdict) for one in result.outcomes] == [
        ("deploy", "passed"),
        ("scale", "passed"),
        ("destroy", "passed"),
    ]
    assert result.left == ()
    assert result.unknown == ()


@pytest.mark.usefixtures("assembly")  # Whose programs it runs on.
def test_behind_a_spot_pool_without_capacity_an_on_demand_pool_steps_in(tmp_path):
    folder = synthesized(tmp_path / "cdk.out", app="examples/many_pools.py")
    result = rehearse(folder, Quiet(), stories("pools", "interruption"))
    assert result.passed
    assert result.left == ()
    seen = [moment.what for moment in result.moments]
    assert "without spot capacity, the pod runs on pool steady" in seen
    assert "a pod that asks for no GPU and tolerates nothing runs on pool services" in seen


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_stack_fails_and_says_why(assembly, tmp_path, fault):
    change, words = BROKEN[fault]
    folder = broken(assembly, change, tmp_path / "cdk.out")
    name = "interruption" if "queue" in fault else "scale"
    result = rehearse(folder, Quiet(), stories(name))
    (failure,) = [one for one in result.outcomes if one.verdict == FAILED]
    assert not result.passed
    assert [word for word in words if word not in failure.reason] == [], failure.reason
    assert "\n" not in failure.reason


def test_a_killed_rehearsal_leaves_nothing_and_another_beside_it_goes_on(started, assembly, tmp_path):
    killed = started(assembly, tmp_path / "killed", "--story", "scale")
    other = started(assembly, tmp_path / "other", "--story", "plugin")
    until_it_says(tmp_path / "killed", "AWS::EKS::Cluster")
    killed.kill()
    killed.wait()
    nothing_left(tmp_path / "killed")
    assert other.wait(300) == 0, (tmp_path / "other/log").read_text()[-3000:]
    nothing_left(tmp_path / "other")


@pytest.mark.parametrize(
    ("moment", "sent"),
    [("AWS::EKS::Cluster", signal.SIGTERM), ("story     scale  begins", signal.SIGINT)],
)
def test_ctrl_c_or_a_request_to_end_ends_it_at_once_and_clears_away(started, assembly, tmp_path, moment, sent):
    rehearsal = started(assembly, tmp_path / "stopped", "--story", "scale")
    until_it_says(tmp_path / "stopped", moment)
    rehearsal.send_signal(sent)
    assert rehearsal.wait(30) == 130
    assert "nothing of the rehearsal runs any more" in (tmp_path / "stopped/log").read_text()
    nothing_left(tmp_path / "stopped")


def test_a_port_that_is_taken_is_said_plainly(started, assembly, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        rehearsal = started(assembly, tmp_path / "taken", "--port", str(taken.getsockname()[1]))
        assert rehearsal.wait(60) == 2
    said = (tmp_path / "taken/log").read_text()
    assert "is not available" in said
    assert "--port" in said
