"""Runs a program under a host name of its own, as a container's is its pod's: `named.py NAME PROGRAM [ARGUMENT...]`.

A host name belongs to a Linux namespace, which a person may make without being root where the machine allows user
namespaces. Where it does not (https://ubuntu.com/blog/ubuntu-23-10-restricted-unprivileged-user-namespaces), or there are
none, the program runs under this machine's name: what it calls itself is all that differs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000


def take(name: str) -> None:
    """Take a host name in a namespace of this process.

    Raises:
        OSError: The machine does not let a person.
    """
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWUTS):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    if libc.sethostname(name.encode(), len(name.encode())):
        raise OSError(ctypes.get_errno(), "sethostname")


if __name__ == "__main__":
    with contextlib.suppress(OSError, AttributeError):
        take(sys.argv[1])
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - a program and its arguments, of the rehearsal's own
