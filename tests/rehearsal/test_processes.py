import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.processes import Processes, free_port, run_captured, wait_for

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def lives(pid):
    """Whether it runs; what is dead and was not buried does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z" if Path("/proc/self").exists() else True
    except FileNotFoundError:
        return False


def python(program):
    return [sys.executable, "-I", "-S", "-c", program]


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path) as running:
        yield running


def said(process, word):
    return wait_for(f"the word {word}", lambda: word in process.last_words(), seconds=10, every=0.02)


def test_what_a_process_says_is_in_its_log(processes):
    process = processes.start("talker", ["sh", "-c", "echo one; echo two >&2; echo $WORD"], env={"WORD": "three"})
    wait_for("its end", lambda: not process.running, seconds=10, every=0.02)
    assert process.exit_code == 0
    assert process.log == processes.folder / "talker.log"
    assert process.log.read_text() == "one\ntwo\nthree\n"
    assert process.last_words(2) == "two\nthree"


def test_each_line_of_its_errors_is_told_while_a_program_runs(processes):
    waits = "while [ ! -e heard ]; do sleep 0.05; done"
    told = []

    def heard(line):
        told.append(line)
        (processes.folder / "heard").touch()

    done = processes.run(["timeout", "10", "sh", "-c", f"echo one >&2; {waits}; echo two"], heard=heard)
    assert told == ["one"]
    assert (done.returncode, done.stdout, done.stderr) == (0, "two\n", "one\n")


def test_a_program_whose_lines_nobody_can_bear_is_ended(tmp_path):
    def heard(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_captured(["sh", "-c", "echo $$ > pid; echo one >&2; exec sleep 600"], cwd=tmp_path, heard=heard)
    assert not lives(int((tmp_path / "pid").read_text()))


def test_a_process_has_only_the_environment_it_is_given(processes):
    done = processes.run(["/usr/bin/env"], env={"ONLY": "this"})
    assert "ONLY=this" in done.stdout
    assert "HOME=" not in done.stdout


def test_without_one_it_has_this_processs_own(processes, monkeypatch):
    monkeypatch.setenv("REHEARSAL_TEST", "here")
    assert "REHEARSAL_TEST=here" in processes.run(["/usr/bin/env"]).stdout


def test_stop_ends_a_process_and_leaves_the_others(processes):
    one, other = processes.start("one", ["sleep", "600"]), processes.start("other", ["sleep", "600"])
    one.stop()
    assert (one.running, one.exit_code) == (False, -signal.SIGTERM)
    assert other.running


def test_stopping_what_has_ended_is_no_error(processes):
    process = processes.start("short", ["true"])
    process.stop()
    process.stop()
    assert not process.running


def test_a_process_that_ignores_the_signal_is_killed(processes):
    process = processes.start("deaf", python(DEAF))
    said(process, "deaf")
    process.stop(grace=0.1)
    assert process.exit_code == -signal.SIGKILL


def test_close_ends_all_and_removes_the_folder(tmp_path):
    processes = Processes(tmp_path)
    started = [processes.start(f"p{number}", ["sleep", "600"]) for number in range(3)]
    (processes.folder / "state" / "deep").mkdir(parents=True)
    processes.close()
    assert not any(process.running for process in started)
    assert list(tmp_path.iterdir()) == []


def test_close_ends_the_last_started_first(tmp_path):
    processes = Processes(tmp_path)
    note = tmp_path / "order"
    for name in ("database", "server"):
        process = processes.start(
            name, ["sh", "-c", f"trap 'echo {name} >> {note}; exit' TERM; echo up; while :; do sleep 0.02; done"]
        )
        said(process, "up")
    processes.close()
    assert note.read_text().split() == ["server", "database"]


def test_closing_again_is_no_error(tmp_path):
    processes = Processes(tmp_path)
    processes.close()
    processes.close()


def test_nothing_starts_after_the_close(tmp_path):
    processes = Processes(tmp_path)
    processes.close()
    with pytest.raises(FileNotFoundError):
        processes.start("late", ["sleep", "600"])


def test_grandchildren_end_with_the_close(tmp_path):
    processes = Processes(tmp_path)
    process = processes.start("parent", ["sh", "-c", "sleep 600 & echo child $!; exec sleep 600"])
    said(process, "child")
    grandchild = int(process.last_words().split()[1])
    assert lives(grandchild)
    processes.close()
    wait_for("the grandchild's end", lambda: not lives(grandchild), seconds=5, every=0.02)


def test_grandchildren_end_even_when_the_watchdog_was_killed_before(tmp_path):
    processes = Processes(tmp_path)
    process = processes.start("parent", ["sh", "-c", "sleep 600 & echo child $!; exec sleep 600"])
    said(process, "child")
    grandchild = int(process.last_words().split()[1])
    os.kill(processes._watchdog.pid, signal.SIGKILL)
    wait_for("the watchdog's end", lambda: not lives(processes._watchdog.pid), seconds=5, every=0.02)
    processes.close()
    wait_for("the grandchild's end", lambda: not lives(grandchild), seconds=5, every=0.02)


def test_two_runs_at_once_do_not_touch_each_other(tmp_path):
    with Processes(tmp_path) as other:
        process = other.start("theirs", ["sleep", "600"])
        with Processes(tmp_path) as mine:
            mine.start("theirs", ["sleep", "600"])
            assert mine.folder != other.folder
        assert process.running
        assert other.folder.is_dir()


def test_run_takes_what_a_program_says_and_how_it_ended(processes):
    done = processes.run(["sh", "-c", "cat; echo wrong >&2; exit 3"], input="asked")
    assert (done.stdout, done.stderr, done.returncode) == ("asked", "wrong\n", 3)


def test_run_works_in_the_runs_folder_and_reads_nothing_unless_told(processes, tmp_path):
    assert processes.run(["pwd"]).stdout.strip() == str(processes.folder.resolve())
    assert processes.run(["pwd"], cwd=tmp_path).stdout.strip() == str(tmp_path.resolve())
    assert processes.run(["cat"]).stdout == ""


def test_run_kills_what_takes_too_long(processes):
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["sleep", "600"], timeout=0.1)


def test_what_run_runs_ends_with_the_close(tmp_path):
    processes = Processes(tmp_path)
    done = processes.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"])
    assert lives(int(done.stdout))
    processes.close()
    wait_for("its end", lambda: not lives(int(done.stdout)), seconds=5, every=0.02)


def test_wait_for_gives_the_first_true_answer():
    answers = iter([None, 0, "", "there", "later"])
    assert wait_for("it", lambda: next(answers), seconds=5, every=0) == "there"


def test_wait_for_says_what_did_not_come():
    began = time.monotonic()
    with pytest.raises(RehearsalError, match="the moon did not come true within 0 s"):
        wait_for("the moon", lambda: None, seconds=0.1, every=0.02)
    assert time.monotonic() - began < 5


def test_wait_for_names_the_process_that_ended_its_exit_code_and_last_words(processes):
    lasting = processes.start("lasting", ["sleep", "600"])
    ended = processes.start("etcd", ["sh", "-c", "echo starting; echo no space left >&2; exit 7"])
    with pytest.raises(
        RehearsalError, match="(?s)etcd ended with exit code 7 while the server was awaited; .*starting\nno space left"
    ):
        wait_for("the server", lambda: None, seconds=10, every=0.02, alive=[lasting, ended])


def test_what_has_come_true_counts_although_a_process_ended(processes):
    ended = processes.start("job", ["true"])
    ended.stop()
    assert wait_for("the result", lambda: 42, seconds=1, alive=[ended]) == 42


def test_a_free_port_can_be_listened_on():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()
