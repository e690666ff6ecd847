"""Helm values as the chart of a version, the API server and the controller take them."""

import pytest

from karpenter_gpu import InvalidSettings, KarpenterSettings
from karpenter_gpu.compat import KARPENTER
from karpenter_gpu.settings.chart import _KEYS, quantity


def faults(values, version="1.14.3"):
    try:
        KarpenterSettings(version=version, values=values)
    except InvalidSettings as error:
        return [str(fault) for fault in error.faults]
    return []


def resources(**given):
    return {"controller": {"resources": given}}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (
            {"replica": 3},
            "values.replica: is not in the chart of Karpenter 1.14, which would ignore it; did you mean replicas?",
        ),
        (
            {"settings": {"logLevel": "debug"}},
            "values.settings.logLevel: is not in the chart of Karpenter 1.14, which would ignore it; did you mean logLevel?",
        ),
        (
            {"logLevel": "warn"},
            "values.logLevel: 'warn' is a value with which the controller does not start; use debug or",
        ),
        ({"settings": {"minValuesPolicy": "Loose"}}, "values.settings.minValuesPolicy: 'Loose' is a value with which"),
        (
            {"replicas": 0},
            "values.replicas: 0 is not a number of controllers, without which no node comes or goes; use 1",
        ),
        ({"replicas": "two"}, "values.replicas: 'two' is not a number of controllers"),
        (
            {"nodeSelector": {"karpenter.sh/nodepool": "gpu"}},
            "values.nodeSelector.karpenter.sh/nodepool: only nodes that Karpenter makes have this label, and its controller",
        ),
        (
            {"nodeSelector": {"karpenter.k8s.aws/instance-family": "m6i"}},
            "values.nodeSelector.karpenter.k8s.aws/instance",
        ),
        (
            resources(requests={"cpu": 2}),
            "values.controller.resources.requests.cpu: 2 is more than the limit, which is 1 unless you say otherwise, and",
        ),
        (
            resources(limits={"memory": "512Mi"}),
            "values.controller.resources.requests.memory: 1Gi is more than the limit, which is 512Mi, and Kubernetes ref",
        ),
        (resources(limits={"cpu": "one"}), "values.controller.resources.limits.cpu: 'one' is not an amount that Kube"),
        ({"nodeSelector": ["team"]}, "values.nodeSelector: ['team'] is not a mapping of labels to values"),
        (resources(limits="1"), "values.controller.resources.limits: '1' is not a mapping of resources to amounts"),
        (
            {"replicas": None},
            "values.replicas: has no value (null, or None in Python), and is not a default that can be",
        ),
    ],
)
def test_a_value_that_is_lost_refused_or_stops_the_controller_gets_a_sentence(values, fault):
    found = faults(values)
    assert any(one.startswith(fault) for one in found), found


@pytest.mark.parametrize(
    "values",
    [
        resources(requests={"cpu": 2}, limits={"cpu": 2}),
        resources(requests={"cpu": 2}, limits={"cpu": None}),
        resources(requests={"cpu": "1000m"}, limits=None),
        {"controller": {"resources": None}},
        {"nodeSelector": {"karpenter.sh/controller": "true", "team": "platform"}},
        {"affinity": {"podAffinity": {"anything": []}}},
        {"controller": {"image": {"tag": "x", "digest": "sha256:1"}, "securityContext": {"appArmorProfile": {}}}},
        {"podAnnotations": {"any/key": "x"}, "strategy": {"rollingUpdate": {"maxUnavailable": 0}}},
        {"logLevel": "debug", "settings": {"preferencePolicy": "Ignore"}},
    ],
)
def test_values_that_work_are_taken(values):
    assert faults(values) == []


def test_a_key_that_a_later_chart_has_says_since_when():
    (found,) = faults({"settings": {"enableZonalShift": True}}, version="1.11.3")
    assert found == (
        "values.settings.enableZonalShift: is not in the chart of Karpenter 1.11, which would ignore it; it came with 1.12"
    )
    assert faults({"settings": {"enableZonalShift": True}}, version="1.12.2") == []


def test_every_minor_that_brings_a_key_is_a_row_of_the_matrix():
    assert set(_KEYS) <= set(KARPENTER)


@pytest.mark.parametrize(
    ("amount", "number"),
    [("500m", 0.5), ("1Gi", 2**30), (2, 2), ("1e3", 1000), ("1E", 10**18), ("1.5k", 1500), (".5", 0.5)],
)
def test_amounts_are_read_as_kubernetes_does(amount, number):
    assert float(quantity(amount)) == number


@pytest.mark.parametrize(
    "amount", ["", "1GB", "m", "-1", "1 Gi", True, None, "9" * 5000, "\u0661", "1e999", float("nan")]
)
def test_what_is_no_amount_is_none(amount):
    assert quantity(amount) is None
