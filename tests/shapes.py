"""The shapes of platform that the tests look at, each synthesized once."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from karpenter_gpu import (
    MPS,
    POD_IDENTITY,
    TIME_SLICING,
    AmiAlias,
    DevicePlugin,
    EksGpuStack,
    ExistingCluster,
    ExistingVpc,
    GpuPool,
    Health,
    KarpenterSettings,
    Metrics,
    MigSharing,
    NewCluster,
    NewReservation,
    NewVpc,
    Platform,
    ReservationById,
    ReservationsByTags,
    Sharing,
    SystemNodes,
    platform_from_context,
)

# isort: split
import aws_cdk as cdk
from aws_cdk.assertions import Template

from tests.graph import Graph

ROOT = Path(__file__).parent.parent
CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
ACCOUNT = "111122223333"
# What a test's own app is synthesized with: no copies of assets, and node groups of an image that there is.
PLAIN = {"aws:cdk:disable-asset-staging": True, "@aws-cdk/aws-eks:defaultToAL2023": True}

PLAIN_POOL = GpuPool(name="inference", gpu_names=("l4",), gpu_limit=8)

EXISTING_CLUSTER = ExistingCluster(
    name="there",
    kubernetes_version="1.36",
    authentication_mode="API_AND_CONFIG_MAP",
    ip_family="ipv4",
    oidc_issuer="https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
    cluster_security_group_id="sg-0123456789abcdef0",
    subnet_ids=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
    kubectl_in_vpc=True,
)


@dataclass(frozen=True)
class Shape:
    """A synthesized stack."""

    stack: EksGpuStack
    template: dict[str, Any]

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.template)

    def with_nested(self) -> list[dict[str, Any]]:
        """The stack's template, and those of the stacks in it."""
        below = [child for child in self.stack.node.find_all() if isinstance(child, cdk.NestedStack)]
        return [self.template, *(Template.from_stack(child).to_json() for child in below)]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        return {name: self.template["Resources"][name] for name in self.graph.of_type(kind)}

    def only(self, kind: str) -> dict[str, Any]:
        """The properties of the one resource of a type."""
        (resource,) = self.of_type(kind).values()
        return resource["Properties"]

    def manifests(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Every Kubernetes object by kind and name, with tokens as the template has them inside angle brackets."""
        documents = {}
        for resource in self.of_type("Custom::AWSCDK-EKS-KubernetesResource").values():
            for document in json.loads(text_of(resource["Properties"]["Manifest"])):
                documents[document["kind"], document["metadata"]["name"]] = document
        return documents

    def chart(self, release: str) -> dict[str, Any]:
        """The properties of one chart, its values parsed."""
        (found,) = (
            resource["Properties"]
            for resource in self.of_type("Custom::AWSCDK-EKS-HelmChart").values()
            if resource["Properties"]["Release"] == release
        )
        return found | {"Values": json.loads(text_of(found.get("Values", "{}")))}


def text_of(value: Any) -> str:
    """Text with its references as `<LogicalId>` or `<LogicalId.Attribute>`."""
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return separator.join(map(text_of, parts))
    if "Ref" in value:
        return f"<{value['Ref']}>"
    return f"<{'.'.join(value['Fn::GetAtt'])}>"


def platform(profile: str, **overrides: str) -> Platform:
    return platform_from_context(CONTEXT | {"profile": profile} | overrides)


def _of_platform(made: Platform) -> dict[str, Any]:
    return {
        "cluster": made.cluster,
        "pools": made.pools,
        "karpenter": made.karpenter,
        "device_plugin": made.device_plugin,
        "health": made.health,
        "metrics": made.metrics,
        "permissions_boundary": made.permissions_boundary,
        "env": cdk.Environment(account=made.account, region=made.region),
    }


def _in(region: str) -> dict[str, Any]:
    return _of_platform(platform("default", region=region, account=ACCOUNT))


MIRROR = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"

_BY_TURNS = Sharing(strategy=TIME_SLICING, replicas=4)
_BOTTLEROCKET = AmiAlias(alias="bottlerocket@1.62.0")

_SHAPES: dict[str, Any] = {
    "default": lambda: _of_platform(platform("default")),
    "walkthrough": lambda: _of_platform(platform("walkthrough")),
    "aws": lambda: _in("eu-west-1"),
    "aws-cn": lambda: _in("cn-north-1"),
    "aws-us-gov": lambda: _in("us-gov-west-1"),
    "pod-identity": lambda: {
        "cluster": NewCluster(name="pods", public_access_cidrs=()),
        "pools": [PLAIN_POOL],
        "karpenter": KarpenterSettings(identity=POD_IDENTITY, namespace="karpenter"),
    },
    "ipv6": lambda: {
        "cluster": NewCluster(
            name="six",
            ip_family="ipv6",
            network=NewVpc(nat_gateways=2),
            public_access_cidrs=("203.0.113.0/24",),
            system_nodes=SystemNodes(instance_types=("c6i.xlarge", "c5.xlarge"), count=3, disk_gib=80),
        ),
        "pools": [PLAIN_POOL],
    },
    "existing-vpc": lambda: {
        "cluster": NewCluster(
            name="moved-in",
            network=ExistingVpc(
                vpc_id="vpc-0123456789abcdef0",
                availability_zones=("eu-west-1a", "eu-west-1b"),
                private_subnet_ids=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
            ),
            admins=(f"arn:aws:iam::{ACCOUNT}:role/ops", f"arn:aws:iam::{ACCOUNT}:user/eve"),
            secrets_key_arn=f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/0a1b",
        ),
        "pools": [PLAIN_POOL],
        "env": cdk.Environment(account=ACCOUNT, region="eu-west-1"),
    },
    "existing-cluster": lambda: {
        "cluster": EXISTING_CLUSTER,
        "pools": [PLAIN_POOL],
        "env": cdk.Environment(account=ACCOUNT, region="eu-west-1"),
    },
    "existing-cluster-of-aws-auth": lambda: {
        "cluster": replace(
            EXISTING_CLUSTER,
            authentication_mode="CONFIG_MAP",
            kubectl_role_arn=f"arn:aws:iam::{ACCOUNT}:role/ops",
            discovery="ids",
        ),
        "pools": [PLAIN_POOL],
        "karpenter": KarpenterSettings(on_fargate=True),
        "env": cdk.Environment(account=ACCOUNT, region="eu-west-1"),
    },
    "taken-over": lambda: {
        "cluster": EXISTING_CLUSTER,
        "pools": [PLAIN_POOL],
        "karpenter": KarpenterSettings(
            adopt=True, node_role_arn=f"arn:aws:iam::{ACCOUNT}:role/team/their-nodes", namespace="karpenter"
        ),
        "env": cdk.Environment(account=ACCOUNT, region="eu-west-1"),
    },
    "isolated": lambda: {
        "cluster": NewCluster(
            name="inside",
            network=ExistingVpc(
                vpc_id="vpc-0123456789abcdef0",
                availability_zones=("eu-west-1a", "eu-west-1b"),
                private_subnet_ids=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
            ),
            public_access_cidrs=(),
            system_nodes=SystemNodes(volume_key_arn=f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/0a1b"),
        ),
        "karpenter": KarpenterSettings(
            isolated=True,
            charts=f"oci://{MIRROR}/karpenter",
            values={"controller": {"image": {"repository": f"{MIRROR}/karpenter/controller", "digest": ""}}},
            volume_key_arn=f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/0a1b",
            controller_statements=({"Effect": "Allow", "Action": "kms:List*", "Resource": "*"},),
            node_statements=({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::models/*"},),
        ),
        "device_plugin": DevicePlugin(image=f"{MIRROR}/nvidia/k8s-device-plugin"),
        "metrics": Metrics(image=f"{MIRROR}/nvidia/dcgm-exporter"),
        "pools": [PLAIN_POOL],
        "tags": {"team": "ml"},
        "env": cdk.Environment(account=ACCOUNT, region="eu-west-1"),
    },
    "reserved": lambda: {
        "cluster": NewCluster(name="kept", network=NewVpc(availability_zones=("eu-west-1a", "eu-west-1b"))),
        "pools": [
            GpuPool(
                name="ladder",
                gpu_names=("l4",),
                capacity_types=("reserved", "spot", "on-demand"),
                reservations=(ReservationsByTags(tags={"team": "ml"}, owner=ACCOUNT, match="targeted"),),
                reserve=(
                    NewReservation(instance_type="g6.xlarge", zone="eu-west-1a", count=2, until="2098-01-31T18:00Z"),
                ),
                gpu_limit=8,
            ),
            GpuPool(
                name="block",
                instance_types=("p5.48xlarge",),
                capacity_types=("reserved",),
                reservations=(ReservationById(id="cr-0123456789abcdef0", capacity_block=True),),
                gpu_limit=16,
                termination_grace_period="9m",
            ),
        ],
        "tags": {"team": "ml"},
        "env": cdk.Environment(account=ACCOUNT, region="eu-west-1"),
    },
    "every-kind-of-pool": lambda: {
        "cluster": NewCluster(name="zoo"),
        "karpenter": KarpenterSettings(role_path="/platform/"),
        "pools": [
            GpuPool(name="fractional", instance_families=("g6f",), gpu_limit=4),
            GpuPool(name="bottle", gpu_names=("l4",), gpu_limit=4, ami=_BOTTLEROCKET),
            GpuPool(name="arm", gpu_names=("t4g",), architecture="arm64", gpu_limit=4),
        ],
        "permissions_boundary": "Boundary",
    },
    "gpus-of-every-kind": lambda: {
        "cluster": NewCluster(name="shared"),
        "health": Health(repair=True),
        "metrics": Metrics(service_monitor=True),
        "pools": [
            GpuPool(name="shared", gpu_names=("l4",), gpu_counts=(1, 4), gpu_limit=4, sharing=_BY_TURNS),
            GpuPool(name="at-once", gpu_names=("l4",), gpu_limit=4, sharing=Sharing(strategy=MPS, replicas=3)),
            GpuPool(name="bottles", gpu_names=("l4",), gpu_limit=4, sharing=_BY_TURNS, ami=_BOTTLEROCKET),
            GpuPool(
                name="slices",
                gpu_names=("h100",),
                gpu_limit=8,
                sharing=MigSharing(mig_profile="1g.10gb"),
                ami=_BOTTLEROCKET,
            ),
        ],
    },
}


def arguments(name: str) -> dict[str, Any]:
    """What `EksGpuStack` is given for a shape."""
    return _SHAPES[name]()


@cache
def synthesized(name: str) -> Shape:
    app = cdk.App(context=CONTEXT | {"aws:cdk:disable-asset-staging": True})
    stack = EksGpuStack(app, "EksGpuStack", **arguments(name))
    return Shape(stack, Template.from_stack(stack).to_json())


SHAPES = tuple(_SHAPES)


if __name__ == "__main__":
    # Every shape's template, for cfn-lint: python -m tests.shapes DIRECTORY
    for shape_name in SHAPES:
        path = Path(sys.argv[1]) / f"{shape_name}.template.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(synthesized(shape_name).template, indent=1))
