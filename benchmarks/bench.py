"""Measures synthesis and rehearsals and writes `docs/benchmarks.md`: `make bench`, on a machine that does nothing else.

Every time is that of a whole new process (`python app`), so the CDK starts and loads in it; commands run in turn, and a
ratio is taken pair by pair, because machines are noisy.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from many_pods import many_pods  # noqa: E402

from tests.graph import Graph  # noqa: E402

ROUNDS = 7


def run(out: Path, *command: str, validate: bool) -> float:
    """Seconds that one synthesis takes."""
    environment = os.environ | {
        "CDK_OUTDIR": str(out),
        "CDK_VALIDATION": str(validate).lower(),
        # Says which file a nested stack is.
        "CDK_CONTEXT_JSON": json.dumps({"aws:cdk:enable-asset-metadata": True}),
        "PYTHONPATH": str(ROOT),
    }
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def shape_of(out: Path) -> dict[str, int]:
    """What a synthesized app would make, nested stacks included."""
    templates = {path.name: json.loads(path.read_text()) for path in sorted(out.glob("*.template.json"))}
    kinds: Counter[str] = Counter()
    for template in templates.values():
        kinds.update(resource["Type"] for resource in template["Resources"].values())
    (root,) = (name for name in templates if "nested" not in name)
    return {
        "resources": sum(kinds.values()),
        "templates": len(templates),
        "Lambda functions": kinds["AWS::Lambda::Function"],
        "custom resources": sum(n for kind, n in kinds.items() if kind.startswith("Custom::")),
        "of these CfnJson": kinds["Custom::AWSCDKCfnJson"],
        "IAM roles": kinds["AWS::IAM::Role"],
        "longest dependency chain": chain_length(templates, root),
        "template bytes": sum(path.stat().st_size for path in out.glob("*.template.json")),
    }


def chain_length(templates: dict[str, Any], name: str) -> int:
    """Resources that must be made one after the other; a nested stack is made after all that is in it."""
    graph = Graph(templates[name])

    @cache
    def length(resource: str) -> int:
        nested = graph.resources[resource].get("Metadata", {}).get("aws:asset:path")
        inside = chain_length(templates, nested) if nested in templates else 0
        return 1 + inside + max(map(length, graph.direct[resource]), default=0)

    return max(map(length, graph.resources))


def spread(times: list[float]) -> str:
    """Least, median and most."""
    return f"{min(times):.2f} / {statistics.median(times):.2f} / {max(times):.2f}"


def compared(scratch: Path) -> tuple[list[str], dict[str, dict[str, int]]]:
    """Ours and the peer's, in turn."""
    commands = {"ours": ("benchmarks/ours.py",), "cdk-eks-karpenter": ("benchmarks/peer.py",)}
    lines = ["| validator | ours, s | cdk-eks-karpenter, s | ratio ours/peer |", "|---|---|---|---|"]
    for validate in (True, False):
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(ROUNDS + 1):
            for name, command in commands.items():
                seconds = run(scratch / name, *command, validate=validate)
                if turn:
                    times[name].append(seconds)
            progress(f"validator {'on' if validate else 'off'}: {turn} of {ROUNDS} pairs")
        ratios = [a / b for a, b in zip(*times.values(), strict=True)]
        lines.append(
            f"| {'on' if validate else 'off'} | {spread(times['ours'])} | {spread(times['cdk-eks-karpenter'])} | "
            f"{spread(ratios)} |"
        )
    return lines, {name: shape_of(scratch / name) for name in commands}


def pools(scratch: Path) -> list[str]:
    """1, 10 and 100 pools, in turn."""
    counts = (1, 10, 100)
    times: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(ROUNDS + 1):
        for count in counts:
            seconds = run(scratch / f"pools-{count}", "benchmarks/ours.py", str(count), validate=True)
            if turn:
                times[count].append(seconds)
        progress(f"pools: {turn} of {ROUNDS} turns")
    lines = ["| pools | s | resources | longest chain | template bytes |", "|---|---|---|---|---|"]
    for count in counts:
        shape = shape_of(scratch / f"pools-{count}")
        lines.append(
            f"| {count} | {spread(times[count])} | {shape['resources']} | {shape['longest dependency chain']} | "
            f"{shape['template bytes']} |"
        )
    return lines


def progress(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr)


def main() -> None:
    """Measure and write the page."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        times, shapes = compared(scratch)
        rows: list[Any] = [(name, *(shape[name] for shape in shapes.values())) for name in shapes["ours"]]
        page = [
            "# Benchmarks",
            "",
            (
                f"Measured by `make bench` on {datetime.now(tz=timezone.utc).date()}: {os.cpu_count()} cores, Python "
                f"{platform.python_version()}, {ROUNDS} rounds after one that is not counted. Times are whole processes, "
                "least / median / most; ratios are of pairs that ran one after the other."
            ),
            "",
            "## Against cdk-eks-karpenter 1.0.27, at the same work",
            "",
            (
                "A VPC, a cluster with two system nodes, Karpenter, two GPU pools and the device plugin (which the peer does "
                "not have, so it is given ours). The validator is the CDK's own, on unless `CDK_VALIDATION=false`."
            ),
            "",
            *times,
            "",
            "| what is made | ours | cdk-eks-karpenter |",
            "|---|---|---|",
            *(f"| {name} | {ours} | {peer} |" for name, ours, peer in rows),
            "",
            (
                "Not the same in everything: ours has besides secrets encryption, flow logs, managed add-ons, an encrypted "
                "launch template, `karpenter-crd`, a dead-letter queue, node tags and security group, an admin role and the "
                "drain. A nested stack counts in a chain as what is in it, and one."
            ),
            "",
            "## Pools",
            "",
            *pools(scratch),
            "",
            "CloudFormation takes 500 resources and 1,000,000 bytes in a template.",
            "",
            "## A rehearsal with many pods",
            "",
            *many_pods(scratch),
        ]
    (ROOT / "docs" / "benchmarks.md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
