"""One pool on the cluster: EC2NodeClass, NodePool, and the overlays for GPUs that EC2 counts otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import CfnTag, Stack, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ssm as ssm
from constructs import Construct, IDependable

from karpenter_gpu import labels
from karpenter_gpu.cdk.drain import Drain
from karpenter_gpu.cdk.target import Target, path_of
from karpenter_gpu.manifests.node_class import ec2_node_class
from karpenter_gpu.manifests.node_overlay import node_overlays
from karpenter_gpu.manifests.node_pool import node_pool
from karpenter_gpu.settings import AmiParameter, GpuPool, NewReservation, Pool, rules


class PoolManifests(Construct):
    """The Kubernetes objects of one pool.

    Args:
        pool: What the user asked for.

        cluster: Where to.

        role_name: Of the node role.

        subnet_terms, security_group_terms: Karpenter's selectors.

        controller: What must run before the class exists, and after it is gone.

        instance_profile: The nodes', where it is not Karpenter that makes it.

        volume_key_arn: KMS key of the volumes.

        drain: Gives the gate between the pool and its class: the pool is drained before the class, whose finalizer would
            wait for its nodes, is deleted.

        overwrite: Whether objects of these names that exist, and were looked for, are changed.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        pool: Pool,
        cluster: Target,
        role_name: str,
        subnet_terms: Sequence[dict[str, Any]],
        security_group_terms: Sequence[dict[str, Any]],
        controller: IDependable,
        instance_profile: str | None = None,
        volume_key_arn: str | None = None,
        drain: Drain,
        overwrite: bool,
    ) -> None:
        super().__init__(scope, id)
        for about, warning in rules.pool_warnings(pool):
            Validations.of(self).add_warning(f"karpenter-gpu:{about}", warning)
        reserve = pool.reserve if isinstance(pool, GpuPool) else ()
        self.reservations = [self._reservation(made, pool.name, cluster.name) for made in reserve]
        documents = {
            "NodeClass": ec2_node_class(
                pool,
                role=role_name,
                subnets=subnet_terms,
                security_groups=security_group_terms,
                parameter_ami_id=self._parameter_ami_id(pool.ami) if isinstance(pool.ami, AmiParameter) else None,
                instance_profile=instance_profile,
                volume_key_arn=volume_key_arn,
                made_reservations=[made.ref for made in self.reservations],
            ),
            "NodePool": node_pool(pool),
        }
        # Each under an id of its own: kubectl does not delete what an id no longer names.
        overlays = {f"NodeOverlay{one['metadata']['name'].removeprefix(pool.name)}": one for one in node_overlays(pool)}
        documents |= overlays
        self.paths = [path_of(document) for document in documents.values()]
        made = {id: cluster.manifest(self, id, document, overwrite=overwrite) for id, document in documents.items()}
        self.node_class, self.node_pool = made["NodeClass"], made["NodePool"]
        self.node_class.node.add_dependency(controller)
        self.drain = drain.of_pool(self, "Drain", pool.name)
        self.drain.node.add_dependency(self.node_class)
        self.node_pool.node.add_dependency(self.drain)
        for overlay in map(made.__getitem__, overlays):
            overlay.node.add_dependency(self.node_class)
            self.node_pool.node.add_dependency(overlay)

    def _parameter_ami_id(self, ami: AmiParameter) -> str:
        return ssm.StringParameter.value_for_typed_string_parameter_v2(
            self, ami.ssm_parameter, ssm.ParameterValueType.AWS_EC2_IMAGE_ID
        )

    def _reservation(self, made: NewReservation, pool: str, cluster: str) -> ec2.CfnCapacityReservation:
        """One reservation, named by what cannot be changed of it: any other order of the list leaves it alone.

        It waits for nothing, so that a deployment for which EC2 has no capacity fails before it has made much. Its tags
        never change under one logical id, and so are not the stack's: by the CDK's copy of its schema,
        though not by a later one, other tags are another reservation.

        Source: the CloudFormation schema of AWS::EC2::CapacityReservation, createOnlyProperties.
        """
        stack = Stack.of(self)
        tags = {
            "Name": f"{cluster}-{pool}",
            labels.cluster_tag(cluster): "owned",
            labels.NODEPOOL: pool,
            labels.MADE_BY_TAG: stack.stack_name,
        }
        return ec2.CfnCapacityReservation(
            self,
            f"Reservation-{made.instance_type}-{made.zone}",
            instance_type=made.instance_type,
            instance_platform="Linux/UNIX",
            availability_zone=made.zone,
            instance_count=made.count,
            instance_match_criteria="targeted",
            end_date_type="limited" if made.ends else "unlimited",
            end_date=made.ends.strftime("%Y-%m-%dT%H:%M:%SZ") if made.ends else None,
            tag_specifications=[
                ec2.CfnCapacityReservation.TagSpecificationProperty(
                    resource_type="capacity-reservation",
                    tags=[CfnTag(key=key, value=value) for key, value in tags.items()],
                )
            ],
        )
