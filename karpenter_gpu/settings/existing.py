"""An existing cluster: what is given, and what is looked up by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import setting
from karpenter_gpu.settings._types import ROLE_ARN, ClusterName, Distinct, default, is_ec2_id
from karpenter_gpu.versions import Minor

API: Final = "API"
API_AND_CONFIG_MAP: Final = "API_AND_CONFIG_MAP"
CONFIG_MAP: Final = "CONFIG_MAP"

TAGS: Final = "tags"
IDS: Final = "ids"

AuthenticationMode = Literal["API", "API_AND_CONFIG_MAP", "CONFIG_MAP"]
DiscoveryMode = Literal["tags", "ids"]
IpFamily = Literal["ipv4", "ipv6"]

_ISSUER: Final = r"https://oidc\.eks\.[a-z0-9-]+\.[a-z0-9.-]+/id/[0-9A-Fa-f]+"


@setting
class ExistingCluster:
    """An existing EKS cluster; its name alone is enough, and the rest is looked up.

    What is left out is asked for through the CDK's context when the app is synthesized with credentials, and kept in
    `cdk.context.json`: commit that file, and synthesis needs no network from then on, and where account and region are
    said no credentials either. `cdk context --clear` asks anew.

    Args:
        name: Literal text: it stands inside IAM condition keys.

        existing: In `cdk.json`, says that the cluster exists.

        kubernetes_version: Its minor, `1.36`. Default: looked up; said, while anything else is looked up: held against
            what is found.

        authentication_mode: `API`, `API_AND_CONFIG_MAP` or `CONFIG_MAP`. Nodes are let in by an access entry, and with
            `CONFIG_MAP` by an entry in the aws-auth config map. Default: looked up.

        ip_family: `ipv4` or `ipv6`. Default: looked up.

        oidc_issuer: Its issuer, `https://oidc.eks.…/id/…`. The account's OIDC provider for it is used if it is there,
            else made at deployment, and then goes with the stack. Default: looked up.

        cluster_security_group_id: `sg-…`. Default: looked up.

        node_group: The managed node group whose nodes the controller runs on. Default: any node that Karpenter did
            not make; one node group at least must be there.

        subnet_ids: Where GPU nodes go; they need a way out to AWS. Default: the subnets of the node group, or of all.

        security_group_ids: Of the GPU nodes: what the node group's own nodes have, so that pods reach each other and
            CoreDNS. Default: the cluster's; a launch template of the node group may give its nodes others, and then a
            warning says how to see them; where the nodes have others, the deployment fails and names them.

        discovery: `tags` puts `karpenter.sh/discovery=<name>` on those subnets and security groups at deployment, and
            removes at destroy what it added; `ids` leaves them alone, and the pools select them by id.

        kubectl_role_arn: A role with `system:masters` in aws-auth, which any role of the account may take; what runs
            kubectl takes it. Default: that gets an access entry of its own, which a `CONFIG_MAP` cluster does not
            have, so there it must be said.

        kubectl_in_vpc: Whether what runs kubectl is inside the VPC, from where a private endpoint is reached. Default:
            it is where the private endpoint is open and the public one is not, or not to any address.

        functions_in_vpc: Whether every function of the stack, and so what runs kubectl, is inside the VPC, for accounts that
            allow functions in a VPC alone.

        function_subnet_ids: Where functions are that are inside the VPC, and what runs kubectl then is. Their way out must not be an internet gateway,
            because a function has no public address. Default: looked up with the rest: those of `subnet_ids` that have
            another way out, else the VPC's; where nothing is looked up, `subnet_ids`.
    """

    name: ClusterName
    existing: Literal[True] = True
    kubernetes_version: str | None = None
    authentication_mode: AuthenticationMode | None = None
    ip_family: IpFamily | None = None
    oidc_issuer: str | None = None
    cluster_security_group_id: str | None = None
    node_group: str | None = None
    subnet_ids: Distinct[str] = default(())
    security_group_ids: Distinct[str] = default(())
    discovery: DiscoveryMode = TAGS
    kubectl_role_arn: str | None = None
    kubectl_in_vpc: bool | None = None
    functions_in_vpc: bool = False
    function_subnet_ids: Distinct[str] = default(())

    def check(self) -> Iterator[Fault]:
        if self.kubernetes_version is not None:
            try:
                Minor.parse(self.kubernetes_version)
            except ValueError as error:
                yield Fault("kubernetes_version", f"{error}; EKS takes the minor alone")
        if self.oidc_issuer is not None and not re.fullmatch(_ISSUER, self.oidc_issuer):
            yield Fault(
                "oidc_issuer",
                f"{self.oidc_issuer!r} is not the issuer of an EKS cluster, as in "
                "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
            )
        for where, kind, ids in (
            ("subnet_ids", "subnet", self.subnet_ids),
            ("function_subnet_ids", "subnet", self.function_subnet_ids),
            ("security_group_ids", "sg", self.security_group_ids),
            ("cluster_security_group_id", "sg", filter(None, [self.cluster_security_group_id])),
        ):
            for id in ids:
                if not is_ec2_id(kind, id):
                    yield Fault(where, f"{id!r} is not such an id; ids look like {kind}-0123456789abcdef0")
        if self.kubectl_role_arn is not None and not re.fullmatch(ROLE_ARN, self.kubectl_role_arn):
            yield Fault(
                "kubectl_role_arn",
                f"{self.kubectl_role_arn!r} is not the ARN of an IAM role, as in arn:aws:iam::111122223333:role/ops",
            )
        yield from self._function_faults()
        if self.authentication_mode == CONFIG_MAP and self.kubectl_role_arn is None:
            yield Fault(
                "kubectl_role_arn",
                f"{self.name!r} lets in by aws-auth alone, where what runs kubectl has no entry; name a role that has "
                "system:masters there, or open the cluster for access entries: aws eks update-cluster-config --name "
                f"{self.name} --access-config authenticationMode={API_AND_CONFIG_MAP}",
            )

    @property
    def has_kubectl_in_vpc(self) -> bool | None:
        """Whether what runs kubectl is inside the VPC; None while that is to be looked up."""
        return True if self.functions_in_vpc or self.function_subnet_ids else self.kubectl_in_vpc

    @property
    def kubernetes(self) -> Minor | None:
        """The version, parsed; None while it is not known."""
        return None if self.kubernetes_version is None else Minor.parse(self.kubernetes_version)

    def _function_faults(self) -> Iterator[Fault]:
        """Functions are inside the VPC, or they are not."""
        if self.function_subnet_ids and self.kubectl_in_vpc is False:
            yield Fault(
                "function_subnet_ids",
                "says where functions are inside the VPC, and kubectl_in_vpc is false; leave one out",
            )
        if self.functions_in_vpc and self.kubectl_in_vpc is False:
            yield Fault(
                "kubectl_in_vpc",
                "false has what runs kubectl outside the VPC, and functions_in_vpc has every function inside; leave one out",
            )

    @property
    def unknown(self) -> tuple[str, ...]:
        """The settings that must be looked up."""
        asked = {
            "kubernetes_version": self.kubernetes_version,
            "authentication_mode": self.authentication_mode,
            "ip_family": self.ip_family,
            "oidc_issuer": self.oidc_issuer,
            "cluster_security_group_id": self.cluster_security_group_id,
            "subnet_ids": self.subnet_ids or None,
            "kubectl_in_vpc": self.has_kubectl_in_vpc,
        }
        return tuple(name for name, value in asked.items() if value is None)
