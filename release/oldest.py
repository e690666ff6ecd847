"""The fast suite with the oldest dependencies that both `pyproject.toml` allow, in an environment of its own: make oldest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
HOUSES = (ROOT, ROOT / "eks_rehearsal")
ENVIRONMENT = ROOT / "build" / "oldest"
TOOLS = ("requirements.txt", "requirements-rehearsal.txt", "requirements-dev.txt")


def name_of(requirement: str) -> str:
    """The name in a requirement, as PyPI compares it."""
    return re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0].replace("_", "-").lower()


def dependencies() -> set[str]:
    """What either distribution asks for, in any of its extras."""
    found: list[str] = []
    for house in HOUSES:
        project = tomllib.loads((house / "pyproject.toml").read_text())["project"]
        found += [
            *project["dependencies"],
            *(one for extra in project.get("optional-dependencies", {}).values() for one in extra),
        ]
    return {name_of(one) for one in found}


def tools() -> list[str]:
    """What the tests need besides, as it is pinned."""
    lines = [line.partition("#")[0].strip() for file in TOOLS for line in (ROOT / file).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("-") and name_of(line) not in dependencies()]


def main() -> int:
    """Make the environment, and run the suite in it."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)], check=True)
    python = ENVIRONMENT / "bin" / "python"
    asked = ["--editable", f"{ROOT}[node,cli]", "--editable", str(ROOT / "eks_rehearsal"), *tools()]
    options = ["--quiet", "--python", str(python), "--resolution", "lowest-direct"]
    subprocess.run([*uv, "pip", "install", *options, *asked], check=True)
    env = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    suite = ["-m", "pytest", "--numprocesses", "auto", "--dist", "loadfile", "--quiet", *sys.argv[1:]]
    return subprocess.run([str(python), *suite], cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
