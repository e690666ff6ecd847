"""What a reviewer reads when something changes: policies, pools, chart values and logical ids, each a YAML file.

Renew them with: pytest tests/test_snapshots.py --snapshot-update
"""

import pytest

from karpenter_gpu.compat import KARPENTER
from karpenter_gpu.policies.controller import controller_policies
from karpenter_gpu.versions import Minor
from tests.policies.test_controller import UPSTREAM
from tests.shapes import SHAPES, synthesized, text_of

PROFILES = ("default", "walkthrough")


@pytest.mark.parametrize("shape_name", SHAPES)
def test_logical_ids(shape_name, yaml_snapshot):
    resources = synthesized(shape_name).graph.resources
    by_type = {}
    for name, resource in sorted(resources.items()):
        by_type.setdefault(resource["Type"], []).append(name)
    assert dict(sorted(by_type.items())) == yaml_snapshot


@pytest.mark.parametrize("shape_name", [*PROFILES, "every-kind-of-pool", "gpus-of-every-kind"])
def test_kubernetes_objects(shape_name, yaml_snapshot):
    assert list(synthesized(shape_name).manifests().values()) == yaml_snapshot


@pytest.mark.parametrize("shape_name", [*PROFILES, "pod-identity"])
def test_chart_values(shape_name, yaml_snapshot):
    shape = synthesized(shape_name)
    assert {release: shape.chart(release)["Values"] for release in ("karpenter-crd", "karpenter")} == yaml_snapshot


def readable(document):
    """A document with its references as text, where they are text."""
    if isinstance(document, list):
        return [readable(one) for one in document]
    if not isinstance(document, dict):
        return document
    if document.keys() <= {"Ref", "Fn::GetAtt", "Fn::Join"}:
        return text_of(document)
    return {key: readable(one) for key, one in document.items()}


# The properties that say who may do what.
RIGHTS = ("AssumeRolePolicyDocument", "ManagedPolicyArns", "Policies", "PolicyDocument", "KeyPolicy", "AccessPolicies")


def rights(shape):
    """Every document of a shape that says who may do what, by its resource and property."""
    for name, resource in shape.graph.resources.items():
        for key, value in resource.get("Properties", {}).items():
            if key in RIGHTS:
                yield f"{resource['Type']} {name} {key}", readable(value)


def test_every_policy_and_trust(yaml_snapshot):
    documents = {}
    for shape_name in SHAPES:
        for which, document in rights(synthesized(shape_name)):
            same = [one for one in documents.setdefault(which, []) if one["document"] == document]
            if same:
                same[0]["shapes"].append(shape_name)
            else:
                documents[which].append({"shapes": [shape_name], "document": document})
    assert dict(sorted(documents.items())) == yaml_snapshot


CHANGED = [
    minor
    for minor in KARPENTER
    if minor == Minor(1, 0)
    or controller_policies(minor, UPSTREAM) != controller_policies(Minor(1, minor.minor - 1), UPSTREAM)
]


@pytest.mark.parametrize("minor", CHANGED, ids=str)
def test_controller_policies(minor, yaml_snapshot):
    assert controller_policies(minor, UPSTREAM) == yaml_snapshot
