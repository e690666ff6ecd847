"""Many GPU pods at once, in one rehearsal of our own stack: how long until all run, on how many instances, with how much memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eks_rehearsal.processes import wait_for
from eks_rehearsal.rehearse import Options, rehearse
from eks_rehearsal.scene import NODECLAIMS, Scene
from eks_rehearsal.stories import Story

ROOT = Path(__file__).parent.parent
COUNTS = (20, 100, 500)
PATIENCE_SECONDS = 900.0


class Silent:
    """Hears a rehearsal, and shows nothing of it."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def seconds_until(what: str, look: Callable[[], bool]) -> float:
    """How long it takes until something holds."""
    began = time.monotonic()
    wait_for(what, look, seconds=PATIENCE_SECONDS, every=1)
    return time.monotonic() - began


def row(scene: Scene, count: int) -> str:
    """Start pods that have a node each, wait for them, take them away, and tell it as a row."""
    before = len(scene.observer.instances)
    workload = scene.start(f"pods-{count}", replicas=count)
    came = seconds_until("all pods to run", lambda: len(workload.pods("Running")) == count)
    launched = len(scene.observer.instances) - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    scene.clear()
    went = seconds_until("all to be gone", lambda: not scene.instances() and not scene.kube.items(NODECLAIMS))
    return f"| {count} | {came:.0f} | {launched} | {went:.0f} | {memory:.1f} |"


def many_pods(scratch: Path) -> list[str]:
    """The table, measured here."""
    out, rows = scratch / "many-pods", []
    environment = os.environ | {"CDK_OUTDIR": str(out), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "benchmarks/ours.py", "1", str(max(COUNTS))]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)

    def play(scene: Scene) -> None:
        for count in COUNTS:
            rows.append(row(scene, count))
            print(rows[-1], file=sys.stderr)

    result = rehearse(out, Silent(), Options(stories=(Story("many", "many pods at once", play),)))
    if not result.passed:
        raise RuntimeError(str(result.outcomes))
    return [
        "| pods at once, a node each | s until all run | instances launched | s until all are gone | memory of the rehearsal, GiB |",
        "|---|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        print("\n".join(many_pods(Path(directory))))
