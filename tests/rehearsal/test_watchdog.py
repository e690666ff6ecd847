"""What is left of a rehearsal that was killed: nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from karpenter_gpu.rehearsal.processes import wait_for

ROOT = Path(__file__).parents[2]
PARENT = """
import sys, time
from pathlib import Path
from karpenter_gpu.rehearsal.processes import Processes
processes = Processes(Path(sys.argv[1]))
plain = processes.start("plain", ["sleep", "600"])
deaf = processes.start("deaf", ["sh", "-c", "trap '' TERM; sleep 601 & echo $!; while :; do sleep 1; done"])
while not deaf.last_words():
    time.sleep(0.02)
print(processes._watchdog.pid, plain._popen.pid, deaf._popen.pid, deaf.last_words(), flush=True)
HOW
"""
PACKAGE = "import sys, types; package = sys.modules['karpenter_gpu'] = types.ModuleType('karpenter_gpu'); package.__path__ = [{path!r}]"


def lives(pid):
    """Whether it runs; what is dead and was not buried does not."""
    try:
        os.kill(pid, 0)
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def parent(folder, how):
    # The package without its __init__, which takes a second to import the CDK.
    program = PACKAGE.format(path=str(ROOT / "karpenter_gpu")) + PARENT.replace("HOW", how)
    started = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    with started.stdout:
        return started, [int(pid) for pid in started.stdout.readline().split()]


def test_all_end_and_the_folder_goes_when_the_parent_is_killed(tmp_path):
    killed, pids = parent(tmp_path, "time.sleep(600)")
    assert len(pids) == 4
    assert all(lives(pid) for pid in pids)
    assert len(list(tmp_path.iterdir())) == 1
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    wait_for("the end of all", lambda: not any(lives(pid) for pid in pids), seconds=8, every=0.05)
    wait_for("the folder's end", lambda: not list(tmp_path.iterdir()), seconds=3, every=0.05)


def test_all_end_when_the_parent_forgets_to_close(tmp_path):
    ended, pids = parent(tmp_path, "sys.exit(3)")
    assert ended.wait() == 3
    wait_for("the end of all", lambda: not any(lives(pid) for pid in pids), seconds=8, every=0.05)
    wait_for("the folder's end", lambda: not list(tmp_path.iterdir()), seconds=3, every=0.05)


def test_the_watchdog_outlives_signals_that_are_meant_for_the_rehearsal(tmp_path):
    killed, (watchdog, *others) = parent(tmp_path, "time.sleep(600)")
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(watchdog, sent)
    assert lives(watchdog)
    killed.kill()
    killed.wait()
    wait_for("the end of all", lambda: not any(map(lives, [watchdog, *others])), seconds=8, every=0.05)
