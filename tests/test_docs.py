"""Docs that are generated say what the code says, and name only what is there."""

import importlib
import importlib.util
import re

import pytest

from tests.shapes import ROOT

spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("page", generate.PAGES)
def test_a_generated_page_is_up_to_date(page):
    assert (ROOT / "docs" / page).read_text() == generate.rendered(page), "run: make docs"


@pytest.mark.parametrize("row", generate.WALKTHROUGH, ids=lambda row: row.command[:40])
def test_every_command_of_the_walkthrough_has_its_part_and_its_test(row):
    module, _, name = generate.module_of(row.covered_by).rpartition(".")
    assert hasattr(importlib.import_module(module), name)
    file, _, test = row.test.partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)


def test_every_public_setting_is_on_the_settings_page():
    import dataclasses

    import karpenter_gpu

    public = {
        name
        for name in karpenter_gpu.__all__
        if isinstance(found := getattr(karpenter_gpu, name), type)
        and dataclasses.is_dataclass(found)
        and found is not karpenter_gpu.Fault
    }
    assert public == set(generate.SETTINGS)


LINKS = re.compile(r"\]\((?!https?://|#)([^)#]+)")


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(page):
    for target in LINKS.findall(page.read_text()):
        assert (page.parent / target).exists(), target
