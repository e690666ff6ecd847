"""What is left of a rehearsal that was killed: nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eks_rehearsal.processes import wait_for

ROOT = Path(__file__).parents[2]
PARENT = """
import sys, time
from pathlib import Path
from eks_rehearsal.processes import Processes
processes = Processes(Path(sys.argv[1]))
note = Path(sys.argv[1]).with_suffix(".note")
plain = processes.start("plain", ["sh", "-c", f"trap 'touch {note}; exit' TERM; echo up; sleep 600 & wait"])
deaf = processes.start("deaf", ["sh", "-c", "trap '' TERM; sleep 601 & echo $!; wait"])
while not (deaf.last_words() and plain.last_words()):
    time.sleep(0.02)
print(processes._watchdog.pid, plain._popen.pid, deaf._popen.pid, deaf.last_words(), flush=True)
HOW
"""


def lives(pid):
    """Whether it runs; what is dead and was not buried does not."""
    try:
        os.kill(pid, 0)
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def started(folder, how):
    program = PARENT.replace("HOW", how)
    command = [sys.executable, "-c", program, str(folder)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with parent.stdout:
        return parent, [int(pid) for pid in parent.stdout.readline().split()]


def killed(folder):
    parent, pids = started(folder, "time.sleep(600)")
    assert all(lives(pid) for pid in pids)
    os.kill(parent.pid, signal.SIGKILL)
    assert parent.wait() == -signal.SIGKILL
    return pids


def forgetful(folder):
    parent, pids = started(folder, "sys.exit(3)")
    assert parent.wait() == 3
    return pids


def signalled(folder):
    parent, pids = started(folder, "time.sleep(600)")
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pids[0], sent)
    parent.kill()
    parent.wait()
    return pids


WAYS = (killed, forgetful, signalled)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder and the processes of each way to end; all at once, as each takes the watchdog's seconds of grace."""
    folders = {way: tmp_path_factory.mktemp(way.__name__) for way in WAYS}
    return {way: (folder, way(folder)) for way, folder in folders.items()}


def assert_nothing_is_left(folder, pids):
    assert len(pids) == 4
    wait_for("the end of all", lambda: not any(lives(pid) for pid in pids), seconds=8, every=0.05)
    wait_for("the folder's end", lambda: not list(folder.iterdir()), seconds=3, every=0.05)


def test_all_end_and_the_folder_goes_when_the_parent_is_killed(ended):
    assert_nothing_is_left(*ended[killed])


def test_all_end_when_the_parent_forgets_to_close(ended):
    assert_nothing_is_left(*ended[forgetful])


def test_the_watchdog_outlives_signals_that_are_meant_for_the_rehearsal(ended):
    assert_nothing_is_left(*ended[signalled])


def test_what_can_end_by_itself_is_let_to(ended):
    folder, _ = ended[killed]
    wait_for("the note", folder.with_suffix(".note").exists, seconds=3, every=0.05)
