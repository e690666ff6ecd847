"""The other evaluator, @cloud-copilot/iam-simulate, as a process that is asked line by line.

It is AGPL-3.0: `make conformance` installs it beside this file to compare with, and nothing of it is in a wheel.
"""

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


class Other:
    def __enter__(self):
        command = ["node", "oracle.mjs"]
        self._node = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self._node.stdin.close()
        self._node.wait()
        self._node.stdout.close()

    def allows(self, several):
        """Whether each request is allowed, in the order of the requests."""
        for case in several:
            self._node.stdin.write(f"{json.dumps(case)}\n")
            self._node.stdin.flush()
            said = self._node.stdout.readline().strip()
            assert said in ("Allowed", "ImplicitlyDenied", "ExplicitlyDenied"), said
            yield said == "Allowed"
