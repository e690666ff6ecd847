import io
import json
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from eks_rehearsal import command
from eks_rehearsal.command import Terminal, app
from eks_rehearsal.errors import NotBuilt
from eks_rehearsal.result import FAILED, PASSED, Outcome, Permissions, Result
from eks_rehearsal.stories import DESTROYS, STORIES

RUNNER = CliRunner()


def run(*args):
    done = RUNNER.invoke(app, [*map(str, args)])
    return done.exit_code, " ".join(done.output.split())


def result(verdict=PASSED, reason="", left=(), **more):
    outcome = Outcome("scale", "from zero", verdict, reason, 1.0, 2.0)
    return Result(("s",), "us-east-1", "1.36.4", "1.14.3", (), (outcome,), (), (), left, seconds=3.0, **more)


@pytest.fixture
def rehearsed(monkeypatch, tmp_path):
    """Runs the command on a result that is there already."""

    def go(what):
        monkeypatch.setattr("eks_rehearsal.rehearse.rehearse", lambda *_: what)
        return run(tmp_path, "--report", tmp_path / "r.html")

    return go


def test_a_folder_that_is_no_assembly_is_said_so(tmp_path):
    code, said = run(tmp_path)
    assert code == 2
    assert "the rehearsal could not begin" in said
    assert "holds no manifest.json" in said


def test_a_story_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    code, said = run(tmp_path, "--story", "scael")
    assert code == 2
    assert "there is no story scael; there are scale, pools," in said


@pytest.mark.parametrize("holds", ["{", "{}", "[]", None])
def test_a_file_that_is_no_service_control_policy_is_refused(tmp_path, holds):
    path = tmp_path / "scp.json"
    if holds is not None:
        path.write_text(holds)
    code, said = run(tmp_path, "--scp", path)
    assert code == 2
    assert f"{path} is not a service control policy; --scp takes a policy's JSON (" in said


def test_what_iam_decides_by_is_not_given_where_it_is_not_asked(tmp_path):
    (tmp_path / "scp.json").write_text(json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))
    for given in (("--scp", tmp_path / "scp.json"), ("--policy", tmp_path / "scp.json"), ("--spread", 5)):
        code, said = run(tmp_path, "--no-authorize", *given)
        assert code == 2
        assert "say what IAM decides; leave out --no-authorize" in said


def test_a_rehearsal_in_which_iam_denied_something_fails_and_says_what(rehearsed):
    denied = "role/x may not ec2:RunInstances on *: no policy of the caller allows ec2:RunInstances"
    code, said = rehearsed(result(permissions=Permissions(decided=7, denied={denied: 2})))
    assert code == 1
    assert "7 calls were decided, 2 of them denied; 0 were not decided" in said
    assert f"denied 2 times: {denied}" in said


def test_a_rehearsal_that_passed_exits_with_0_and_leaves_a_report(rehearsed, tmp_path):
    code, said = rehearsed(result())
    assert code == 0
    assert "nothing but what was there before" in said
    assert (tmp_path / "r.html").is_file()


def test_a_rehearsal_that_failed_exits_with_1_and_says_why(rehearsed):
    code, said = rehearsed(result(FAILED, "the node did not come"))
    assert code == 1
    assert "from zero: the node did not come" in said


def test_what_a_destroy_left_is_a_failure(rehearsed):
    code, said = rehearsed(result(left=("queue a",)))
    assert code == 1
    assert "queue a" in said


def test_ctrl_c_exits_with_130(monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("eks_rehearsal.rehearse.rehearse", stop)
    code, said = run(tmp_path)
    assert code == 130
    assert "nothing of the rehearsal runs any more" in said


def test_a_full_disk_is_said_without_a_traceback(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device", "/somewhere/etcd")

    monkeypatch.setattr("eks_rehearsal.rehearse.rehearse", full)
    code, said = run(tmp_path)
    assert code == 2
    assert "No space left on device /somewhere/etcd" in said


@pytest.fixture
def shown():
    """A terminal, or what is none, and what is read on it."""

    def make(**console):
        file = io.StringIO()
        terminal = Terminal(Console(file=file, width=100, **console), follow=False)
        return terminal, file.getvalue

    return make


def test_a_terminal_shows_how_far_a_build_is_and_then_that_it_is_there(shown):
    terminal, read = shown(force_terminal=True, force_interactive=True, color_system=None)
    terminal.started("kwok 0.8.0", "building, about 2 min")
    terminal.advanced("kwok 0.8.0", "modules downloaded", 7, 0)
    terminal._bar.refresh()
    terminal.advanced("kwok 0.8.0", "packages compiled", 412, 1180)
    terminal._bar.refresh()
    for part in ("kwok 0.8.0: modules downloaded", "7/?", "kwok 0.8.0: packages compiled", "412/1180"):
        assert part in read()
    terminal.finished("kwok 0.8.0", 61)
    assert read().endswith("kwok 0.8.0: there after 61 s\n")
    assert not terminal._bar.live.is_started


def test_where_there_is_no_terminal_a_line_now_and_then_says_how_far_a_build_is(shown, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: now[0])
    terminal, read = shown()
    terminal.started("kwok 0.8.0", "building, about 2 min")
    for done in range(1, 80):
        now[0] += 1
        terminal.advanced("kwok 0.8.0", "packages compiled", done, 1180)
    assert read().splitlines()[1:] == [
        "kwok 0.8.0: 30 of 1180 packages compiled",
        "kwok 0.8.0: 60 of 1180 packages compiled",
    ]


def test_a_build_that_fails_leaves_no_bar(monkeypatch, tmp_path):
    def fail(_, terminal, __):
        terminal._console.is_interactive = True
        terminal.advanced("kwok 0.8.0", "packages compiled", 1, 2)
        bars.append(terminal._bar)
        raise NotBuilt("cannot build kwok 0.8.0")

    bars = []
    monkeypatch.setattr("eks_rehearsal.rehearse.rehearse", fail)
    assert run(tmp_path)[0] == 2
    assert not bars[0].live.is_started


def test_help_waits_for_nothing_that_only_a_rehearsal_needs():
    heavy = ("moto", "boto3", "botocore", "cryptography", "requests", "jinja2", "yaml")
    script = f"import sys, eks_rehearsal.command; print([one for one in {heavy} if one in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_help_names_every_story_in_its_order():
    assert tuple(story.name for story in STORIES) == command.NAMES
    assert tuple(story.name for story in DESTROYS) == command.DESTROYS


def test_stories_are_chosen_by_a_pattern_too_and_those_of_a_destroy_only_when_asked_for():
    assert command._chosen(["scale", "destroy-*"]) == [STORIES[0], *DESTROYS]
    assert command._chosen([]) == list(STORIES)


def test_each_stage_that_is_named_has_a_report_of_its_own(monkeypatch, tmp_path):
    rehearsed = []
    folders = {"Beta": tmp_path / "b", "Prod": tmp_path / "p"}
    monkeypatch.setattr("eks_rehearsal.assembly.chosen", lambda *_: folders)
    verdicts = iter([result(FAILED, "no node"), result()])
    monkeypatch.setattr(
        "eks_rehearsal.rehearse.rehearse", lambda folder, *_: rehearsed.append(folder) or next(verdicts)
    )
    code, _ = run(tmp_path, "--report", tmp_path / "r.html")
    assert (code, rehearsed) == (1, list(folders.values()))
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["r-Beta.html", "r-Prod.html"]
