from dataclasses import fields

import pytest

from karpenter_gpu import FeatureGates, InvalidSettings, KarpenterSettings
from karpenter_gpu.compat import FEATURE_GATES


def fault_of(**given):
    with pytest.raises(InvalidSettings) as caught:
        KarpenterSettings(**given)
    return "\n".join(map(str, caught.value.faults))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"version": "v1.14.3"}, "version: 'v1.14.3' is not a version of the form 1.14.3, without a leading v"),
        ({"charts": "https://x"}, "charts: 'https://x' is not an OCI location; write it as in oci://public.ecr.aws"),
        ({"role_path": "platform"}, "role_path: 'platform' is not an IAM path; begin and end it with '/'"),
        ({"node_role_name": "n" * 65}, "has 65 characters, and IAM takes 64 for a role's name; choose a shorter one"),
        ({"node_role_arn": "nodes"}, "node_role_arn: 'nodes' is not the ARN of an IAM role, as in arn:aws:iam::1111"),
        (
            {"node_role_arn": "arn:aws:iam::111122223333:role/nodes", "node_role_name": "nodes"},
            "node_role_name: 'nodes' names a role to create, and node_role_arn names an existing one; give one",
        ),
        ({"adopt": "maybe"}, "adopt: 'maybe' is not"),
        ({"controller_role_name": "a/b"}, "controller_role_name: 'a/b' is not a name IAM takes for a role"),
        (
            {"drain_timeout": "2h"},
            "drain_timeout: 2h is not between 1m and 58m, which is what CloudFormation waits for",
        ),
        (
            {"drain_timeout": "50m", "on_drain_timeout": "terminate"},
            "drain_timeout: 50m leaves no time to terminate what is left within the hour that CloudFormation waits",
        ),
        ({"on_drain_timeout": "wait"}, "on_drain_timeout: 'wait' is not one of 'fail' or 'terminate'"),
        ({"identity": "role"}, "identity: 'role' is not one of 'irsa' or 'pod-identity'"),
        ({"namespace": "Karpenter"}, "namespace: 'Karpenter' is not a DNS label"),
        (
            {"values": {"settings": {"clusterName": "x"}}},
            "values.settings.clusterName: is managed by karpenter-gpu; use cluster.name",
        ),
        (
            {"values": {"settings": {"featureGates": {"nodeRepair": True}}}},
            "values.settings.featureGates: is managed by karpenter-gpu; use karpenter.feature_gates",
        ),
        ({"values": {"settings": "x"}}, "values.settings: 'x' would replace what must be there; give a mapping"),
        (
            {"values": {"controller": {"env": {"A": "b"}}}},
            "values.controller.env: {'A': 'b'} is not a list of environment variables, each with a name",
        ),
        ({"version": "1.014.3"}, "version: '1.014.3' is not a version of the form 1.14.3"),
        (
            {"values": {"controller": {"image": {"digest": None}}}},
            "values.controller.image.digest: has no value (null, or None in Python), and is not a default that can be removed",
        ),
        (
            {
                "values": {
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
                            }
                        }
                    }
                }
            },
            "values.affinity: a term lets the controller onto the nodes it removes; add karpenter.sh/nodepool",
        ),
    ],
)
def test_one_fault_is_one_sentence(given, fault):
    assert fault in fault_of(**given)


@pytest.mark.parametrize("expressions", ["x", ["x"], [{"key": "karpenter.sh/nodepool"}]])
def test_an_affinity_of_any_shape_gets_a_sentence(expressions):
    terms = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    values = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    assert "values.affinity: a term lets the controller onto the nodes it removes" in fault_of(values=values)


def test_only_gates_that_were_chosen_are_passed_on():
    gates = FeatureGates(node_repair=True, spot_to_spot_consolidation=False)
    assert gates.chosen() == {"node_repair": True, "spot_to_spot_consolidation": False}


def test_every_gate_of_the_matrix_is_a_setting():
    assert {field.name for field in fields(FeatureGates)} == set(FEATURE_GATES)


ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"instance_profile": "nodes"},
            "instance_profile: 'nodes' has a role, and nothing says which must be let into",
        ),
        ({"volume_key_arn": "alias/ebs"}, "volume_key_arn: 'alias/ebs' is not the ARN of a KMS key, as in arn:aws:kms"),
        (
            {"node_statements": (ALLOW,), "node_role_arn": "arn:aws:iam::111122223333:role/x"},
            "node_statements: are given with node_role_arn, a role to which nothing is attached; leave one out",
        ),
        (
            {"controller_statements": ({**ALLOW, "Effect": "allow"},)},
            "controller_statements.0: 'allow' is not an Effect",
        ),
        ({"controller_statements": ({**ALLOW, "Principal": "*"},)}, "controller_statements.0: 'Principal' is not in a"),
        (
            {"controller_statements": ({**ALLOW, "NotAction": "*"},)},
            "controller_statements.0: needs Action or NotAction",
        ),
        ({"controller_statements": ({**ALLOW, "Action": []},)}, "controller_statements.0: [] is not what Action takes"),
    ],
)
def test_keys_profiles_and_statements_that_iam_would_refuse_are_refused(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        KarpenterSettings(**given)
    (found,) = caught.value.faults
    assert str(found).startswith(fault)
