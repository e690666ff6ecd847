"""Assemblies as the CDK writes them: stages, a pipeline's among them, nested stacks, a bootstrap of one's own."""

import json

import pytest
from aws_cdk import App, CfnResource, DefaultStackSynthesizer, NestedStack, Stack, Stage, pipelines
from aws_cdk import aws_codecommit as codecommit

from eks_rehearsal.assembly import HELM_CHART, Assembly, chosen
from eks_rehearsal.errors import RehearsalError
from eks_rehearsal.stories.upgrade import publish_anew

CHART = {"Repository": "oci://public.ecr.aws/karpenter/karpenter", "Release": "karpenter", "Version": "1.14.3"}


def karpenter(scope):
    CfnResource(scope, "Chart", type=HELM_CHART, properties=CHART)


def stage(scope, name, *, has_karpenter=True):
    made = Stage(scope, name)
    stack = Stack(made, "Gpu")
    if has_karpenter:
        karpenter(stack)
    else:
        CfnResource(stack, "Topic", type="AWS::SNS::Topic")
    return made


@pytest.fixture
def app(tmp_path):
    return App(outdir=str(tmp_path / "cdk.out"), analytics_reporting=False)


def synthesized(app, tmp_path):
    app.synth()
    return tmp_path / "cdk.out"


def test_the_one_stage_with_karpenter_is_rehearsed(app, tmp_path):
    stage(app, "Shared", has_karpenter=False)
    stage(app, "Prod")
    folder = synthesized(app, tmp_path)
    assert chosen(folder, []) == {"Prod": folder / "assembly-Prod"}
    assembly = Assembly.read(folder / "assembly-Prod")
    assert (assembly.karpenter, assembly.root) == ("1.14.3", folder)
    assert [stack.name for stack in assembly.stacks] == ["Prod-Gpu"]


def test_of_several_stages_one_is_named_or_all_are(app, tmp_path):
    for name in ("Beta", "Prod"):
        stage(app, name)
    folder = synthesized(app, tmp_path)
    with pytest.raises(RehearsalError, match="Karpenter in the stages Beta, Prod; name one with --stage"):
        chosen(folder, [])
    assert list(chosen(folder, ["Prod"])) == ["Prod"]
    assert list(chosen(folder, ["all"])) == ["Beta", "Prod"]
    with pytest.raises(RehearsalError, match="has no stage Pord; there are Beta, Prod"):
        chosen(folder, ["Pord"])


def test_an_app_with_karpenter_outside_of_its_stages_is_rehearsed_as_it_is(app, tmp_path):
    stage(app, "Prod")
    karpenter(Stack(app, "Own"))
    folder = synthesized(app, tmp_path)
    assert chosen(folder, []) == {"": folder}


def test_the_stage_that_a_pipeline_deploys_is_rehearsed(app, tmp_path):
    stack = Stack(app, "Pipeline")
    source = pipelines.CodePipelineSource.code_commit(
        codecommit.Repository.from_repository_name(stack, "Source", "app"), "main"
    )
    pipeline = pipelines.CodePipeline(
        stack, "Pipeline", synth=pipelines.ShellStep("Synth", input=source, commands=["cdk synth"])
    )
    pipeline.add_stage(stage(stack, "Prod"))
    folder = synthesized(app, tmp_path)
    assert list(chosen(folder, [])) == ["Pipeline/Prod"]


def nested(app):
    stack = Stack(app, "Gpu")
    CfnResource(stack, "Cluster", type="AWS::EKS::Cluster", properties={"Version": "1.36"})
    inner = NestedStack(NestedStack(stack, "Outer"), "Inner")
    karpenter(inner)


def test_karpenter_in_a_nested_stack_is_found(app, tmp_path):
    nested(app)
    assembly = Assembly.read(synthesized(app, tmp_path))
    assert (assembly.karpenter, assembly.kubernetes) == ("1.14.3", "1.36")
    assert len(assembly.stacks) == 1


def test_a_changed_nested_template_is_published_anew_with_every_stack_around_it(app, tmp_path):
    nested(app)
    folder = synthesized(app, tmp_path)
    before = {path.name: path.read_text() for path in folder.glob("*.template.json")}
    (inner,) = [path for path in folder.glob("*.template.json") if HELM_CHART in path.read_text()]
    inner.write_text(inner.read_text().replace("1.14.3", "1.14.1"))
    publish_anew(folder, inner)
    assert all(path.read_text() != before[path.name] for path in folder.glob("*.template.json"))
    files = json.loads((folder / "Gpu.assets.json").read_text())["files"]
    for id, file in files.items():
        if file["source"]["path"] != "Gpu.template.json":
            assert any(id in path.read_text() for path in folder.glob("*.template.json")), file["source"]["path"]


def test_the_bootstraps_that_stacks_name_are_made(app, tmp_path):
    karpenter(Stack(app, "Own", synthesizer=DefaultStackSynthesizer(qualifier="team")))
    karpenter(Stack(app, "Usual"))
    assert Assembly.read(synthesized(app, tmp_path)).qualifiers == ("hnb659fds", "team")
