"""cdk-nag's AwsSolutions on every shape: no finding without an answer, and each answer on the thing it is about."""

import json

import pytest

from tests.shapes import CONTEXT, SHAPES, arguments

# isort: split
import aws_cdk as cdk
from aws_cdk import aws_sqs as sqs
from cdk_nag import AwsSolutionsChecks

from karpenter_gpu import EksGpuStack


def app_of(shape_name, out):
    app = cdk.App(context=CONTEXT | {"aws:cdk:disable-asset-staging": True}, outdir=str(out))
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app, EksGpuStack(app, "EksGpuStack", **arguments(shape_name))


def nag_report(out):
    reports = json.loads((out / "validation-report.json").read_text())["pluginReports"]
    (report,) = (report for report in reports if "AwsSolutions" in json.dumps(report))
    return report


@pytest.mark.parametrize("shape_name", SHAPES)
def test_every_finding_is_answered(shape_name, tmp_path):
    app, _ = app_of(shape_name, tmp_path)
    app.synth()


def test_a_finding_without_an_answer_stops_synthesis(tmp_path):
    app, stack = app_of("default", tmp_path)
    sqs.Queue(stack, "PlainQueue")
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert "PlainQueue" in json.dumps(nag_report(tmp_path))


def test_no_answer_is_given_for_a_whole_stack_or_construct(default):
    answered = [
        construct
        for construct in default.stack.node.find_all()
        for entry in construct.node.metadata
        if entry.type == "aws:cdk:acknowledged-rules"
    ]
    wide = {"EksGpuStack", "EksGpuStack/Eks", "EksGpuStack/Karpenter", "EksGpuStack/Network"}
    assert answered
    assert not wide & {construct.node.path for construct in answered}
