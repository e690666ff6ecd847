"""`app.py` as a person runs it: the template, or sentences, and never something half-done."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

import app
import karpenter_gpu

# isort: split
from aws_cdk import aws_sqs as sqs

from tests.shapes import ACCOUNT, ROOT


def run(out, *, seed="0", **context):
    """Run app.py as the CLI does, with the context in the environment."""
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=os.environ
        | {
            "CDK_OUTDIR": str(out),
            "CDK_CONTEXT_JSON": json.dumps(context),
            "PYTHONHASHSEED": seed,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_same_settings_give_the_same_bytes_and_a_good_run_says_nothing(tmp_path, monkeypatch):
    ran = run(tmp_path / "there", seed="999")
    assert (ran.returncode, ran.stdout) == (0, "")
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path / "here"))
    assert app.main() == 0
    there, here = (
        {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (tmp_path / place).iterdir()
            # Where a construct was made, and there the CDK names a temporary directory of its own.
            if path.is_file() and not path.name.endswith(".metadata.json")
        }
        for place in ("there", "here")
    )
    assert there == here
    assert {"EksGpuStack.template.json", "manifest.json"} < set(here)


def test_faults_are_sentences_all_at_once_and_nothing_stays_that_could_be_deployed(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "EksGpuStack.template.json").write_text("{}")
    ran = run(
        tmp_path,
        **{
            "cluster.nmae": "x",
            "pools.inference.gpu_limit": "none",
            "pools.training.instance_families": "g4",
            "karpenter.version": "1.16.0",
            "cluster.kubernetes_version": "1.30",
        },
    )
    assert ran.returncode == 1
    lines = ran.stderr.strip().splitlines()
    assert lines[0] == "5 settings cannot be used:"
    assert [line.strip().partition(":")[0] for line in lines[1:]] == [
        "cluster.nmae",
        "pools.inference.gpu_limit",
        "pools.training.instance_families",
        "cluster.kubernetes_version",
        "karpenter.version",
    ]
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_cdk_nag_refuses_is_not_left_to_be_deployed(tmp_path, monkeypatch, capsys):
    made = app.EksGpuStack
    monkeypatch.setattr(app, "EksGpuStack", lambda *given, **named: sqs.Queue(made(*given, **named), "Plain"))
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path))
    assert app.main() == 1
    assert "Acknowledge with 'AwsSolutions::AwsSolutions-SQS3'" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.template.json"))
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CDK_DEFAULT_REGION": "us-east-1"}, None),
        ({"CDK_DEFAULT_REGION": "eu-west-1", "CDK_DEFAULT_ACCOUNT": ACCOUNT}, (ACCOUNT, "eu-west-1")),
    ],
)
def test_the_clis_region_counts_only_with_credentials(monkeypatch, environment, expected):
    for name in ("CDK_DEFAULT_REGION", "CDK_DEFAULT_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = app._environment(None, None)
    assert (found and (found.account, found.region)) == expected


def test_what_the_settings_say_comes_before_the_clis(monkeypatch):
    monkeypatch.setenv("CDK_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("CDK_DEFAULT_ACCOUNT", ACCOUNT)
    assert app._environment(None, "eu-west-1").region == "eu-west-1"
    assert app._environment(None, "eu-west-1").account is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"app": "x"}', "cdk.json: has no mapping 'context' with the profiles in it; take it from git"),
        ('{"context": {', "cdk.json: cannot be read as JSON: Expecting property name"),
        ("[]", "cdk.json: cannot be read as JSON: it is not a mapping"),
    ],
)
def test_a_cdk_json_that_cannot_be_used_is_a_sentence(tmp_path, monkeypatch, capsys, text, sentence):
    (tmp_path / "cdk.json").write_text(text)
    monkeypatch.setattr(app, "HERE", tmp_path)
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path / "out"))
    assert app.main() == 1
    assert sentence in capsys.readouterr().err


def test_an_app_of_ones_own_ends_with_its_faults_alone(capsys):
    with pytest.raises(SystemExit) as ended, karpenter_gpu.plain_faults():
        karpenter_gpu.GpuPool(name="A", gpu_names=("l4",), gpu_limit=1)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("1 setting cannot be used:\n  GpuPool(name=…): 'A' is not a DNS label")


def test_without_credentials_an_example_that_needs_them_says_so(tmp_path):
    plain = {name: text for name, text in os.environ.items() if not name.startswith("CDK_DEFAULT_")}
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "existing_cluster.py"],
        cwd=tmp_path,
        # A home that cannot be written, as in many a CI.
        env=plain | {"HOME": "/dev/null", "CDK_OUTDIR": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith(
        "1 setting cannot be used:\n  cluster=ExistingCluster(name=…): 'platform' is to be looked up, and account and"
    )
