"""From cdk.json and -c to a platform."""

import pytest

from karpenter_gpu import ExistingCluster, InvalidSettings, platform_from_context
from tests.shapes import CONTEXT

PROFILES = {
    "small": {"cluster": {"name": "gpu"}, "pools": [{"name": "inference", "gpu_names": ["l4"], "gpu_limit": 8}]},
}


def platform(**overrides):
    return platform_from_context({"profiles": PROFILES} | overrides)


def faults(**overrides):
    with pytest.raises(InvalidSettings) as caught:
        platform(**overrides)
    return [str(fault) for fault in caught.value.faults]


def test_the_first_profile_is_taken_when_none_is_named():
    assert platform().cluster.name == "gpu"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("cluster.name", "research", lambda p: p.cluster.name == "research"),
        ("cluster.kubernetes_version", "1.35", lambda p: p.cluster.kubernetes_version == "1.35"),
        ("cluster.public_access_cidrs", "", lambda p: p.cluster.public_access_cidrs == ()),
        ("cluster.network.nat_gateways", "2", lambda p: p.cluster.network.nat_gateways == 2),
        ("pools.inference.gpu_limit", "4", lambda p: p.pools[0].gpu_limit == 4),
        ("pools.inference.gpu_names", "l4,t4", lambda p: p.pools[0].gpu_names == ("l4", "t4")),
        ("pools.inference.gpu_counts", "1,4", lambda p: p.pools[0].gpu_counts == (1, 4)),
        ("pools.inference.hourly_limit_usd", "12.5", lambda p: p.pools[0].hourly_limit_usd == 12.5),
        ("pools.inference.consolidate_after", "5m", lambda p: p.pools[0].consolidate_after.seconds == 300),
        ("pools.inference.expire_after", "Never", lambda p: p.pools[0].expire_after == "Never"),
        ("pools.inference.ami.alias", "al2023@v20260625", lambda p: p.pools[0].ami.release == "v20260625"),
        ("pools.inference.taints", '[{"key": "team"}]', lambda p: p.pools[0].taints[0].key == "team"),
        ("pools.inference.labels.team", "blue", lambda p: p.pools[0].labels == {"team": "blue"}),
        ("health.repair", "true", lambda p: p.health.repair is True),
        (
            "pools.inference.labels.example.com/team",
            "blue",
            lambda p: p.pools[0].labels == {"example.com/team": "blue"},
        ),
        ("pools.0.gpu_limit", "4", lambda p: p.pools[0].gpu_limit == 4),
        ("cluster.network.flow_logs", "False", lambda p: p.cluster.network.flow_logs is False),
        (
            "karpenter.values.settings.batchMaxDuration",
            "5s",
            lambda p: p.karpenter.values["settings"] == {"batchMaxDuration": "5s"},
        ),
        ("karpenter.values.replicas", "1", lambda p: p.karpenter.values == {"replicas": 1}),
        ("karpenter.values.logLevel", "debug", lambda p: p.karpenter.values == {"logLevel": "debug"}),
        ("account", "111122223333", lambda p: p.account == "111122223333"),
        ("region", "null", lambda p: p.region is None),
    ],
)
def test_any_setting_can_be_overridden_as_the_type_it_has(key, text, value):
    assert value(platform(**{key: text}))


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"profile": "large"}, "profile: 'large' is not a profile of cdk.json; there are small"),
        ({"profil": "x"}, "profil: 'profil' is not a setting; did you mean 'profile'?"),
        ({"cluster.nmae": "x"}, "cluster.nmae: 'nmae' is not a setting; did you mean 'name'?"),
        (
            {"pools.inferense.gpu_limit": "1"},
            "pools.inferense.gpu_limit: nothing here is named 'inferense'; did you mean",
        ),
        ({"pools.inference": "1"}, "pools.inference: is in a list; name one of its members and a setting of that"),
        (
            {"pools.inference.budgets.0.nodes": "1"},
            "pools.inference.budgets.0.nodes: nothing here is named '0'; it has 0",
        ),
        ({"foo": "1"}, "foo: 'foo' is not a setting; the settings here are account, cluster, device_plugin"),
        (
            {"pools.inference.weight.x": "1"},
            "pools.inference.weight.x: 'weight' is a single value, with no settings inside",
        ),
        ({"region.x": "y"}, "region.x: 'region' is a single value, with no settings inside it"),
        ({"profile": []}, "profile: [] is not a profile of cdk.json; there are small"),
        ({"cluster": "[" * 200_000}, "cluster: '[[[[[["),
        ({"pools.inference.gpu_limit": "9" * 400}, "pools.inference.gpu_limit: 9999"),
        ({"pools.inference.consolidate_after": "9" * 5000 + "h"}, "pools.inference.consolidate_after: "),
        (
            {"cluster.network.cidr": "10.0.0.0/255.255.0.0"},
            "cluster.network.cidr: '10.0.0.0/255.255.0.0' is not an IPv4",
        ),
        (
            {"cluster.public_access_cidrs": "1.2.3.4"},
            "cluster.public_access_cidrs: '1.2.3.4' is not an IPv4 range; write",
        ),
        ({"account": "\u0661" * 12}, "account: '"),
        (
            {"pools.inference.labels": '{"bad key!": "x"}'},
            "pools.inference.labels.bad key!: 'bad key!' is not a Kubernetes",
        ),
        (
            {"karpenter.values.affinity.nodeAffinity": "[]"},
            "karpenter.values.affinity.nodeAffinity: [] would replace what",
        ),
        ({"cluster.name.x": "1"}, "cluster.name.x: 'name' is a single value, with no settings inside it"),
        ({"pools.inference.gpu_limit": "eight"}, "pools.inference.gpu_limit: 'eight' is not a whole number"),
        (
            {"pools.inference.taints": "[{"},
            "pools.inference.taints: '[{' begins like JSON and is not: expecting property name enclosed in double quotes",
        ),
    ],
)
def test_an_override_that_cannot_be_used(overrides, fault):
    (found,) = faults(**overrides)
    assert found.startswith(fault)


def test_every_fault_of_a_run_is_reported_together():
    found = faults(
        **{
            "cluster.nmae": "x",
            "cluster.kubernetes_version": "1.34",
            "karpenter.version": "1.6.3",
            "pools.inference.gpu_limit": "-1",
            "pools.inference.zones": "mars-1a",
            "profil": "x",
        }
    )
    wheres = {fault.partition(":")[0] for fault in found}
    assert wheres == {"cluster.nmae", "pools.inference.gpu_limit", "profil", "karpenter.version"}


def test_an_unknown_setting_hides_no_fault_between_the_others():
    found = faults(**{"cluster.nmae": "x", "cluster.kubernetes_version": "1.34", "karpenter.version": "1.6.3"})
    assert [fault.partition(":")[0] for fault in found] == ["cluster.nmae", "karpenter.version"]


def test_each_wrong_value_of_cluster_and_controller_is_told_beside_the_others():
    found = faults(
        **{
            "cluster.admins": "x",
            "cluster.ip_family": "q",
            "karpenter.version": "x",
            "karpenter.drain_timeout": "q",
            "karpenter.role_path": "z",
        }
    )
    assert {fault.partition(":")[0] for fault in found} == {
        "cluster.admins",
        "cluster.ip_family",
        "karpenter.version",
        "karpenter.drain_timeout",
        "karpenter.role_path",
    }


def test_another_kind_of_image_takes_the_place_of_the_one_in_the_profile():
    profiles = {
        "one": PROFILES["small"] | {"pools": [PROFILES["small"]["pools"][0] | {"ami": {"alias": "al2023@v20260714"}}]}
    }
    made = platform_from_context(
        {"profiles": profiles, "pools.inference.ami.ssm_parameter": "/x", "pools.inference.ami.family": "AL2023"}
    )
    assert (made.pools[0].ami.ssm_parameter, made.pools[0].ami.family) == ("/x", "AL2023")


def test_faults_between_sound_sections_are_reported_beside_a_section_that_is_not():
    found = faults(
        **{"cluster.kubernetes_version": "1.34", "karpenter.version": "1.6.3", "pools.inference.gpu_limit": "-1"}
    )
    assert [fault.partition(":")[0] for fault in found] == ["pools.inference.gpu_limit", "karpenter.version"]


def test_a_profile_that_is_no_mapping_gets_a_sentence():
    with pytest.raises(InvalidSettings, match=r"profiles\.odd: 3 is not a mapping of settings"):
        platform_from_context({"profiles": {"odd": 3}})


def test_keys_of_the_cdk_are_left_alone():
    assert platform(
        **{
            "aws:cdk:enable-path-metadata": True,
            "@aws-cdk/core:x": True,
            "cli-telemetry": False,
            "acknowledged-issue-numbers": [1],
        }
    )


@pytest.mark.parametrize("profile", CONTEXT["profiles"])
def test_the_profiles_of_cdk_json_are_sound(profile):
    # A cluster that is there is looked up in an account and a region.
    where = {"account": "111122223333", "region": "eu-west-1"} if profile == "walkthrough-existing" else {}
    assert platform_from_context(CONTEXT | {"profile": profile} | where).pools


def test_the_walkthroughs_two_profiles_differ_in_the_cluster_alone():
    new, existing = (CONTEXT["profiles"][name] for name in ("walkthrough", "walkthrough-existing"))
    assert new | {"cluster": existing["cluster"]} == existing
    assert existing["cluster"] == {"name": "walkthrough", "existing": True}


def test_the_default_profile_is_todays_and_the_walkthrough_its_own():
    today = platform_from_context(CONTEXT)
    assert (today.cluster.kubernetes_version, today.karpenter.version) == ("1.36", "1.14.3")
    then = platform_from_context(CONTEXT | {"profile": "walkthrough"})
    assert (then.cluster.kubernetes_version, then.karpenter.version, then.device_plugin.version) == (
        "1.30",
        "1.0.1",
        "0.16.1",
    )


def test_training_is_never_moved_and_still_goes_when_empty():
    (training,) = (pool for pool in platform_from_context(CONTEXT).pools if pool.name == "training")
    assert training.capacity_types == ("on-demand",)
    (budget,) = training.budgets
    assert budget.nodes == "0"
    assert set(budget.reasons) == {"Drifted", "Underutilized"}


def test_a_cluster_that_is_there_is_said_by_one_key():
    context = CONTEXT | {"profile": "walkthrough", "cluster.existing": "true", "account": "111122223333"}
    platform = platform_from_context(context | {"region": "eu-west-1", "cluster.name": "mine"})
    assert platform.cluster == ExistingCluster(name="mine", kubernetes_version="1.30")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ("111122223333", "eu-west-1")),
        ({"region": "us-west-2"}, ("111122223333", "us-west-2")),
        ({"account": "444455556666", "region": "us-west-2"}, ("444455556666", "us-west-2")),
    ],
)
def test_a_cluster_that_is_there_is_looked_up_where_the_credentials_are_unless_told_otherwise(said, expected):
    here = ("111122223333", "eu-west-1")
    platform = platform_from_context(CONTEXT | {"profile": "walkthrough-existing"} | said, here=here)
    assert (platform.account, platform.region) == expected


def test_a_new_cluster_is_for_any_account_and_region_unless_told_otherwise():
    platform = platform_from_context(CONTEXT, here=("111122223333", "eu-west-1"))
    assert (platform.account, platform.region) == (None, None)


def faults_of(document):
    with pytest.raises(InvalidSettings) as caught:
        platform_from_context({"profiles": {"x": document}})
    return [str(fault) for fault in caught.value.faults]


POOL = {"name": "p", "gpu_names": ["l4"], "gpu_limit": 8}
HERE = {"account": "111122223333", "region": "eu-west-1"}


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (
            {"cluster": {"name": "x", "kubernetes_version": 1.36}, "pools": []},
            "cluster.kubernetes_version: 1.36 is not text; write it in quotes",
        ),
        (
            {"cluster": {"name": "x"}, "pools": None},
            "pools: has no value (null, or None in Python); give one, or leave it out",
        ),
        (
            {"cluster": {"name": "x"}, "pools": [POOL | {"consolidate_after": None}]},
            "pools.p.consolidate_after: has no value (null, or None in Python); give one, or leave it out",
        ),
        (
            {"cluster": {"name": "x"}, "pools": [POOL | {"ami": {"alias": "al2023@v20260714", "ami_ids": ["ami-1"]}}]},
            "pools.p.ami.ami_ids: 'ami_ids' and 'alias' exclude each other, as AmiIds and AmiAlias do; leave one out",
        ),
        (
            {"cluster": {"name": "x", "existing": True, "network": {}}, "pools": []} | HERE,
            "cluster.network: 'network' and 'existing' exclude each other, as NewCluster and ExistingCluster do; leave one",
        ),
        (
            {"cluster": {"name": "x", "existing": False}, "pools": []} | HERE,
            "cluster.existing: False is not true, which is all it can be; leave it out instead",
        ),
        (
            {"cluster": {"name": "x", "node_group": "y"}, "pools": []},
            "cluster.node_group: 'node_group' is a setting of ExistingCluster, which 'existing' chooses; say that too, or",
        ),
    ],
)
def test_a_sentence_says_what_was_written_and_what_excludes_what(document, fault):
    assert any(found.startswith(fault) for found in faults_of(document)), faults_of(document)


def test_what_is_wrong_with_the_whole_is_told_beside_what_is_wrong_with_a_part():
    found = faults_of({"cluster": {"name": "-"}, "pools": [], "region": "mars", "account": "1", "stack_name": "_"})
    assert {fault.partition(":")[0] for fault in found} == {"cluster.name", "region", "account", "stack_name"}
