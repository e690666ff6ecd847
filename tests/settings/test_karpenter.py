import pytest

from karpenter_gpu import FeatureGates, InvalidSettings, KarpenterSettings


def fault_of(**given):
    with pytest.raises(InvalidSettings) as caught:
        KarpenterSettings(**given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"version": "v1.14.3"}, "version: 'v1.14.3' is not a version of the form 1.14.3, without a leading v"),
        ({"charts": "https://x"}, "charts: 'https://x' is not an OCI location; write it as in oci://public.ecr.aws"),
        ({"role_path": "platform"}, "role_path: 'platform' is not an IAM path; begin and end it with '/'"),
        ({"node_role_name": "n" * 65}, "has 65 characters, and IAM takes 64 for a role's name; choose a shorter one"),
        ({"controller_role_name": "a/b"}, "controller_role_name: 'a/b' is not a name IAM takes for a role"),
        ({"drain_timeout": "2h"}, "drain_timeout: CloudFormation waits for it between a minute and 58 minutes"),
        ({"identity": "role"}, "identity: 'role' is not one of 'irsa' or 'pod-identity'"),
        ({"namespace": "Karpenter"}, "namespace: 'Karpenter' is not a DNS label"),
        (
            {"values": {"settings": {"clusterName": "x"}}},
            "values.settings.clusterName: is not yours to set: cluster.name says it; leave it out of the values",
        ),
        (
            {"values": {"settings": {"featureGates": {"nodeRepair": True}}}},
            "values.settings.featureGates: is not yours to set: karpenter.feature_gates says it",
        ),
        (
            {"values": {"controller": {"image": {"digest": None}}}},
            "values.controller.image.digest: is null, which is lost",
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


def test_gates_that_were_chosen_have_the_charts_names():
    gates = FeatureGates(node_repair=True, spot_to_spot_consolidation=False)
    assert gates.chosen() == {"nodeRepair": True, "spotToSpotConsolidation": False}
