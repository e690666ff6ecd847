from dataclasses import replace

from karpenter_gpu import AmiAlias, AmiIds, AmiParameter, GpuPool, Kubelet, RootVolume
from karpenter_gpu.manifests.node_class import ec2_node_class
from karpenter_gpu.settings.rest import CLASS_OWNED

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


def test_a_pool_can_have_subnets_of_its_own():
    found = spec(replace(POOL, subnet_ids=("subnet-0123456789abcdef0",)))
    assert found["subnetSelectorTerms"] == [{"id": "subnet-0123456789abcdef0"}]
    assert spec(POOL)["subnetSelectorTerms"] == [{"id": "subnet-1"}]


def test_every_volume_has_the_key_that_was_given():
    for pool in (POOL, replace(POOL, ami=AmiAlias(alias="bottlerocket@1.62.0"))):
        keys = [volume["ebs"].get("kmsKeyID") for volume in spec(pool, volume_key_arn="KEY")["blockDeviceMappings"]]
        assert set(keys) == {"KEY"}
        assert not any("kmsKeyID" in volume["ebs"] for volume in spec(pool)["blockDeviceMappings"])


def test_an_instance_profile_that_exists_stands_in_place_of_the_role():
    assert "role" not in spec(POOL, instance_profile="Nodes")
    assert spec(POOL, instance_profile="Nodes")["instanceProfile"] == "Nodes"
    assert "instanceProfile" not in spec(POOL)


def test_the_kubelet_is_told_what_was_said_and_nothing_else():
    assert "kubelet" not in spec(POOL)
    kubelet = Kubelet(
        max_pods=110,
        kube_reserved={"cpu": "500m", "memory": "1Gi"},
        eviction_soft={"memory.available": "5%"},
        eviction_soft_grace_period={"memory.available": "90s"},
        image_gc_high_threshold_percent=80,
        cpu_cfs_quota=False,
        cluster_dns=("10.0.0.10",),
    )
    assert spec(replace(POOL, kubelet=kubelet))["kubelet"] == {
        "maxPods": 110,
        "kubeReserved": {"cpu": "500m", "memory": "1Gi"},
        "evictionSoft": {"memory.available": "5%"},
        "evictionSoftGracePeriod": {"memory.available": "1m30s"},
        "imageGCHighThresholdPercent": 80,
        "cpuCFSQuota": False,
        "clusterDNS": ["10.0.0.10"],
    }


def test_the_rest_of_a_class_is_merged_with_what_its_settings_say():
    pool = replace(
        POOL,
        kubelet=Kubelet(max_pods=110),
        class_spec={"detailedMonitoring": True, "kubelet": {"topologyManagerPolicy": "single-numa-node"}},
    )
    found = spec(pool)
    assert found["detailedMonitoring"] is True
    assert found["kubelet"] == {"maxPods": 110, "topologyManagerPolicy": "single-numa-node"}
    assert {**found, "kubelet": 0, "detailedMonitoring": 0} == {**spec(POOL), "kubelet": 0, "detailedMonitoring": 0}


def test_all_that_a_class_has_from_its_settings_is_refused_beside_them():
    everything = replace(POOL, instance_store_policy="RAID0", tags={"a": "b"}, user_data="#!/bin/sh")
    found = set(spec(everything, made_reservations=["cr-0a"])) | set(spec(everything, instance_profile="Nodes"))
    assert found == {path[0] for path in CLASS_OWNED} - {"kubelet"}
