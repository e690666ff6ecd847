"""The report of a rehearsal, read as a browser reads it: what counts is what somebody is told."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from eks_rehearsal.report import write
from eks_rehearsal.result import FAILED, NOT_PLAYED, PASSED, Billed, Destroyed, Outcome, Permissions, Result
from eks_rehearsal.timeline import Moment

HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>&amp;"
NODE = "ip-10-0-1-2.eu-west-1.compute.internal"
DEPLOY = Outcome("deploy", "the stack comes up", PASSED, "", 0, 70)
SCALE = Outcome("scale", "from zero to a GPU and back", PASSED, "", 70, 120)
UPGRADE = Outcome("upgrade", "changed settings", NOT_PLAYED, "the stack has no chart", 120, 120)
DESTROY = Outcome("destroy", "nothing stays", PASSED, "", 120, 150)
BROKEN = replace(SCALE, verdict=FAILED, reason="the pod to run: it did not come, because no DaemonSet brings the GPU")
SPOT = Billed("i-0spot", "g6.xlarge", "gpu-l4", spot=True, began=75, ended=111, usd_per_hour=0.8)
ON_DEMAND = Billed("i-0demand", "p5.48xlarge", "gpu-h100", spot=False, began=80, ended=None, usd_per_hour=36.0)
MOMENTS = (
    Moment(5, "stack", "Vpc", "CREATE_COMPLETE"),
    Moment(71, "pod", "ai-workload-6d8f9c7b54-abcde", "Pending"),
    Moment(71.5, "event", "ai-workload-6d8f9c7b54-abcde", "FailedScheduling", "0/2 nodes are available"),
    Moment(72, "karpenter", "info", "created nodeclaim", '{"NodeClaim": "gpu-l4-x7k2p"}'),
    Moment(72, "nodeclaim", "gpu-l4-x7k2p", "created", "gpu-l4"),
    Moment(76, "node", NODE, "ready, no GPU to be seen"),
    Moment(80, "node", NODE, "ready, 1 GPU"),
    Moment(81, "pod", "ai-workload-6d8f9c7b54-abcde", "Running", f"on {NODE}"),
    Moment(90, "story", "ai-workload", "deleted"),
    Moment(91, "pod", "ai-workload-6d8f9c7b54-abcde", "gone"),
    Moment(100, "node", NODE, "ready, no GPU to be seen"),
    Moment(110, "node", NODE, "gone"),
)
GOOD = Result(
    stacks=("EksGpuStack",),
    region="eu-west-1",
    kubernetes="1.36.4",
    karpenter="1.14.3",
    notes=("the stack asks for 1.35",),
    outcomes=(DEPLOY, SCALE, DESTROY),
    moments=MOMENTS,
    billed=(SPOT, ON_DEMAND),
    left=(),
    seconds=150.0,
)
# What HTML never closes; SVG closes everything.
VOID = {"meta", "input", "img"}


class Page(HTMLParser):
    """A page's tags, attributes and texts; `inside` has the words of each tag, and those of the tags within."""

    def __init__(self, text):
        super().__init__()
        self.text = text
        self.tags = []
        self.attributes = []
        self.inside = []
        self._open = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append((tag, []))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        for _, words in self._open:
            words.append(data)

    def handle_endtag(self, tag):
        opened, words = self._open.pop()
        assert opened == tag
        self.inside.append((tag, " ".join("".join(words).split())))

    def all(self, tag):
        return [words for one, words in self.inside if one == tag]

    def section(self, heading):
        return next(words.removeprefix(heading).strip() for words in self.all("section") if words.startswith(heading))


@pytest.fixture
def page(tmp_path):
    def written(result):
        write(result, tmp_path / "of" / "report.html")
        return Page((tmp_path / "of" / "report.html").read_text(encoding="utf-8"))

    return written


def test_a_rehearsal_that_passed_says_so_in_one_sentence(page):
    assert page(GOOD).all("h1") == ["All 3 acts passed, and nothing was left in the account."]


def test_what_was_not_played_or_not_looked_for_is_not_counted_as_passed(page):
    partly = replace(GOOD, outcomes=(DEPLOY, SCALE, UPGRADE), left=None)
    assert page(partly).all("h1") == ["2 of 3 acts passed (upgrade not played), and the stacks were not destroyed."]
    nothing = page(replace(GOOD, outcomes=(UPGRADE,), left=None))
    assert nothing.all("h1") == ["Nothing was played, so nothing is shown."]
    assert "✓" not in nothing.text


def test_a_failure_is_the_headline_with_its_reason_in_full_and_its_story_is_open(page):
    failed = page(replace(GOOD, outcomes=(DEPLOY, BROKEN, UPGRADE, replace(DESTROY, verdict=FAILED, reason="x"))))
    (headline,) = failed.all("h1")
    assert headline == f"2 of 4 acts failed: scale ({SCALE.title}): {BROKEN.reason}; then destroy."
    assert failed.all("title")[0] == "Rehearsal failed: EksGpuStack"
    assert re.findall(r"<details open>\s*<summary><h3>(\w+)", failed.text) == ["scale", "destroy"]


def test_what_was_left_fails_the_rehearsal_and_is_named(page):
    left = page(replace(GOOD, left=("EBS volume vol-1", "log group /aws/eks")))
    assert left.all("h1") == [
        "Every act that was played passed, but the account still had EBS volume vol-1 and log group /aws/eks after destroy."
    ]
    assert left.section("Left in the account after destroy") == "EBS volume vol-1 log group /aws/eks"
    assert page(GOOD).section("Left in the account after destroy") == "Nothing."
    assert "not destroyed" in page(replace(GOOD, left=None)).section("Left in the account after destroy")


def test_each_destroy_in_which_something_went_wrong_is_told_in_its_own_words(page):
    failed = Destroyed(
        ("destroy-a", "destroy-b"),
        45.0,
        120.0,
        "Drain: cut",
        ("i-1 (g6.xlarge, running)",),
        said={"destroy-a": "pod x is there"},
    )
    done = Destroyed(("destroy-c",), 60.0, 30.0, "", (), said={"destroy-c": ""})
    told = page(replace(GOOD, destroyed=(failed, done))).section("Destroys")
    assert "destroy-a, destroy-bfailedpod x is therei-1 (g6.xlarge, running)45.0 s" in told
    assert "destroy-ccompletednone60.0 s" in told
    assert "Destroys" not in page(GOOD).all("h2")


def test_what_iam_denied_fails_the_rehearsal_and_what_it_did_not_decide_is_named(page):
    denied = "role/x may not ec2:RunInstances on *: no policy of the caller allows ec2:RunInstances"
    heading = "What IAM said of the calls of roles and users"
    said = Permissions(decided=9, undecided={"sns:ListTopics": 2}, late=1, denied={denied: 3})
    failed = page(replace(GOOD, permissions=said))
    assert failed.all("h1") == [f"Every act that was played passed, but {denied}."]
    assert failed.section(heading) == (
        "9 calls were decided, 3 of them denied; 2 were not decided "
        "not decided, as the answer hangs on what is not known of them: sns:ListTopics "
        "denied 1 times only because a policy had not spread yet "
        f"denied 3 times: {denied}"
    )
    passed = page(replace(GOOD, permissions=Permissions(decided=9)))
    assert passed.section(heading) == "9 calls were decided, 0 of them denied; 0 were not decided"
    assert heading not in page(GOOD).text


def test_every_act_is_in_the_table_with_its_verdict_seconds_and_reason(page):
    rows = page(replace(GOOD, outcomes=(DEPLOY, BROKEN, UPGRADE))).all("tr")
    assert "deploythe stack comes up✓ passed70.0 s" in rows
    assert f"scale{SCALE.title}✕ failed50.0 s{BROKEN.reason}" in rows
    assert "upgradechanged settings○ not played0.0 sthe stack has no chart" in rows


def test_every_instance_is_listed_with_what_it_cost_and_drawn_with_how_it_was_bought(page):
    shown = page(GOOD)
    assert "i-0spotg6.xlargegpu-l4spot75.0 s36.0 s$0.80 an hour$0.0080" in shown.all("tr")
    assert "i-0demandp5.48xlargegpu-h100on-demand80.0 s70.0 s, still running$36.00 an hour$0.7000" in shown.all("tr")
    assert {"g6.xlarge spot, pool gpu-l4", "p5.48xlarge on-demand, pool gpu-h100"} <= {*shown.all("text")}
    assert {"$0.0011 after 80.0 s", "$0.7080 after 150.0 s"} <= {*shown.all("title")}


def test_a_story_tells_its_moments_by_both_clocks_and_keeps_apart_what_others_said(page):
    shown = page(GOOD)
    deploy, scale, _ = shown.all("details")
    assert "5.0 s+5.0 sCloudFormationVpc CREATE_COMPLETE" in deploy
    assert "71.0 s+1.0 spodai-workload-6d8f9c7b54-abcde Pending" in scale
    assert "72.0 s+2.0 sKarpenter's loginfo created nodeclaim NodeClaim: gpu-l4-x7k2p" in scale
    classes = [value for name, value in shown.attributes if name == "class"]
    assert (classes.count("event"), classes.count("karpenter")) == (1, 1)


def test_a_bar_is_solid_only_while_its_thing_works(page):
    drawn = re.findall(r'class="piece( idle)?"[^>]*><title>(?:pod|node) (\S+): ([^<]*)', page(GOOD).text)
    assert [(bool(idle), re.split(r" \(on|, \d+\.", words)[0]) for idle, _, words in drawn] == [
        (True, "Pending"),
        (False, "Running"),
        (True, "ready, no GPU to be seen"),
        (False, "ready, 1 GPU"),
        (True, "ready, no GPU to be seen"),
    ]


def test_hostile_text_is_shown_and_never_run(page):
    told = Outcome(HOSTILE, HOSTILE, FAILED, f"\x1b[31m{HOSTILE}\x1b[0m\x00\ud800", 0, 9)
    moments = tuple(
        Moment(1, lane, HOSTILE, HOSTILE, HOSTILE) for lane in ("story", "pod", "node", "event", "karpenter", HOSTILE)
    )
    shown = page(
        Result(
            stacks=(HOSTILE,),
            region=HOSTILE,
            kubernetes=HOSTILE,
            karpenter=HOSTILE,
            notes=(HOSTILE,),
            outcomes=(told,),
            moments=moments,
            billed=(replace(SPOT, id=HOSTILE, type=HOSTILE, pool=HOSTILE),),
            left=(HOSTILE,),
            unknown=(HOSTILE,),
            seconds=10,
        )
    )
    assert not {"script", "img"} & {*shown.tags}
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    assert shown.all("dd").count(HOSTILE) == 5
    assert shown.all("h1")[0].count(HOSTILE) == 3
    assert not set("\x1b\x00\ud800") & {*shown.text}


def test_an_instance_without_a_price_is_not_said_to_be_free(page):
    rows = page(replace(GOOD, billed=(replace(SPOT, usd_per_hour=0),))).all("tr")
    assert "i-0spotg6.xlargegpu-l4spot75.0 s36.0 sno price knownunknown" in rows


def test_the_page_refers_to_nothing_outside_itself(page):
    shown = page(GOOD)
    assert not re.search(r"https?:|//|url\(|@import", shown.text)
    assert not {"script", "link", "img", "iframe", "a"} & {*shown.tags}
    assert not {"src", "href", "xlink:href", "style"} & {name for name, _ in shown.attributes}


def test_what_a_rehearsal_cannot_show_and_what_the_emulation_did_not_know_is_said(page):
    assert page(GOOD).section("What a rehearsal cannot show").startswith(GOOD.cannot_show[0])
    assert "Calls that" not in page(GOOD).text
    assert "ec2:Foo" in page(replace(GOOD, unknown=("ec2:Foo",))).section("Calls that the emulated AWS did not know")


def test_a_rehearsal_that_never_began_still_has_a_report(page):
    empty = replace(GOOD, stacks=(), notes=(), outcomes=(), moments=(), billed=(), left=None, seconds=0)
    assert page(empty).section("GPU instances") == "None."


def test_the_same_result_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write(GOOD, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_page_says_when_it_was(tmp_path):
    write(replace(GOOD, when="2026-11-23 20:37 UTC"), tmp_path / "r.html")
    assert "<dt>Began</dt><dd>2026-11-23 20:37 UTC</dd>" in (tmp_path / "r.html").read_text()
