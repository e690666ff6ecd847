import pytest

from karpenter_gpu import FeatureGates, KarpenterSettings
from karpenter_gpu.manifests.charts import controller_values, crd_values
from karpenter_gpu.settings.chart import merged


def values(**given):
    return controller_values(
        KarpenterSettings(**given),
        cluster_name="gpu",
        queue_name="queue",
        region="eu-west-1",
        role_arn="role",
        system_nodes={"karpenter.sh/controller": "true"},
    )


def test_the_controller_has_what_the_walkthrough_gives_it():
    found = values()
    assert found["settings"] == {"clusterName": "gpu", "interruptionQueue": "queue"}
    assert found["serviceAccount"]["annotations"] == {"eks.amazonaws.com/role-arn": "role"}
    assert found["controller"]["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    assert found["replicas"] == 2


def test_the_controller_keeps_off_its_own_nodes_and_off_its_twin():
    affinity = values()["affinity"]
    (term,) = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "karpenter.sh/nodepool", "operator": "DoesNotExist"},
        {"key": "karpenter.sh/controller", "operator": "In", "values": ["true"]},
    ]
    assert affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == [
        {"topologyKey": "kubernetes.io/hostname"}
    ]


def test_users_values_are_merged_deeply():
    found = values(
        values={"settings": {"batchMaxDuration": "5s"}, "controller": {"resources": {"limits": {"cpu": "2"}}}}
    )
    assert found["settings"] == {"clusterName": "gpu", "interruptionQueue": "queue", "batchMaxDuration": "5s"}
    assert found["controller"]["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert found["controller"]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}


def test_users_environment_joins_ours_and_may_replace_it():
    more = values(values={"controller": {"env": [{"name": "IGNORE_DRA_REQUESTS", "value": "false"}]}})
    assert [variable["name"] for variable in more["controller"]["env"]] == ["AWS_REGION", "IGNORE_DRA_REQUESTS"]
    other = values(values={"controller": {"env": [{"name": "AWS_REGION", "value": "us-east-1"}]}})
    assert other["controller"]["env"] == [{"name": "AWS_REGION", "value": "us-east-1"}]


def test_merging_leaves_what_it_merged_alone():
    under, over = {"a": {"b": [1]}}, {"a": {"c": [2]}}
    result = merged(under, over)
    result["a"]["b"].append(3)
    assert (under, over) == ({"a": {"b": [1]}}, {"a": {"c": [2]}})


@pytest.mark.parametrize(
    ("version", "key", "given", "carried"),
    [
        ("1.14.3", "ignoreDRARequests", False, "false"),
        ("1.14.3", "vmMemoryOverheadPercent", 0, "0"),
        ("1.14.3", "enableZonalShift", True, True),
        ("1.15.1", "ignoreDRARequests", False, False),
        ("1.15.1", "disableDryRun", False, "false"),
    ],
)
def test_what_helm_would_drop_is_carried_as_text(version, key, given, carried):
    assert values(version=version, values={"settings": {key: given}})["settings"][key] == carried


def test_gates_are_passed_as_chosen():
    found = values(feature_gates=FeatureGates(node_repair=True, node_overlay=False))
    assert found["settings"]["featureGates"] == {"nodeRepair": True, "nodeOverlay": False}
    found = values(version="1.15.1", feature_gates=FeatureGates(dra_efa=True))
    assert found["settings"]["awsFeatureGates"] == {"draEFA": True}


def test_the_conversion_webhook_of_1_0_is_off_in_both_charts_and_unknown_to_later_ones():
    old = KarpenterSettings(version="1.0.1")
    assert crd_values(old) == {"webhook": {"enabled": False}}
    assert values(version="1.0.1")["webhook"] == {"enabled": False}
    assert crd_values(KarpenterSettings()) == {}
    assert "webhook" not in values()
