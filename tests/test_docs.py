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


PLATFORM = {"cluster": {"name": "gpu", "kubernetes_version": "1.36"}, "pools": [{"name": "p", "gpu_limit": 0.5}]}


def settings_of(**changed):
    from karpenter_gpu import platform_from_context

    return platform_from_context({"profiles": {"p": PLATFORM | changed}})


@pytest.mark.parametrize(
    "fail",
    [
        settings_of,
        lambda: settings_of(karpenter={"version": "1.0.1", "values": {"settings": {"clusterName": "x"}}}),
        lambda: settings_of(cluster={"name": "${Token[x.1]}", "kubernetes_version": "1.99"}),
        lambda: settings_of(pools=[{"name": "p", "gpu_names": ["l5"], "gpu_limit": 4, "zones": ["a", "a"]}]),
        lambda: settings_of(device_plugin={"version": "0.99.0"}, colour="red"),
    ],
)
def test_every_error_is_found_by_its_words_on_the_page_of_errors(fail):
    from karpenter_gpu import InvalidSettings

    with pytest.raises(InvalidSettings) as caught:
        fail()
    page = (ROOT / "docs/reference/errors.md").read_text().replace("\\", "")
    texts = [line.removeprefix("- ").partition(" — ")[0] for line in page.splitlines() if line.startswith("- ")]
    patterns = [re.compile(re.escape(text).replace("…", ".*")) for text in texts]
    lost = [fault for fault in caught.value.faults if not any(one.fullmatch(fault.problem) for one in patterns)]
    assert lost == []


def test_the_page_of_errors_has_what_functions_and_commands_answer():
    page = (ROOT / "docs/reference/errors.md").read_text()
    for words in (
        "there is no EKS cluster … in this account and region; see 'aws eks list-clusters'",
        "--delete asks before it deletes, and there is no terminal to ask on",
        "is imported without its network; give vpc and cluster\\_security\\_group\\_id where it is imported",
        "the emulated EC2 has no list of what … offers",
    ):
        assert words in page, words
