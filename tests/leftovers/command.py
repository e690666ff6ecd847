"""`karpenter-gpu verify-clean` as a person runs it, against the emulated account."""

import json
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from eks_rehearsal.iam.evaluator import Caller, Policies, Policy, Request, decide
from karpenter_gpu.commands import app


@contextmanager
def asking(aws):
    """Whoever runs the command asks this AWS, with the account's own keys and nobody's settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAREHEARSALROOT001")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "rehearsal")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr("karpenter_gpu.leftovers.remove.HELD_SECONDS", 5)
        patch.setattr("karpenter_gpu.leftovers.remove.LOOK_EVERY_SECONDS", 0.01)
        yield patch


def run(*args, cluster="gpu", region="eu-west-1"):
    """The exit code, and what it said."""
    done = CliRunner().invoke(
        app, ["verify-clean", "--cluster", cluster, "--region", region, *args], catch_exceptions=False
    )
    return done.exit_code, done.output


def document(*args, **where):
    """The exit code, and the document of `--json`."""
    code, said = run("--json", *args, **where)
    assert "{\n" in said, said
    return code, json.loads(said[said.index("{\n") :])


def policy(*args):
    """The document of `--policy`."""
    return json.loads(CliRunner().invoke(app, ["verify-clean", "--policy", *args], catch_exceptions=False).output)


# The signing names of services that IAM calls otherwise.
SERVICES = {"tagging": "tag"}


def asked_for(calls):
    """What each call asks IAM for, and in which region; who one is needs no permission."""
    return {
        f"{SERVICES.get(call.service, call.service)}:{call.action}": call.region
        for call in calls
        if call.service != "sts"
    }


def denied(document, calls):
    """The actions of the calls that a policy does not allow."""
    caller = Caller({"AWS": frozenset({"arn:aws:iam::123456789012:user/person"})}, account="123456789012")
    policies = Policies(identity=[Policy.read("printed", document)])
    return {
        action
        for action, region in asked_for(calls).items()
        if not decide(policies, Request(action, "*", caller, {"aws:requestedregion": (region,)})).allowed
    }
