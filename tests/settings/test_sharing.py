from dataclasses import replace

import pytest

from karpenter_gpu import DevicePlugin, GpuPool, InvalidSettings, KarpenterSettings, NewCluster, Platform, Sharing
from karpenter_gpu.settings import rules
from karpenter_gpu.settings.user_data import MOST_BYTES
from karpenter_gpu.versions import Minor

NODE_CONFIG_DOCUMENT = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {}\n"

BOTTLEROCKET = {"alias": "bottlerocket@1.62.0"}
TURNS = {"strategy": "time-slicing", "replicas": 4}


def pool(**given):
    return GpuPool(**{"name": "p", "gpu_names": ("l4",), "gpu_limit": 8} | given)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"sharing": {"replicas": 4}}, "sharing.strategy: is required and was not given"),
        ({"sharing": TURNS | {"replicas": 1}}, "sharing.replicas: 1 is too small; the least is 2"),
        (
            {"sharing": {"strategy": "mps", "replicas": 49}},
            "sharing.replicas: 49 pods are more than MPS takes on a GPU, which is 48; use fewer",
        ),
        ({"sharing": TURNS | {"strategy": "mig"}}, "sharing.strategy: 'mig' is not one of 'time-slicing' or 'mps'"),
        (
            {"sharing": TURNS, "gpu_names": (), "instance_families": ("g6f",)},
            "sharing: g6f.large has a part of a GPU already, and that is not shared again; leave it out",
        ),
        (
            {"sharing": {"mig_profile": "1g.10gb"}, "gpu_names": ("h100",)},
            "sharing.mig_profile: '1g.10gb' must be made at boot, and AL2023 has nothing that makes it; use a bottlerocket alias",
        ),
        (
            {"sharing": {"mig_profile": "1g.10gb"}, "ami": BOTTLEROCKET},
            "sharing.mig_profile: the GPU l4 of gr6.8xlarge is none that Bottlerocket cuts; use a100, h100, h200",
        ),
        (
            {"sharing": {"mig_profile": "1g.5gb"}, "gpu_names": ("h100",), "ami": BOTTLEROCKET},
            "sharing.mig_profile: '1g.5gb' is no profile of h100.80gb, which p5.48xlarge has; use one of 1g.10gb, 1g.20gb",
        ),
        (
            {"sharing": {"mig_profile": "1g.10gb"}, "gpu_names": ("a100",), "ami": BOTTLEROCKET},
            "sharing.mig_profile: '1g.10gb' fits 4 times on p4d.24xlarge and 7 times on p4de.24xlarge, and a ceiling counts one",
        ),
        (
            {"user_data": "[settings.kubelet-device-plugins.nvidia]", "sharing": TURNS, "ami": BOTTLEROCKET},
            "user_data: settings.kubelet-device-plugins is managed by karpenter-gpu; use sharing",
        ),
        ({"user_data": "[settings", "ami": BOTTLEROCKET}, "user_data: is not TOML, which Bottlerocket reads: Expected"),
        (
            {"user_data": "[setting]", "ami": BOTTLEROCKET},
            "user_data: 'setting' is not a table that Bottlerocket reads; put",
        ),
        (
            {"user_data": "[settings.kubernetes]\ncluster-name = 'x'", "ami": BOTTLEROCKET},
            "user_data: settings.kubernetes.cluster-name is managed by karpenter-gpu; leave it out: Karpenter sets it",
        ),
        (
            {"user_data": "echo hello"},
            "user_data: is neither a multipart MIME document, nor a shell script with #! in its",
        ),
        ({"user_data": "kind: NodeConfig\n: ["}, "user_data: has a NodeConfig that is not YAML: while parsing"),
        (
            {"user_data": "kind: NodeConfig\nspec: {}"},
            "user_data: has a NodeConfig without apiVersion: node.eks.aws/v1alpha1 and kind: NodeConfig; begin it with these",
        ),
        (
            {"user_data": "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {cluster: {name: x}}"},
            "user_data: spec.cluster is managed by karpenter-gpu; leave it out: Karpenter sets it",
        ),
        (
            {"user_data": 'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\nx\n--b--'},
            "user_data: has a part of the type text/plain, which nothing reads at boot; use application/node.eks.aws, text/x-",
        ),
        (
            {
                "user_data": 'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/x-shellscript\n\nx\n--b--'
            },
            "user_data: has a shell script without #! in its first line, which cloud-init does not run; begin with",
        ),
        (
            {"user_data": "kind: NodeConfig", "ami": {"alias": "al2@v20251209"}},
            "user_data: has a NodeConfig, which AL2023 reads and AL2 does not; use a shell script",
        ),
        (
            {"user_data": "#!" + "x" * MOST_BYTES},
            "user_data: has 11266 bytes and may have 11264: EC2 takes 16384 with what Karpenter and karpenter-gpu add; let it",
        ),
        (
            {"user_data": NODE_CONFIG_DOCUMENT + "---\n" + NODE_CONFIG_DOCUMENT},
            "user_data: has 2 NodeConfigs in one part, of which nodeadm reads the first; make each a part of a MIME document",
        ),
        (
            {"class_spec": {"userData": "x"}},
            "class_spec.userData: is managed by karpenter-gpu; use user_data",
        ),
    ],
)
def test_one_fault_is_one_sentence(given, fault):
    with pytest.raises(InvalidSettings) as caught:
        pool(**given)
    (found,) = map(str, caught.value.faults)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("given", "karpenter", "fault"),
    [
        (
            {},
            "1.6.8",
            "sharing: EC2 counts a shared GPU as one, and Karpenter 1.6.8 cannot be told otherwise; use Karpenter 1.7",
        ),
        (
            {"ami": {"alias": "bottlerocket@1.28.0"}},
            "1.14.3",
            "sharing: bottlerocket@1.28.0 has no setting for time-slicing, which came with 1.29.0; use bottlerocket@1.29.0",
        ),
        (
            {"ami": {"alias": "bottlerocket@v1.53.0"}, "sharing": {"strategy": "mps", "replicas": 2}},
            "1.14.3",
            "sharing: bottlerocket@v1.53.0 has no setting for mps, which came with 1.54.0; use bottlerocket@1.54.0",
        ),
        (
            {"ami": {"alias": "bottlerocket@1.33.1"}, "gpu_names": ["h100"], "sharing": {"mig_profile": "3g.40gb"}},
            "1.14.3",
            "sharing: bottlerocket@1.33.1 has no setting for mig, which came with 1.34.0; use bottlerocket@1.34.0 or later",
        ),
    ],
)
def test_what_shares_gpus_must_be_there(given, karpenter, fault):
    settings = KarpenterSettings(version=karpenter)
    (found,) = rules.pool_fits(pool(**{"sharing": TURNS} | given), Minor(1, 33), settings, None)
    assert str(found).startswith(f"pools.p.{fault}")


def test_a_plugin_of_others_is_not_configured_behind_their_back():
    given = {"cluster": NewCluster(name="x"), "device_plugin": DevicePlugin(enabled=False)}
    with pytest.raises(
        InvalidSettings,
        match=r"Platform\(pools=\[GpuPool\(name='p', sharing=…\)\]\): is done by the device plugin, which device_plugin.enabled",
    ):
        Platform(pools=[pool(sharing=TURNS)], **given)
    Platform(pools=[pool(sharing=TURNS, ami=BOTTLEROCKET)], **given)


def test_the_ceiling_stays_one_of_gpus_whatever_they_cost_and_however_many_share_them():
    shared = pool(sharing=Sharing(strategy="mps", replicas=4))
    assert shared.effective_gpu_limit == 8
    assert shared.worst_case_usd_per_hour == replace(shared, sharing=None).worst_case_usd_per_hour
