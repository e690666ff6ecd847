"""Ends a rehearsal's processes when the rehearsal is gone, however it went: run as a script, on nothing but Python.

It leads the process group of everything that a rehearsal starts, and reads a pipe whose other end only the rehearsal
holds. The pipe ends when the rehearsal does, even by `kill -9`; then the group and the run's folder go.
"""

import os
import shutil
import signal
import sys
import time

GRACE_SECONDS = 2.0


def main() -> None:
    """Wait for the pipe's end, and end the group."""
    folder = sys.argv[1]
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.write(1, b"!")  # Nothing is started before signals do no harm.
    while os.read(0, 4096):
        pass
    group = os.getpgrp()
    if os.fork():  # The leader stays, so that the group's number cannot become another's, until the child kills it too.
        time.sleep(60)
        return
    os.setpgid(0, 0)
    os.killpg(group, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(group, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
