"""What a reviewer reads when something changes: policies, pools, chart values and logical ids, each a YAML file.

Renew them with: pytest tests/test_snapshots.py --snapshot-update
"""

import pytest

from karpenter_gpu.compat import KARPENTER
from karpenter_gpu.policies.controller import controller_policies
from karpenter_gpu.versions import Minor
from tests.policies.test_controller import UPSTREAM
from tests.shapes import SHAPES, synthesized

PROFILES = ("default", "walkthrough")


@pytest.mark.parametrize("shape_name", SHAPES)
def test_logical_ids(shape_name, yaml_snapshot):
    resources = synthesized(shape_name).graph.resources
    by_type = {}
    for name, resource in sorted(resources.items()):
        by_type.setdefault(resource["Type"], []).append(name)
    assert dict(sorted(by_type.items())) == yaml_snapshot


@pytest.mark.parametrize("shape_name", [*PROFILES, "every-kind-of-pool", "shared-gpus"])
def test_kubernetes_objects(shape_name, yaml_snapshot):
    assert list(synthesized(shape_name).manifests().values()) == yaml_snapshot


@pytest.mark.parametrize("shape_name", [*PROFILES, "pod-identity"])
def test_chart_values(shape_name, yaml_snapshot):
    shape = synthesized(shape_name)
    assert {release: shape.chart(release)["Values"] for release in ("karpenter-crd", "karpenter")} == yaml_snapshot


CHANGED = [
    minor
    for minor in KARPENTER
    if minor == Minor(1, 0)
    or controller_policies(minor, UPSTREAM) != controller_policies(Minor(1, minor.minor - 1), UPSTREAM)
]


@pytest.mark.parametrize("minor", CHANGED, ids=str)
def test_controller_policies(minor, yaml_snapshot):
    assert controller_policies(minor, UPSTREAM) == yaml_snapshot
