"""EC2NodeClass: how a pool's instances are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from karpenter_gpu.manifests.user_data import user_data
from karpenter_gpu.settings import AmiAlias, AmiIds, GpuPool, Pool, ReservationById, ReservationsByTags
from karpenter_gpu.settings.chart import merged


def ec2_node_class(
    pool: Pool,
    *,
    role: str,
    subnets: Sequence[dict[str, Any]],
    security_groups: Sequence[dict[str, Any]],
    parameter_ami_id: str | None = None,
    instance_profile: str | None = None,
    volume_key_arn: str | None = None,
    made_reservations: Sequence[str] = (),
) -> dict[str, Any]:
    """The class of one pool.

    Args:
        role: Name of the node role, without its path.

        subnets, security_groups: Karpenter's selector terms, of pools that say no subnets of their own.

        instance_profile: One that exists, in place of the role, of which Karpenter would make one itself.

        volume_key_arn: KMS key of the volumes. Default: the account's for EBS.

        parameter_ami_id: What the pool's `AmiParameter` holds; only for such a pool.

        made_reservations: Ids of the reservations that were made for the pool.

    Source: EC2NodeClass CRD, v1.0.1 to v1.15.1; what a pool without reservations has exists in all of them.
    """
    spec: dict[str, Any] = {
        **({"instanceProfile": instance_profile} if instance_profile else {"role": role}),
        "amiFamily": pool.ami.family,
        "amiSelectorTerms": _ami_terms(pool, parameter_ami_id),
        "subnetSelectorTerms": [{"id": id} for id in pool.subnet_ids] or list(subnets),
        "securityGroupSelectorTerms": list(security_groups),
        "blockDeviceMappings": _volumes(pool, volume_key_arn),
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpPutResponseHopLimit": pool.http_put_response_hop_limit,
            "httpTokens": "required",
        },
    }
    if pool.storage_policy:
        spec["instanceStorePolicy"] = pool.storage_policy
    if told := user_data(pool):
        spec["userData"] = told
    named = pool.reservations if isinstance(pool, GpuPool) else ()
    if reservations := [*map(_reservation_term, named), *({"id": id} for id in made_reservations)]:
        spec["capacityReservationSelectorTerms"] = reservations
    if pool.tags:
        spec["tags"] = dict(pool.tags)
    if kubelet := pool.kubelet.rendered():
        spec["kubelet"] = kubelet
    return {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": pool.name},
        "spec": merged(spec, pool.class_spec),
    }


def _ami_terms(pool: Pool, parameter_ami_id: str | None) -> list[dict[str, str]]:
    if isinstance(pool.ami, AmiAlias):
        return [{"alias": pool.ami.alias}]
    if isinstance(pool.ami, AmiIds):
        return [{"id": ami} for ami in pool.ami.ami_ids]
    assert parameter_ami_id is not None
    return [{"id": parameter_ami_id}]


def _reservation_term(one: ReservationById | ReservationsByTags) -> dict[str, Any]:
    if isinstance(one, ReservationById):
        return {"id": one.id}
    said = {"tags": dict(one.tags), "ownerID": one.owner, "instanceMatchCriteria": one.match}
    return {name: value for name, value in said.items() if value is not None}


def _volumes(pool: Pool, key_arn: str | None) -> list[dict[str, Any]]:
    """The root volume, or for Bottlerocket its two: the system on xvda, images and containers on xvdb.

    Source: karpenter-provider-aws pkg/providers/amifamily/{al2,al2023,bottlerocket}.go; a Bottlerocket system volume
    must hold the image's snapshot, which is 6 GiB from 1.15 on.
    """
    common = _EBS | ({"kmsKeyID": key_arn} if key_arn else {})
    ebs: dict[str, Any] = {"volumeSize": f"{pool.disk.size_gib}Gi"} | common
    if pool.disk.iops is not None:
        ebs["iops"] = pool.disk.iops
    if pool.disk.throughput_mib is not None:
        ebs["throughput"] = pool.disk.throughput_mib
    if isinstance(pool, GpuPool) and pool.image_snapshot is not None:
        ebs["snapshotID"] = pool.image_snapshot
        if pool.image_snapshot_mib is not None:
            ebs["volumeInitializationRate"] = pool.image_snapshot_mib
    if pool.ami.family == "Bottlerocket":
        return [
            {"deviceName": "/dev/xvda", "ebs": {"volumeSize": "10Gi"} | common},
            {"deviceName": "/dev/xvdb", "ebs": ebs},
        ]
    return [{"deviceName": "/dev/xvda", "ebs": ebs}]


_EBS: dict[str, Any] = {"volumeType": "gp3", "encrypted": True, "deleteOnTermination": True}
