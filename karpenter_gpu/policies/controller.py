"""What Karpenter's controller may do, version by version.

Source: karpenter-provider-aws website/content/en/v1.N/getting-started/getting-started-with-karpenter/cloudformation.yaml,
the last version of that file for every minor N up to 1.14. For 1.15 no such file was seen; by its code (every AWS call
in v1.15.1) the policy of 1.14 is enough for its defaults.

The statements are split into parts as upstream splits them since 1.9, for every version: one managed policy holds 6,144
characters, and the whole of 1.12 and later does not fit that for any but the shortest cluster names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from karpenter_gpu.labels import EKS_CLUSTER_TAG, NODECLAIM, NODECLASS, NODEPOOL, cluster_tag
from karpenter_gpu.versions import Minor

# AWS: characters in a managed policy, white space not counted.
MANAGED_POLICY_LIMIT: Final = 6144


@dataclass(frozen=True)
class Names:
    """What stands in the documents in place of `{…}`; all but the cluster's name may be CDK tokens."""

    cluster: str
    partition: str
    region: str
    account: str
    node_role_arn: str
    queue_arn: str
    volume_key_arn: str = ""


@dataclass(frozen=True)
class _Only:
    """A line that not every version has: from `since` on, and before `until`."""

    text: str
    since: Minor = Minor(1, 0)
    until: Minor = Minor(2, 0)


_Line = str | _Only


@dataclass(frozen=True)
class _Statement:
    part: str
    sid: str
    actions: tuple[_Line, ...]
    resources: tuple[_Line, ...] = ("*",)
    conditions: Mapping[str, Mapping[str, str | tuple[str, ...]]] = field(default_factory=dict)
    since: Minor = Minor(1, 0)
    reboots: bool = False
    with_volume_key: bool = False


_OWNED: Final = "aws:{}/" + cluster_tag("{{cluster}}")
_REQUEST_OWNED: Final = _OWNED.format("RequestTag")
_RESOURCE_OWNED: Final = _OWNED.format("ResourceTag")
_REQUEST_EKS: Final = f"aws:RequestTag/{EKS_CLUSTER_TAG}"
_REQUEST_POOL: Final = f"aws:RequestTag/{NODEPOOL}"
_RESOURCE_POOL: Final = f"aws:ResourceTag/{NODEPOOL}"
_REQUEST_CLASS: Final = f"aws:RequestTag/{NODECLASS}"
_RESOURCE_CLASS: Final = f"aws:ResourceTag/{NODECLASS}"
_REQUEST_REGION: Final = "aws:RequestTag/topology.kubernetes.io/region"
_RESOURCE_REGION: Final = "aws:ResourceTag/topology.kubernetes.io/region"


def _ec2(kind: str, account: str = "*") -> str:
    return f"arn:{{partition}}:ec2:{{region}}:{account}:{kind}/*"


_LAUNCHED: Final = tuple(
    _ec2(kind)
    for kind in ("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request")
)
_PROFILES: Final = ("arn:{partition}:iam::{account}:instance-profile/*",)
_CLUSTER: Final = "arn:{partition}:eks:{region}:{account}:cluster/{cluster}"

_STATEMENTS: Final = (
    _Statement(
        "NodeLifecycle",
        "AllowScopedEC2InstanceAccessActions",
        ("ec2:RunInstances", "ec2:CreateFleet"),
        (
            _ec2("image", ""),
            _ec2("snapshot", ""),
            _ec2("security-group"),
            _ec2("subnet"),
            _Only(_ec2("capacity-reservation"), since=Minor(1, 3)),
            _Only(_ec2("placement-group"), since=Minor(1, 11)),
        ),
    ),
    _Statement(
        "NodeLifecycle",
        "AllowScopedEC2LaunchTemplateAccessActions",
        ("ec2:RunInstances", "ec2:CreateFleet"),
        (_ec2("launch-template"),),
        {"StringEquals": {_RESOURCE_OWNED: "owned"}, "StringLike": {_RESOURCE_POOL: "*"}},
    ),
    _Statement(
        "NodeLifecycle",
        "AllowScopedEC2InstanceActionsWithTags",
        ("ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"),
        (*_LAUNCHED, _Only(_ec2("capacity-reservation"), since=Minor(1, 3), until=Minor(1, 9))),
        {
            "StringEquals": {_REQUEST_OWNED: "owned", _REQUEST_EKS: "{cluster}"},
            "StringLike": {_REQUEST_POOL: "*"},
        },
    ),
    _Statement(
        "NodeLifecycle",
        "AllowScopedResourceCreationTagging",
        ("ec2:CreateTags",),
        _LAUNCHED,
        {
            "StringEquals": {
                _REQUEST_OWNED: "owned",
                _REQUEST_EKS: "{cluster}",
                "ec2:CreateAction": ("RunInstances", "CreateFleet", "CreateLaunchTemplate"),
            },
            "StringLike": {_REQUEST_POOL: "*"},
        },
    ),
    _Statement(
        "NodeLifecycle",
        "AllowScopedResourceTagging",
        ("ec2:CreateTags",),
        (_ec2("instance"),),
        {
            "StringEquals": {_RESOURCE_OWNED: "owned"},
            "StringLike": {_RESOURCE_POOL: "*"},
            "StringEqualsIfExists": {_REQUEST_EKS: "{cluster}"},
            "ForAllValues:StringEquals": {"aws:TagKeys": (EKS_CLUSTER_TAG, NODECLAIM, "Name")},
        },
    ),
    _Statement(
        "NodeLifecycle",
        "AllowScopedDeletion",
        ("ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"),
        (_ec2("instance"), _ec2("launch-template")),
        {"StringEquals": {_RESOURCE_OWNED: "owned"}, "StringLike": {_RESOURCE_POOL: "*"}},
    ),
    # Not upstream's: made for 1.15's RebootForRepair by its code (pkg/providers/instance/instance.go), on the conditions
    # of AllowScopedDeletion.
    _Statement(
        "NodeLifecycle",
        "AllowScopedReboot",
        ("ec2:RebootInstances",),
        (_ec2("instance"),),
        {"StringEquals": {_RESOURCE_OWNED: "owned"}, "StringLike": {_RESOURCE_POOL: "*"}},
        since=Minor(1, 15),
        reboots=True,
    ),
    # Not upstream's, whose troubleshooting page leaves them to the key's policy: what EC2 asks of whoever launches an
    # instance with volumes under a customer-managed key (EBS user guide, "Requirements for Amazon EBS encryption").
    # ViaService ends with .cn in China.
    _Statement(
        "NodeVolumes",
        "AllowVolumeKeyThroughEC2",
        ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt*"),
        ("{volume_key_arn}",),
        {"StringLike": {"kms:ViaService": "ec2.{region}.amazonaws.com*"}},
        with_volume_key=True,
    ),
    _Statement(
        "NodeVolumes",
        "AllowVolumeKeyGrantsForEC2",
        ("kms:CreateGrant",),
        ("{volume_key_arn}",),
        {
            "StringLike": {"kms:ViaService": "ec2.{region}.amazonaws.com*"},
            "Bool": {"kms:GrantIsForAWSResource": "true"},
        },
        with_volume_key=True,
    ),
    _Statement(
        "IAMIntegration",
        "AllowPassingInstanceRole",
        ("iam:PassRole",),
        ("{node_role_arn}",),
        {"StringEquals": {"iam:PassedToService": ("ec2.amazonaws.com", "ec2.amazonaws.com.cn")}},
    ),
    _Statement(
        "IAMIntegration",
        "AllowScopedInstanceProfileCreationActions",
        ("iam:CreateInstanceProfile",),
        _PROFILES,
        {
            "StringEquals": {_REQUEST_OWNED: "owned", _REQUEST_EKS: "{cluster}", _REQUEST_REGION: "{region}"},
            "StringLike": {_REQUEST_CLASS: "*"},
        },
    ),
    _Statement(
        "IAMIntegration",
        "AllowScopedInstanceProfileTagActions",
        ("iam:TagInstanceProfile",),
        _PROFILES,
        {
            "StringEquals": {
                _RESOURCE_OWNED: "owned",
                _RESOURCE_REGION: "{region}",
                _REQUEST_OWNED: "owned",
                _REQUEST_EKS: "{cluster}",
                _REQUEST_REGION: "{region}",
            },
            "StringLike": {_RESOURCE_CLASS: "*", _REQUEST_CLASS: "*"},
        },
    ),
    _Statement(
        "IAMIntegration",
        "AllowScopedInstanceProfileActions",
        ("iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"),
        _PROFILES,
        {
            "StringEquals": {_RESOURCE_OWNED: "owned", _RESOURCE_REGION: "{region}"},
            "StringLike": {_RESOURCE_CLASS: "*"},
        },
    ),
    _Statement("EKSIntegration", "AllowAPIServerEndpointDiscovery", ("eks:DescribeCluster",), (_CLUSTER,)),
    _Statement(
        "Interruption",
        "AllowInterruptionQueueActions",
        ("sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"),
        ("{queue_arn}",),
    ),
    _Statement(
        "ZonalShift",
        "AllowZonalShiftStatusReadOnly",
        ("arc-zonal-shift:GetManagedResource",),
        conditions={"StringEquals": {"arc-zonal-shift:ResourceIdentifier": _CLUSTER}},
        since=Minor(1, 12),
    ),
    _Statement(
        "ResourceDiscovery",
        "AllowRegionalReadActions",
        (
            _Only("ec2:DescribeCapacityReservations", since=Minor(1, 3)),
            "ec2:DescribeImages",
            "ec2:DescribeInstances",
            _Only("ec2:DescribeInstanceStatus", since=Minor(1, 12)),
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplates",
            _Only("ec2:DescribePlacementGroups", since=Minor(1, 11)),
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSpotPriceHistory",
            "ec2:DescribeSubnets",
        ),
        conditions={"StringEquals": {"aws:RequestedRegion": "{region}"}},
    ),
    _Statement(
        "ResourceDiscovery",
        "AllowSSMReadActions",
        ("ssm:GetParameter",),
        ("arn:{partition}:ssm:{region}::parameter/aws/service/*",),
    ),
    _Statement("ResourceDiscovery", "AllowPricingReadActions", ("pricing:GetProducts",)),
    _Statement(
        "ResourceDiscovery", "AllowUnscopedInstanceProfileListAction", ("iam:ListInstanceProfiles",), since=Minor(1, 7)
    ),
    _Statement("ResourceDiscovery", "AllowInstanceProfileReadActions", ("iam:GetInstanceProfile",), _PROFILES),
)


def controller_policies(karpenter: Minor, names: Names, *, reboots: bool = False) -> dict[str, dict[str, Any]]:
    """The documents of one Karpenter minor by part: `NodeLifecycle`, `IAMIntegration` and so on.

    Args:
        reboots: Whether the gate `rebootForRepair` is on, the only one that needs an action of its own.
    """
    documents: dict[str, dict[str, Any]] = {}
    for statement in _STATEMENTS:
        wanted = (reboots or not statement.reboots) and (names.volume_key_arn or not statement.with_volume_key)
        if statement.since <= karpenter and wanted:
            document = documents.setdefault(statement.part, {"Version": "2012-10-17", "Statement": []})
            document["Statement"].append(_rendered(statement, karpenter, names))
    return documents


def _rendered(statement: _Statement, karpenter: Minor, names: Names) -> dict[str, Any]:
    words = asdict(names)

    def lines(given: tuple[_Line, ...]) -> Iterator[str]:
        for line in given:
            if isinstance(line, str):
                yield line.format(**words)
            elif line.since <= karpenter < line.until:
                yield line.text.format(**words)

    def value(given: str | tuple[str, ...]) -> str | list[str]:
        return given.format(**words) if isinstance(given, str) else list(given)

    rendered: dict[str, Any] = {
        "Sid": statement.sid,
        "Effect": "Allow",
        "Action": list(lines(statement.actions)),
        "Resource": list(lines(statement.resources)),
    }
    if statement.conditions:
        rendered["Condition"] = {
            operator: {key.format(**words): value(of) for key, of in keys.items()}
            for operator, keys in statement.conditions.items()
        }
    return rendered
