"""From cdk-eks-karpenter to this package: what CloudFormation is told of each resource in the two deployments."""

import json
import runpy
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import aws_cdk as cdk

from tests.graph import Graph
from tests.shapes import ROOT, text_of

HELM = "Custom::AWSCDK-EKS-HelmChart"
MANIFEST = "Custom::AWSCDK-EKS-KubernetesResource"


@cache
def template(step):
    """The example's stack at a step."""
    with TemporaryDirectory() as folder:
        context = {"aws:cdk:disable-asset-staging": True, "step": step}
        with mock.patch.object(cdk, "App", partial(cdk.App, outdir=folder, context=context)):
            runpy.run_path(str(ROOT / "examples" / "from_cdk_eks_karpenter.py"))
        return json.loads((Path(folder) / "Training.template.json").read_text())


def resources(step):
    return template(step)["Resources"]


def gone(before, after):
    return {name: one for name, one in resources(before).items() if name not in resources(after)}


def test_to_keep_changes_nothing_but_what_becomes_of_it_when_the_app_lets_go():
    def bare(step):
        return {
            name: {key: one[key] for key in ("Type", "Properties") if key in one}
            for name, one in resources(step).items()
        }

    assert bare("before") == bare("keep")
    kept = {name for name, one in resources("keep").items() if one != resources("before")[name]}
    assert {resources("keep")[name]["DeletionPolicy"] for name in kept} == {"Retain"}
    assert len(kept) == 3
    # A DeletionPolicy alone is no change to CloudFormation: user guide, "DeletionPolicy attribute".
    assert all("KeptFor" in resources("keep")[name]["Metadata"] for name in kept)


def test_nothing_that_is_let_go_of_is_deleted_from_the_cluster():
    on_the_cluster = {name: one for name, one in gone("keep", "take").items() if one["Type"] in {HELM, MANIFEST}}
    assert {one["DeletionPolicy"] for one in on_the_cluster.values()} == {"Retain"}
    assert sorted(one["Type"] for one in on_the_cluster.values()) == [HELM, MANIFEST, MANIFEST]
    # And without the first deployment it would be.
    assert {resources("before")[name]["DeletionPolicy"] for name in on_the_cluster} == {"Delete"}


def test_the_node_role_and_the_pools_are_the_same_resources_unchanged():
    before, after = resources("keep"), resources("take")
    same = [name for name in before if "NodeRole" in name or "manifestgeneral" in name or "manifestworkers" in name]
    assert len(same) == 3
    for name in same:
        assert before[name]["Properties"] == after[name]["Properties"], name


def test_aws_auth_names_the_node_role_before_and_after():
    for step in ("before", "keep", "take"):
        (auth,) = (one for name, one in resources(step).items() if "AwsAuth" in name and one["Type"] == MANIFEST)
        assert text_of(auth["Properties"]["Manifest"]).count("KarpenterNodeRole") == 1


def test_what_does_not_go_is_changed_in_nothing_that_nodes_have():
    before, after = resources("keep"), resources("take")
    changed = {
        before[name]["Type"]
        for name in before.keys() & after.keys()
        if before[name].get("Properties") != after[name].get("Properties")
    }
    # Subnets get karpenter.sh/discovery, the cluster's maker trusts the function that takes over, aws-auth is written anew.
    assert changed == {"AWS::EC2::Subnet", "AWS::IAM::Role", MANIFEST}


def test_the_teams_pools_go_before_karpenter_when_the_stack_goes():
    graph = Graph(template("take"))
    (pool,) = (name for name in graph.resources if "manifestworkers" in name)
    (gate,) = graph.of_type("Custom::KarpenterGpuDrain")
    charts = graph.of_type(HELM)
    assert {gate, *charts} <= graph.waits_for(pool)
