"""One GPU pool on the cluster: EC2NodeClass, NodePool, and the overlays for GPUs that EC2 counts otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import aws_ssm as ssm
from constructs import Construct, IDependable

from karpenter_gpu.cdk.drain import Drain
from karpenter_gpu.cdk.target import Target, path_of
from karpenter_gpu.manifests.node_class import ec2_node_class
from karpenter_gpu.manifests.node_overlay import node_overlays
from karpenter_gpu.manifests.node_pool import node_pool
from karpenter_gpu.settings import AmiParameter, GpuPool


class GpuPoolManifests(Construct):
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
        pool: GpuPool,
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
        parameter_ami_id = None
        if isinstance(pool.ami, AmiParameter):
            parameter_ami_id = ssm.StringParameter.value_for_typed_string_parameter_v2(
                self, pool.ami.ssm_parameter, ssm.ParameterValueType.AWS_EC2_IMAGE_ID
            )
        documents = {
            "NodeClass": ec2_node_class(
                pool,
                role=role_name,
                subnets=subnet_terms,
                security_groups=security_group_terms,
                parameter_ami_id=parameter_ami_id,
                instance_profile=instance_profile,
                volume_key_arn=volume_key_arn,
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
