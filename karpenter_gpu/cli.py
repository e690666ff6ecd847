"""The command line, `karpenter-gpu`."""

from __future__ import annotations

from importlib.util import find_spec

EXTRA = "karpenter-gpu[cli]"
NEEDED = ("boto3", "rich", "typer")


def main() -> None:
    """Run the command line; where the extra is not installed, say how to get it."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SystemExit(f"karpenter-gpu: {', '.join(missing)} cannot be imported; run: pip install '{EXTRA}'")
    from karpenter_gpu.commands import app  # noqa: PLC0415 - what it imports is the extra's

    app()
