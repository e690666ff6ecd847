"""Functions run for real, from zip files, on this machine's Python and the Node.js of the CDK."""

import io
import json
import os
import stat
import threading
import time
import zipfile
from pathlib import Path

import pytest

from eks_rehearsal.errors import NotEmulated
from eks_rehearsal.functions import Functions
from eks_rehearsal.functions.runner import Function, decode
from eks_rehearsal.processes import Processes, wait_for

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:f"
ROLE = "arn:aws:iam::123456789012:role/f"


def zipped(files, modes=None):
    """A zip file as `zip` makes one, with modes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(entry, text)
    return packed.getvalue()


class World:
    def __init__(self, processes, unpacked):
        self.functions = {}
        self.runner = Functions(
            processes=processes,
            unpacked=unpacked,
            find=self.functions.__getitem__,
            credentials=lambda role, session: {"AWS_ACCESS_KEY_ID": f"key of {role} as {session}"},
            environment={"AWS_ENDPOINT_URL": "http://emulated", "AWS_REGION": "eu-west-1"},
            node=Path(os.environ["JSII_NODE"]),
            node_modules=unpacked / "sdk",
        )

    def invoke(self, code, event=None, *, files=None, name="f", timeout=30, later=None, modes=None, layers=(), **more):
        """What a function answers; `code` is its Python, unless `files` has all of it."""
        about = {"arn": ARN, "handler": "index.handler", "runtime": "python3.13", "role": ROLE, "memory": 256}
        about |= {"environment": {}, "layers": tuple(layers), "code": zipped(files or {"index.py": code}, modes)}
        self.functions[name] = Function(name=name, timeout=timeout, **{**about, **more})
        if later is not None:
            return self.runner.invoke_later(name, event, later)
        return self.runner.invoke(name, event)

    def node(self, code, event=None, *, file="index.js", **more):
        return self.invoke("", event, files={file: code}, runtime="nodejs24.x", **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Processes(tmp_path_factory.mktemp("run")) as processes:
        yield World(processes, tmp_path_factory.mktemp("unpacked"))


def test_a_python_handler_answers_its_event(world):
    answer = world.invoke("def handler(event, context): return {'got': event, 'n': 1}", {"a": ["ü"]})
    assert (answer.payload, answer.error) == ({"got": {"a": ["ü"]}, "n": 1}, "")


def test_a_node_handler_answers_its_event(world):
    answer = world.node("exports.handler = async (event, context) => ({ got: event, n: 1 });", {"a": ["ü"]})
    assert (answer.payload, answer.error) == ({"got": {"a": ["ü"]}, "n": 1}, "")


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("index.mjs", "export const handler = async () => 'module';"),
        ("index.js", "exports.handler = (event, context, callback) => setTimeout(() => callback(null, 'module'), 5);"),
        ("index.js", "exports.handler = () => 'module';"),
    ],
)
def test_a_node_handler_may_be_a_module_take_a_callback_or_answer_at_once(world, file, code):
    assert world.node(code, file=file).payload == "module"


def test_a_handler_may_lie_deep_and_answer_nothing(world):
    answer = world.invoke("", files={"deep/down.py": "def go(event, context): pass"}, handler="deep/down.go")
    assert (answer.payload, answer.error) == (None, "")


PYTHON_CONTEXT = """
def handler(event, context):
    return [context.function_name, context.invoked_function_arn, context.memory_limit_in_mb, context.log_group_name,
            bool(context.aws_request_id), context.get_remaining_time_in_millis()]
"""
NODE_CONTEXT = """
exports.handler = async (event, context) => [context.functionName, context.invokedFunctionArn,
    context.memoryLimitInMB, context.logGroupName, Boolean(context.awsRequestId), context.getRemainingTimeInMillis()];
"""


def test_a_handler_knows_its_invocation(world):
    for answer in (world.invoke(PYTHON_CONTEXT), world.node(NODE_CONTEXT)):
        *about, remaining = answer.payload
        assert about == ["f", ARN, "256", "/aws/lambda/f", True]
        assert 20_000 < remaining <= 30_000


HASTE = """
import time
def handler(event, context):
    began, left = time.time(), context.get_remaining_time_in_millis()
    time.sleep(10)
    return [time.time() - began, (left - context.get_remaining_time_in_millis()) / 1000]
"""


def test_a_python_functions_clock_and_its_limit_can_run_faster(world):
    world.runner.clock.run(50)
    try:
        began = time.monotonic()
        slept, passed = world.invoke(HASTE).payload
    finally:
        world.runner.clock.run(1)
    assert time.monotonic() - began < 10
    assert 10 <= slept < 60
    assert 9 <= passed < 60


def test_a_function_has_its_roles_credentials_its_own_variables_and_not_this_processs(world, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "mine")
    code = "import os\ndef handler(event, context): return dict(os.environ)"
    env = world.invoke(code, environment={"OWN": "yes"}).payload
    assert env["AWS_ACCESS_KEY_ID"] == f"key of {ROLE} as f"
    assert (env["OWN"], env["AWS_ENDPOINT_URL"], env["AWS_REGION"]) == ("yes", "http://emulated", "eu-west-1")
    assert (env["AWS_LAMBDA_FUNCTION_NAME"], env["_HANDLER"]) == ("f", "index.handler")
    assert "AWS_PROFILE" not in env


def test_a_function_finds_the_files_of_its_zip_where_it_stands(world):
    code = "def handler(event, context): return open('data.txt').read()"
    assert world.invoke("", files={"index.py": code, "data.txt": "there"}).payload == "there"


TOOLS = {
    "helm/helm": "#!/bin/sh\necho helm $1",
    "bin/tool": "#!/var/lang/bin/python3.13\nimport sys; print('python', sys.version_info[0])",
    "python/layered.py": "VALUE = 'from a layer'",
    "nodejs/node_modules/layered/index.js": "module.exports = 'from a layer';",
}
TOOL_MODES = {"helm/helm": 0o100755, "bin/tool": 0o100755}
RUN = """
import subprocess, layered
def handler(event, context):
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in event]
    return [layered.VALUE, *said]
"""


def test_programs_of_layers_are_on_the_path_and_their_packages_can_be_imported(world):
    layer = zipped(TOOLS, TOOL_MODES)
    answer = world.invoke(RUN, [["helm", "version"], ["tool"]], layers=[layer])
    assert answer.payload == ["from a layer", "helm version\n", "python 3\n"]
    assert world.node("exports.handler = async () => require('layered');", layers=[layer]).payload == "from a layer"


def test_modes_of_the_zip_are_restored_and_lambdas_python_becomes_this_one(world):
    folder = world.runner.layer(zipped(TOOLS, TOOL_MODES))
    assert stat.S_IMODE((folder / "helm/helm").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "python/layered.py").stat().st_mode) == 0o644
    assert (folder / "bin/tool").read_text().startswith("#!/usr/bin/env python3\nimport sys")
    assert (folder / "helm/helm").read_text() == TOOLS["helm/helm"]


def test_a_file_without_a_mode_can_be_read(world):
    folder = world.runner.layer(zipped({"plain": "x"}, {"plain": 0}))
    assert stat.S_IMODE((folder / "plain").stat().st_mode) == 0o600


def test_links_of_the_zip_are_links(world):
    folder = world.runner.layer(zipped({"bin/aws": "../cli/aws", "cli/aws": "#!/bin/sh"}, {"bin/aws": 0o120777}))
    assert (folder / "bin/aws").is_symlink()
    assert (folder / "bin/aws").read_text() == "#!/bin/sh"


def test_a_zip_is_unpacked_once(world):
    layer = zipped({"once": "x"})
    folder = world.runner.layer(layer)
    (folder / "mark").touch()
    assert (world.runner.layer(layer) / "mark").exists()
    assert world.runner.layer(zipped({"once": "y"})) != folder
    assert not list(folder.parent.glob("*.????????"))


def test_an_empty_zip_is_an_empty_folder(world):
    assert list(world.runner.layer(zipped({})).iterdir()) == []


def test_a_python_error_is_shown_as_lambda_shows_it(world):
    answer = world.invoke("def handler(event, context): raise KeyError('lost')")
    assert (answer.error, answer.payload["errorType"], answer.payload["errorMessage"]) == (
        "Unhandled",
        "KeyError",
        "'lost'",
    )
    assert any("index.py" in line for line in answer.payload["stackTrace"])
    assert answer.message == "'lost'"


def test_a_node_error_is_shown_as_lambda_shows_it(world):
    answer = world.node("exports.handler = async () => { throw new TypeError('lost'); };")
    assert (answer.error, answer.payload["errorType"], answer.payload["errorMessage"]) == (
        "Unhandled",
        "TypeError",
        "lost",
    )
    assert any("index.js" in line for line in answer.payload["trace"])


def test_a_module_that_cannot_be_imported_is_an_error(world):
    answer = world.invoke("import nowhere")
    assert (answer.error, answer.message) == ("Unhandled", "No module named 'nowhere'")


def test_the_runners_own_modules_are_not_the_functions(world):
    assert world.invoke("import runtime_python").message == "No module named 'runtime_python'"


def test_an_answer_that_is_not_json_is_an_error(world):
    answer = world.invoke("import datetime\ndef handler(event, context): return datetime.date(2026, 1, 1)")
    assert (answer.error, answer.payload["errorType"]) == ("Unhandled", "TypeError")
    assert "not JSON serializable" in answer.message


@pytest.mark.parametrize(
    ("runtime", "code"),
    [
        ("python", "import os, sys\ndef handler(event, context): print('bye', flush=True); os._exit(5)"),
        ("node", "exports.handler = async () => { console.log('bye'); process.exit(5); };"),
    ],
)
def test_a_function_that_ends_without_an_answer_says_its_last_words(world, runtime, code):
    answer = world.node(code) if runtime == "node" else world.invoke(code)
    assert (answer.error, answer.payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert answer.message == "f ended with exit code 5 and no answer; it said last: bye"


def test_a_function_that_takes_too_long_is_ended_and_its_words_are_kept(world):
    code = "import time\ndef handler(event, context): print('still at it', flush=True); time.sleep(600)"
    began = time.monotonic()
    answer = world.invoke(code, timeout=1)
    assert time.monotonic() - began < 5
    assert (answer.error, answer.message) == ("Unhandled", "Task timed out after 1 seconds")
    assert "still at it" in (world.runner.processes.folder / "functions.log").read_text()


def test_what_a_function_says_is_in_the_log(world):
    world.invoke("import sys\ndef handler(event, context): print('out'); print('err', file=sys.stderr)", name="talker")
    log = (world.runner.processes.folder / "functions.log").read_text()
    assert "out\nerr\n" in log[log.index("--- talker ") :]


def test_a_runtime_that_is_neither_is_refused(world):
    with pytest.raises(NotEmulated, match="runs Python and Node.js functions, not java21"):
        world.invoke("", runtime="java21")


def test_invoked_later_it_runs_beside_and_only_a_failure_is_told(world, tmp_path):
    failures, mark = [], tmp_path / "mark"
    world.invoke(
        f"def handler(event, context): open({str(mark)!r}, 'w').write('done')", name="good", later=failures.append
    )
    world.invoke("def handler(event, context): raise ValueError('bad')", name="bad", later=failures.append)
    wait_for("both", lambda: failures and mark.exists(), seconds=10, every=0.02)
    assert [answer.message for answer in failures] == ["bad"]


def test_what_cannot_be_run_later_is_told_too(world):
    failures, told = [], threading.Event()
    world.invoke("", runtime="java21", later=lambda answer: (failures.append(answer), told.set()))
    assert told.wait(5)
    assert failures[0].error == "Unhandled"
    assert "not java21" in failures[0].message


def test_a_function_that_is_not_there_is_refused_at_once(world):
    with pytest.raises(KeyError):
        world.runner.invoke_later("nowhere", {})


def test_an_invocation_without_a_payload_has_an_empty_event():
    assert decode(b"") == decode(b" ") == {}
    assert decode(json.dumps([1]).encode()) == [1]
