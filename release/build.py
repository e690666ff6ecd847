"""Both distributions as they go to PyPI, in dist: make release PROJECT_URL=https://github.com/OWNER/NAME.

Where the project lives is said once, at its release: it becomes the project's URLs, and the links and images of the READMEs, which
lead nowhere on PyPI as they stand in the repository. They are written into a copy of what git tracks, from which sdist and wheel are
built, so that the sdist says the same. A metadata hook of hatchling could not do that: it has to be in each sdist, and of
`eks_rehearsal` everything there is in the package.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
# Each distribution's folder in the repository.
HOUSES = (".", "eks_rehearsal")
# A link or an image of Markdown, and where it leads.
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def version(house: str, root: Path = ROOT) -> str:
    """The version of a distribution."""
    found: str = tomllib.loads((root / house / "pyproject.toml").read_text())["project"]["version"]
    return found


def faults(url: str, tag: str, root: Path = ROOT) -> list[str]:
    """Why this is no release, a sentence each."""
    versions = {house: version(house, root) for house in HOUSES}
    ours = versions["."]
    found = []
    if not re.fullmatch(r"https://[^/\s]+/[^/\s]+/[^/\s]+", url):
        found.append(
            f"PROJECT_URL: {url!r} is not where the project lives; give it: make release PROJECT_URL=https://github.com/OWNER/NAME"
        )
    if len(set(versions.values())) > 1:
        said = " and ".join(f"{house}/pyproject.toml says {one}" for house, one in versions.items())
        found.append(f"version: {said}; both are released together, give them the same")
    if tag and tag != f"v{ours}":
        found.append(
            f"tag: {tag!r} is not of version {ours}; tag v{ours}, or change the version in both pyproject.toml"
        )
    if not re.search(rf"^## {re.escape(ours)} - \d{{4}}-\d\d-\d\d$", (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        found.append(f"CHANGELOG.md: has no section '## {ours} - YYYY-MM-DD'; give what is unreleased that heading")
    return found


def absolute(text: str, url: str, ref: str, house: str, root: Path = ROOT) -> str:
    """A README whose links and images lead into the repository from anywhere."""

    def link(found: re.Match[str]) -> str:
        image, words, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, _, anchor = target.partition("#")
        place = (root / house / path).resolve()
        kind = "raw" if image else "tree" if place.is_dir() else "blob"
        said = place.relative_to(root.resolve()).as_posix() + (f"#{anchor}" if anchor else "")
        return f"{image}[{words}]({url}/{kind}/{ref}/{said})"

    return LINK.sub(link, text)


def urls(url: str, ref: str, house: str) -> str:
    """The table of a `pyproject.toml` that says where the project lives."""
    pages = {
        "Homepage": url if house == "." else f"{url}/tree/{ref}/{house}",
        "Documentation": f"{url}/tree/{ref}/docs",
        "Source": url,
        "Issues": f"{url}/issues",
        "Changelog": f"{url}/blob/{ref}/CHANGELOG.md",
    }
    return "\n[project.urls]\n" + "".join(f'{name} = "{page}"\n' for name, page in pages.items())


def prepare(copy: Path, url: str, ref: str) -> None:
    """What is tracked, with what the release says, in a folder."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        # A file that is deleted and not committed yet is tracked, too.
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for house in HOUSES:
        readme, project = copy / house / "README.md", copy / house / "pyproject.toml"
        readme.write_text(absolute(readme.read_text(), url, ref, house))
        project.write_text(project.read_text() + urls(url, ref, house))


def build(url: str, ref: str, into: Path) -> list[str]:
    """Both sdists, and from each its wheel."""
    shutil.rmtree(into, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), url, ref)
        for house in HOUSES:
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(Path(folder, house))]
            made = subprocess.run(command, check=False, capture_output=True, text=True)
            if made.returncode:
                sys.exit(f"{house} cannot be built:\n{made.stdout}{made.stderr}")
    return sorted(map(str, into.iterdir()))


def look(made: list[str]) -> int:
    """What PyPI would say of them, and what is in the wheels that should not be."""
    metadata = [sys.executable, "-m", "twine", "check", "--strict", *made]
    contents = [sys.executable, "-m", "check_wheel_contents", *(name for name in made if name.endswith(".whl"))]
    return max(subprocess.run(command, check=False).returncode for command in (metadata, contents))


def main() -> int:
    """Build, or say why not."""
    asked = argparse.ArgumentParser(description="Both distributions, in dist.")
    asked.add_argument(
        "--draft", action="store_true", help="only to look at: under any URL, whatever the changelog says"
    )
    draft = asked.parse_args().draft
    url = os.environ.get("PROJECT_URL", "") or ("https://example.org/team/karpenter-gpu" if draft else "")
    found = [] if draft else faults(url, os.environ.get("RELEASE_TAG", ""))
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else look(build(url, f"v{version('.')}", ROOT / "dist"))


if __name__ == "__main__":
    sys.exit(main())
