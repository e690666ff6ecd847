from dataclasses import replace

from karpenter_gpu import AmiAlias, AmiIds, AmiParameter, GpuPool, RootVolume
from karpenter_gpu.manifests.node_class import ec2_node_class

POOL = GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)


def spec(pool, **more):
    return ec2_node_class(pool, role="Nodes", subnets=[{"id": "subnet-1"}], security_groups=[{"id": "sg-1"}], **more)[
        "spec"
    ]


def test_the_root_volume_is_encrypted_gp3_of_100_gib():
    assert spec(POOL)["blockDeviceMappings"] == [
        {
            "deviceName": "/dev/xvda",
            "ebs": {"volumeSize": "100Gi", "volumeType": "gp3", "encrypted": True, "deleteOnTermination": True},
        }
    ]


def test_a_faster_volume_is_as_fast_as_asked():
    volume = RootVolume(size_gib=500, iops=6000, throughput_mib=600)
    ebs = spec(replace(POOL, root_volume=volume))["blockDeviceMappings"][0]["ebs"]
    assert (ebs["volumeSize"], ebs["iops"], ebs["throughput"]) == ("500Gi", 6000, 600)


def test_bottlerocket_has_its_data_on_a_second_volume():
    first, second = spec(replace(POOL, ami=AmiAlias(alias="bottlerocket@1.62.0")))["blockDeviceMappings"]
    assert (first["deviceName"], first["ebs"]["volumeSize"]) == ("/dev/xvda", "10Gi")
    assert (second["deviceName"], second["ebs"]["volumeSize"]) == ("/dev/xvdb", "100Gi")
    assert first["ebs"]["encrypted"] is second["ebs"]["encrypted"] is True


def test_metadata_is_imdsv2_and_out_of_reach_for_pods():
    options = spec(POOL)["metadataOptions"]
    assert (options["httpTokens"], options["httpPutResponseHopLimit"]) == ("required", 1)


def test_an_image_is_found_by_alias_id_or_parameter():
    assert spec(POOL)["amiSelectorTerms"] == [{"alias": "al2023@v20260714"}]
    by_id = spec(replace(POOL, ami=AmiIds(ami_ids=("ami-0123456789abcdef0", "ami-0123456789abcdef1"), family="AL2023")))
    assert (by_id["amiSelectorTerms"], by_id["amiFamily"]) == (
        [{"id": "ami-0123456789abcdef0"}, {"id": "ami-0123456789abcdef1"}],
        "AL2023",
    )
    parameter = AmiParameter(ssm_parameter="/x", family="AL2")
    by_parameter = spec(replace(POOL, ami=parameter), parameter_ami_id="ami-3")
    assert (by_parameter["amiSelectorTerms"], by_parameter["amiFamily"]) == ([{"id": "ami-3"}], "AL2")


def test_local_disks_and_tags_are_there_when_asked_for():
    assert not {"instanceStorePolicy", "tags"} & set(spec(POOL))
    found = spec(replace(POOL, instance_store_policy="RAID0", tags={"team": "blue"}))
    assert (found["instanceStorePolicy"], found["tags"]) == ("RAID0", {"team": "blue"})
