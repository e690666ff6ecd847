"""Where moto is extended: every operation that the rehearsal answers itself, by service.

moto falls short of what Karpenter, the CDK and a cluster's programs rely on; each file says in what, for one service.
What is not in these tables is moto's own answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from eks_rehearsal.aws.extensions.cloudcontrol import CloudControl
from eks_rehearsal.aws.extensions.ec2 import Ec2
from eks_rehearsal.aws.extensions.ecr import EcrPublic
from eks_rehearsal.aws.extensions.eks import Eks
from eks_rehearsal.aws.extensions.eks_access import AccessEntries
from eks_rehearsal.aws.extensions.eks_addons import Addons
from eks_rehearsal.aws.extensions.eks_clusters import Clusters
from eks_rehearsal.aws.extensions.eks_fargate import FargateProfiles
from eks_rehearsal.aws.extensions.eks_nodegroups import Nodegroups
from eks_rehearsal.aws.extensions.eks_pod_identity import PodIdentity
from eks_rehearsal.aws.extensions.events import AwsEvents
from eks_rehearsal.aws.extensions.functions import FunctionLogs
from eks_rehearsal.aws.extensions.iam import Iam
from eks_rehearsal.aws.extensions.pricing import Pricing
from eks_rehearsal.aws.extensions.reservations import CapacityReservations
from eks_rehearsal.aws.extensions.s3 import S3
from eks_rehearsal.aws.extensions.ssm import Ssm
from eks_rehearsal.aws.extensions.states import StepFunctions
from eks_rehearsal.aws.extensions.sts import Roles, Sts
from eks_rehearsal.aws.world import Operations, World


@dataclass(frozen=True)
class Extensions:
    """What extends moto for one world.

    Args:
        operations: Answered here instead of by moto.

        roles: Which role an access key stands for.

        clusters: EKS's.

        events: Sends what AWS itself would.

        reservations: EC2's reserved capacity, of which Capacity Blocks are bought beside every API that is emulated.

        logs: Where functions write.
    """

    operations: Operations
    roles: Roles
    clusters: Clusters
    events: AwsEvents
    reservations: CapacityReservations
    logs: FunctionLogs


def extend(world: World) -> Extensions:
    """Every extension, for an account in a region."""
    roles, clusters = Roles(world), Clusters(world)
    identity, ec2 = PodIdentity(clusters, roles), Ec2(world)
    logs = FunctionLogs(world)
    services = (
        CloudControl(clusters),
        ec2,
        EcrPublic(),
        Eks(clusters),
        AccessEntries(clusters),
        identity,
        Addons(clusters, identity),
        Nodegroups(clusters),
        FargateProfiles(clusters, roles),
        logs,
        Iam(world),
        Pricing(world),
        S3(),
        Ssm(world),
        StepFunctions(world, roles),
        Sts(world, roles),
    )
    operations = {key: operation for service in services for key, operation in service.operations.items()}
    return Extensions(operations, roles, clusters, AwsEvents(world), ec2.reservations, logs)
