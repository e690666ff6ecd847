"""An EKS cluster in any of its forms, as the constructs here need it.

`aws_eks` and `aws_eks_v2` have the same words for it; what differs is how much each form answers by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from aws_cdk import CfnResource, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks as eks_v1
from aws_cdk import aws_eks_v2 as eks_v2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct, IConstruct

from karpenter_gpu import compat, labels
from karpenter_gpu.cdk.tokens import known
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings.existing import API, API_AND_CONFIG_MAP, CONFIG_MAP
from karpenter_gpu.versions import Minor

MODES: Final = (API, API_AND_CONFIG_MAP, CONFIG_MAP)

# Groups of nodes that a cluster made in this app may have under it.
_NODES: Final = (eks_v1.Nodegroup, eks_v1.FargateProfile, eks_v2.Nodegroup, eks_v2.FargateProfile)
_NODE_GROUPS: Final = (eks_v1.CfnNodegroup, eks_v2.CfnNodegroup)
_FARGATE: Final = frozenset({"AWS::EKS::FargateProfile", "Custom::AWSCDK-EKS-FargateProfile"})
_NODE_KINDS: Final = frozenset(
    {"AWS::AutoScaling::AutoScalingGroup", "AWS::EKS::FargateProfile", "AWS::EKS::Nodegroup"}
)


class Target:
    """A cluster of either library, made in this app or imported.

    Args:
        cluster: The cluster; `faults` has found nothing wrong with it.

        name: Its name, literal.

        authentication_mode: As said; the cluster's own where it shows it.
    """

    def __init__(self, cluster: Any, *, name: str, authentication_mode: str | None) -> None:
        self.cluster = cluster
        self.name = name
        self.is_made = is_made(cluster)
        self.is_v1 = is_v1(cluster)
        self.authentication_mode = mode_of(cluster) or authentication_mode or API
        self._eks: Any = eks_v1 if self.is_v1 else eks_v2

    def manifest(self, scope: Construct, id: str, document: dict[str, Any], *, overwrite: bool) -> Construct:
        """One Kubernetes object, with the mark of its stack.

        Args:
            overwrite: Whether one that exists is changed, by `kubectl apply`; else creation fails on it.
        """
        metadata = {**document["metadata"], "annotations": {labels.MADE_BY_TAG: Stack.of(scope).stack_name}}
        made: Construct = self._eks.KubernetesManifest(
            scope,
            id,
            cluster=self.cluster,
            manifest=[{**document, "metadata": metadata}],
            prune=False,
            overwrite=overwrite,
        )
        return made

    def chart(self, scope: Construct, id: str, **properties: Any) -> Construct:
        """One Helm chart."""
        made: Construct = self._eks.HelmChart(scope, id, cluster=self.cluster, **properties)
        return made

    def addon(self, scope: Construct, id: str, name: str, version: str, values: Mapping[str, Any]) -> Construct:
        """One add-on of EKS."""
        made: Construct = self._eks.CfnAddon(
            scope,
            id,
            addon_name=name,
            addon_version=version,
            cluster_name=self.cluster_name,
            configuration_values=json.dumps(values),
            resolve_conflicts="OVERWRITE",
        )
        return made

    @property
    def cluster_name(self) -> str:
        """The name by reference, so that what has it waits for the cluster."""
        return str(self.cluster.cluster_name)

    @property
    def security_group_id(self) -> str:
        """The cluster's own, which EKS gives its control plane and its managed nodes."""
        return str(self.cluster.cluster_security_group_id)

    @property
    def vpc(self) -> ec2.IVpc:
        """Where the cluster is."""
        vpc: ec2.IVpc = self.cluster.vpc
        return vpc

    @property
    def is_ipv6(self) -> bool:
        """Whether pods have IPv6 addresses."""
        return self.cluster.ip_family in {eks_v1.IpFamily.IP_V6, eks_v2.IpFamily.IP_V6}

    @property
    def kubectl_role_arn(self) -> str | None:
        """The role that the kubectl of an `aws_eks` cluster takes."""
        role = getattr(self.cluster, "kubectl_role", None)
        return None if role is None else str(role.role_arn)

    @property
    def _is_entered_as_kubectl(self) -> bool:
        """Whether a function enters as the role that kubectl takes, because the cluster has no access entries."""
        return self.authentication_mode == CONFIG_MAP

    def statements_to_enter(self, *more: str) -> list[iam.PolicyStatement]:
        """What a function may do that asks the cluster's API server.

        Args:
            more: What else it asks EKS about the cluster.
        """
        arn = str(self.cluster.cluster_arn)
        statements = [iam.PolicyStatement(actions=["eks:DescribeCluster", *more], resources=[arn])]
        if self._is_entered_as_kubectl:
            role = str(self.kubectl_role_arn)
            statements.append(iam.PolicyStatement(actions=["sts:AssumeRole"], resources=[role]))
        return statements

    @property
    def role_to_enter(self) -> dict[str, str | None]:
        """The property that tells a function which role to enter as; none where it has an access entry."""
        return {"KubectlRoleArn": self.kubectl_role_arn} if self._is_entered_as_kubectl else {}

    def admit_as_kubectl(self, role: iam.IRole) -> bool:
        """Let a function's role take kubectl's, where that is the way in; False where it needs an access entry."""
        # A stack that goes first cannot name the role of one that comes later.
        if self._is_entered_as_kubectl and self.is_made and Stack.of(self.cluster) is Stack.of(role):
            trust = iam.PolicyStatement(actions=["sts:AssumeRole"], principals=[role])
            self.cluster.admin_role.assume_role_policy.add_statements(trust)
        return self._is_entered_as_kubectl

    @property
    def kubectl_network(self) -> lambda_.CfnFunction.VpcConfigProperty | None:
        """Where kubectl runs; None where that is in no VPC, or another stack's."""
        if self._has_own_kubectl:
            subnets = self.cluster.kubectl_private_subnets or []
            group = self.cluster.kubectl_security_group
            groups = [group.security_group_id if group else self.security_group_id]
            ids = [subnet.subnet_id for subnet in subnets]
            return lambda_.CfnFunction.VpcConfigProperty(subnet_ids=ids, security_group_ids=groups) if ids else None
        network: Any = self._kubectl_handler.node.default_child.vpc_config if self._kubectl_handler else None
        return network if isinstance(network, lambda_.CfnFunction.VpcConfigProperty) else None

    @property
    def kubectl_subnet_ids(self) -> list[str]:
        """Of `kubectl_network`."""
        network = self.kubectl_network
        return list(network.subnet_ids or ()) if network else []

    @property
    def kubectl_in_vpc(self) -> bool | None:
        """Whether what runs kubectl is inside the cluster's VPC; None where that is another stack's."""
        is_known = self._has_own_kubectl or self._kubectl_handler
        return self.kubectl_network is not None if is_known else None

    @property
    def _has_own_kubectl(self) -> bool:
        """True for an `aws_eks` cluster to which no provider was given, and which makes one."""
        return self.is_v1 and getattr(self.cluster, "kubectl_provider", None) is None

    @property
    def _kubectl_handler(self) -> Any:
        """The function of the provider that was given; None where that is another stack's."""
        return self.cluster.kubectl_provider.node.try_find_child("Handler")

    def nodes(self) -> list[Construct]:
        """The node groups and Fargate profiles of the cluster that this app has by now, under it or anywhere else."""
        found: list[Construct] = []
        for one in self.cluster.node.root.node.find_all():
            is_inner = any(one.node.path.startswith(f"{outer.node.path}/") for outer in found)
            if not is_inner and (isinstance(one, _NODES) or _kind(one) in _NODE_KINDS) and self._has(one):
                found.append(one)
        return found

    @staticmethod
    def resources_of(nodes: Construct) -> list[IConstruct]:
        """The resources that are the nodes: not their role, say, for which an `aws_eks` cluster itself waits."""
        return [one for one in nodes.node.find_all() if _kind(one) in _NODE_KINDS | _FARGATE]

    def selected_on_fargate(self, nodes: Sequence[Construct], namespace: str, labels_: Mapping[str, str]) -> bool:
        """Whether pods have somewhere to run, as far as nodes are Fargate profiles alone and show what they select."""
        for one in (one for group in nodes for one in group.node.find_all()):
            kind = _kind(one)
            if kind not in _FARGATE and kind in _NODE_KINDS:
                return True
            if kind in _FARGATE:
                selectors = _profile(one).get("selectors")
                if not isinstance(selectors, list) or any(_selects(each, namespace, labels_) for each in selectors):
                    return True
        return False

    def _has(self, nodes: Construct) -> bool:
        """Whether nodes are this cluster's: under it, or of its name."""
        if self.is_made and nodes.node.path.startswith(f"{self.cluster.node.path}/"):
            return True
        inside = nodes.node.find_all()
        if {getattr(one, "cluster_name", None) for one in inside} & {self.name, self.cluster_name}:
            return True
        name = Stack.of(nodes).resolve(self.cluster_name)
        return any(_profile(one).get("clusterName") == name for one in inside if _kind(one) in _FARGATE)


def _profile(one: Any) -> Mapping[str, Any]:
    """The properties of a Fargate profile: that of `aws_eks` is a custom resource, and nothing but these shows them."""
    shown = Stack.of(one).resolve(one._cfn_properties)  # noqa: SLF001 - protected in the CDK
    properties: Mapping[str, Any] = shown.get("Config", shown)
    return properties


def _selects(selector: Mapping[str, Any], namespace: str, labels_: Mapping[str, str]) -> bool:
    """Whether a Fargate profile's selector is of pods; what is not known yet may be.

    Source: EKS user guide, "Define which Pods use AWS Fargate when launched": `*` and `?` stand for any characters.
    """
    wanted = selector.get("labels") or {}
    pairs = wanted if isinstance(wanted, Mapping) else {one["key"]: one["value"] for one in wanted}
    texts = [(selector.get("namespace"), namespace), *((value, labels_.get(key)) for key, value in pairs.items())]
    return all(not isinstance(pattern, str) or fnmatchcase(text or "", pattern) for pattern, text in texts)


def _kind(construct: object) -> str:
    return construct.cfn_resource_type if isinstance(construct, CfnResource) else ""


def path_of(document: Mapping[str, Any]) -> str:
    """Where the API server has an object."""
    kind, metadata = document["kind"].lower(), document["metadata"]
    plural = f"{kind}{'es' if kind.endswith('s') else 's'}"
    space = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
    group = "api" if document["apiVersion"] == "v1" else "apis"
    return f"/{group}/{document['apiVersion']}/{space}{plural}/{metadata['name']}"


def is_made(cluster: Any) -> bool:
    """True for a cluster made in this app."""
    return isinstance(cluster, (eks_v1.Cluster, eks_v2.Cluster))


def is_v1(cluster: Any) -> bool:
    """True for one of `aws_eks`; an imported one is a proxy, told by what only that library's has."""
    return isinstance(cluster, eks_v1.Cluster) or (
        not isinstance(cluster, eks_v2.Cluster) and hasattr(cluster, "kubectl_role")
    )


def version_of(cluster: Any) -> str | None:
    """The Kubernetes of an `aws_eks_v2` cluster made in this app; no other form shows it."""
    return known(getattr(cluster.node.default_child, "version", None))


def mode_of(cluster: Any) -> str | None:
    """How a cluster made in this app lets identities in; None for an imported one."""
    if isinstance(cluster, eks_v2.Cluster):
        return API
    if isinstance(cluster, eks_v1.Cluster):
        mode = cluster.authentication_mode
        return CONFIG_MAP if mode is None else str(mode.value)
    return None


def faults(
    cluster: Any, *, mode: str | None, network_given: bool, issuer_given: bool, needs_issuer: bool
) -> Iterator[Fault]:
    """What a cluster lacks, each with the argument that gives it.

    Args:
        mode: The authentication mode that was said.

        network_given: Whether subnets and security groups were given, so that the cluster's VPC is not asked.

        issuer_given: Whether an OIDC provider was given.

        needs_issuer: Whether the controller has its identity by one.
    """
    # An imported cluster of either library is a proxy.
    if not is_made(cluster) and type(cluster).__name__ != "InterfaceDynamicProxy":
        yield Fault("cluster", f"{cluster!r} is not a cluster; give one of aws_eks or aws_eks_v2, made or imported")
        return
    yield from _kubectl_faults(cluster)
    try:
        _ = cluster.cluster_security_group_id
        if not network_given:
            _ = cluster.vpc
    except RuntimeError:
        yield Fault(
            "cluster", "is imported without its network; give vpc and cluster_security_group_id where it is imported"
        )
    if needs_issuer and not issuer_given and not hasattr(cluster, "cluster_open_id_connect_issuer_url"):
        yield Fault(
            "oidc_provider", "an imported cluster does not show its issuer; give its OIDC provider, or use pod-identity"
        )
    yield from _mode_faults(cluster, mode)
    compute = getattr(cluster.node.default_child, "compute_config", None) if is_made(cluster) else None
    if compute is not None and getattr(compute, "enabled", None) is True:
        yield Fault(
            "cluster",
            "is in Auto Mode, which brings a Karpenter and CRDs of its own that a second one cannot share; give it "
            "default_capacity_type=DefaultCapacityType.NODEGROUP, or use Auto Mode's own NodePools",
        )


def _kubectl_faults(cluster: Any) -> Iterator[Fault]:
    if not is_v1(cluster):
        if cluster.kubectl_provider is None:
            yield Fault(
                "cluster",
                "has no kubectl provider, so nothing could be installed on it; give it kubectl_provider_options with the "
                "kubectl layer of its Kubernetes, or kubectl_provider where it is imported",
            )
    elif not is_made(cluster) and cluster.kubectl_provider is None:
        if cluster.kubectl_role is None:
            yield Fault(
                "cluster",
                "is imported without a role for kubectl, so nothing could be installed on it; give kubectl_role_arn "
                "where it is imported",
            )
        if cluster.kubectl_layer is None:
            yield Fault(
                "cluster",
                "is imported without kubectl, so nothing could be installed on it; give kubectl_layer, of its "
                "Kubernetes, where it is imported",
            )


def _mode_faults(cluster: Any, said: str | None) -> Iterator[Fault]:
    own = mode_of(cluster)
    if said is not None and said not in MODES:
        yield Fault("authentication_mode", f"{said!r} is not a mode of EKS; use {', '.join(MODES)}")
    elif own is not None and said is not None and said != own:
        yield Fault("authentication_mode", f"{said!r} is not the cluster's, which is {own}; leave it out")
    elif own is None and said is None:
        yield Fault(
            "authentication_mode",
            f"an imported cluster does not show how it lets nodes in; say {', '.join(MODES)} (aws eks describe-cluster "
            "--query cluster.accessConfig)",
        )
    elif said == CONFIG_MAP and not is_made(cluster) and not (is_v1(cluster) and cluster.kubectl_role is not None):
        yield Fault(
            "authentication_mode",
            "a cluster that lets in by aws-auth alone is edited as a role that is in there; import it with aws_eks and "
            "kubectl_role_arn, or open the cluster for access entries: aws eks update-cluster-config --access-config "
            f"authenticationMode={API_AND_CONFIG_MAP}",
        )


def image_faults(cluster: Any, kubernetes: Minor) -> Iterator[Fault]:
    """Node groups of AL2, where it has no image; without a feature flag the CDK's own default is one."""
    for group in cluster.node.find_all() if is_made(cluster) else ():
        is_al2 = isinstance(group, _NODE_GROUPS) and (known(group.ami_type) or "").startswith("AL2_")
        if is_al2 and kubernetes > compat.AL2_LAST_KUBERNETES:
            yield Fault(
                "cluster",
                f"its node group {group.node.path} asks for AL2, which has no image for Kubernetes {kubernetes}; give it "
                "ami_type=NodegroupAmiType.AL2023_X86_64_STANDARD, or where it is the cluster's default capacity set the "
                "feature flag @aws-cdk/aws-eks:defaultToAL2023",
            )


def name_faults(cluster: Any, cluster_name: str) -> Iterator[Fault]:
    """The name that was said is the cluster's own."""
    made = cluster.node.default_child
    if isinstance(made, eks_v2.CfnCluster):
        name = known(made.name)
    elif isinstance(cluster, eks_v1.Cluster):
        name = known(cluster._physical_name)  # noqa: SLF001 - protected in the CDK, and nothing else shows it
    else:
        name = known(cluster.cluster_name)
    if name is None:
        yield Fault(
            "cluster",
            f"has no name of its own, and {cluster_name!r} could not be it; give the cluster its cluster_name",
        )
    elif known(cluster_name) and name != cluster_name:
        yield Fault("cluster_name", f"{cluster_name!r} is not the cluster's name, which is {name!r}; give that one")
