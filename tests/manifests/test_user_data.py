import email
from dataclasses import replace

import pytest
import tomllib
import yaml

from eks_rehearsal.cluster.user_data import registration
from karpenter_gpu import AmiAlias, GpuPool, MigSharing, RootVolume
from karpenter_gpu.manifests.node_class import ec2_node_class
from karpenter_gpu.manifests.user_data import user_data
from karpenter_gpu.settings.user_data import MOST_BYTES

POOL = GpuPool(name="p", gpu_names=("l4",), gpu_limit=8, fast_start=True)
BOTTLEROCKET = replace(POOL, ami=AmiAlias(alias="bottlerocket@1.62.0"))
SHARED = replace(BOTTLEROCKET, gpu_names=("h100",), gpu_limit=8, sharing=MigSharing(mig_profile="1g.10gb"))
WITHOUT_NVME = GpuPool(name="p", instance_families=("g5g",), architecture="arm64", gpu_limit=8, fast_start=True)
SCRIPT = "#!/bin/bash\necho hello\n"
OWN = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet: {config: {logLevel: 4}}\n"


def parts(pool):
    message = email.message_from_string(user_data(pool))
    return [(part.get_content_type(), part.get_payload()) for part in message.walk() if not part.is_multipart()]


def spec(pool):
    return ec2_node_class(pool, role="Nodes", subnets=[], security_groups=[])["spec"]


def mime(*parts):
    return (
        'Content-Type: multipart/mixed; boundary="B"\n\n'
        + "".join(f"--B\nContent-Type: {kind}\n\n{content}\n" for kind, content in parts)
        + "--B--\n"
    )


@pytest.mark.parametrize(
    ("own", "kinds"),
    [
        (None, []),
        (SCRIPT, ["text/x-shellscript"]),
        (OWN, ["application/node.eks.aws"]),
        (
            mime(("text/x-shellscript", SCRIPT), ("application/node.eks.aws", OWN)),
            ["text/x-shellscript", "application/node.eks.aws"],
        ),
    ],
)
def test_al2023_is_told_to_pull_in_parallel_beside_whatever_it_is_told_otherwise(own, kinds):
    first, *others = parts(replace(POOL, user_data=own))
    assert yaml.safe_load(first[1])["spec"] == {"featureGates": {"FastImagePull": True}}
    assert [kind for kind, _ in others] == kinds
    assert all(content.strip() in {SCRIPT.strip(), OWN.strip()} for _, content in others)


def test_user_data_alone_is_passed_on_to_the_letter():
    for own in (SCRIPT, OWN):
        assert spec(replace(POOL, fast_start=False, user_data=own))["userData"] == own
    assert "userData" not in spec(replace(POOL, fast_start=False))


def test_what_karpenter_adds_and_what_we_add_make_one_node():
    karpenters = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {cluster: {name: gpu}}\n"
    whole = user_data(replace(POOL, user_data=OWN)).replace(
        "--KARPENTER-GPU--",
        f"--KARPENTER-GPU\nContent-Type: application/node.eks.aws\n\n{karpenters}\n--KARPENTER-GPU--",
    )
    assert registration(whole).cluster == "gpu"


@pytest.mark.parametrize("pool", [POOL, BOTTLEROCKET, SHARED])
def test_the_longest_user_data_leaves_karpenter_a_quarter_of_what_ec2_takes(pool):
    begin, end = ("settings.motd = '", "'") if pool.ami.family == "Bottlerocket" else ("#!", "")
    own = begin + "x" * (MOST_BYTES - len(begin + end)) + end
    assert 11 * 1024 < len(user_data(replace(pool, user_data=own))) <= 12 * 1024


def test_bottlerocket_is_told_in_its_own_settings_beside_ones_own():
    own = "[settings.container-runtime]\nmax-concurrent-downloads = 4\n"
    told = tomllib.loads(user_data(replace(BOTTLEROCKET, user_data=own)))["settings"]
    assert told["container-runtime"] == {"max-concurrent-downloads": 4, "snapshotter": "soci"}
    assert told["container-runtime-plugins"]["soci-snapshotter"]["pull-mode"] == "parallel-pull-unpack"


def test_images_go_to_the_nvme_and_where_there_is_none_the_volume_is_fast():
    assert spec(POOL)["instanceStorePolicy"] == "RAID0"
    assert "throughput" not in spec(POOL)["blockDeviceMappings"][0]["ebs"]
    assert "instanceStorePolicy" not in spec(WITHOUT_NVME)
    assert spec(WITHOUT_NVME)["blockDeviceMappings"][0]["ebs"]["throughput"] == 600
    slow = replace(WITHOUT_NVME, root_volume=RootVolume(throughput_mib=125))
    assert spec(slow)["blockDeviceMappings"][0]["ebs"]["throughput"] == 125


def test_a_snapshot_of_images_is_the_volume_they_are_on_and_no_nvme_hides_it():
    found = spec(replace(BOTTLEROCKET, image_snapshot="snap-0123456789abcdef0"))
    first, second = found["blockDeviceMappings"]
    assert "snapshotID" not in first["ebs"]
    assert (second["ebs"]["snapshotID"], second["ebs"]["throughput"]) == ("snap-0123456789abcdef0", 600)
    assert "volumeInitializationRate" not in second["ebs"]
    assert "instanceStorePolicy" not in found
    paced = spec(replace(BOTTLEROCKET, image_snapshot="snap-0123456789abcdef0", image_snapshot_mib=300))
    assert paced["blockDeviceMappings"][1]["ebs"]["volumeInitializationRate"] == 300
