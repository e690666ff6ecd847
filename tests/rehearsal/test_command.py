import pytest
from typer.testing import CliRunner

from karpenter_gpu import cli
from karpenter_gpu.rehearsal import command
from karpenter_gpu.rehearsal.command import app
from karpenter_gpu.rehearsal.result import FAILED, PASSED, Outcome, Result

RUNNER = CliRunner()


def run(*args):
    done = RUNNER.invoke(app, ["rehearse", *map(str, args)])
    return done.exit_code, " ".join(done.output.split())


def result(verdict=PASSED, reason="", left=()):
    outcome = Outcome("scale", "from zero", verdict, reason, 1.0, 2.0)
    return Result(("s",), "us-east-1", "1.36.4", "1.14.3", (), (outcome,), (), (), left, seconds=3.0)


@pytest.fixture
def rehearsed(monkeypatch, tmp_path):
    """Runs the command on a result that is there already."""

    def go(what):
        monkeypatch.setattr(command, "rehearse", lambda *_: what)
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

    monkeypatch.setattr(command, "rehearse", stop)
    code, said = run(tmp_path)
    assert code == 130
    assert "nothing of the rehearsal runs any more" in said


def test_a_full_disk_is_said_without_a_traceback(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device", "/somewhere/etcd")

    monkeypatch.setattr(command, "rehearse", full)
    code, said = run(tmp_path)
    assert code == 2
    assert "No space left on device /somewhere/etcd" in said


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(cli, "NEEDED", ("json", "no_such_module"))
    with pytest.raises(
        SystemExit, match=r"no_such_module cannot be imported; run: pip install 'karpenter-gpu\[rehearsal\]'"
    ):
        cli.main()
