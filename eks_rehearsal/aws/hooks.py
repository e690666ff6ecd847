"""What happens outside AWS when something happens in it: the seams between the emulated AWS and the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
# An instance type, a zone and a capacity type; `*` stands for any of the first two.
Offering = tuple[str, str, str]


@dataclass(frozen=True)
class ClusterEndpoint:
    """What a started control plane is reached and known by.

    Args:
        endpoint: The API server's URL.

        certificate_authority: PEM, in base64, as DescribeCluster and a kubeconfig have it.

        issuer: The `iss` of its service account tokens, an https URL.
    """

    endpoint: str
    certificate_authority: str
    issuer: str


def _no_control_plane(name: str, _version: str, _cluster: Mapping[str, Any]) -> ClusterEndpoint:
    return ClusterEndpoint(f"https://{name}.invalid", "", f"https://oidc.invalid/id/{name}")


def _nothing(*_: Any) -> None:
    """Answer a hook that nobody listens to."""


def _no_function(_arn: str, _event: Any) -> tuple[Any, str]:
    return None, ""


def _no_keys(_issuer: str) -> Document:
    return {"keys": []}


@dataclass
class Hooks:
    """Callbacks of the emulated AWS; each does nothing by default.

    They run in threads of their own, so they may take as long as what they stand for; one that raises fails the
    resource it was called for, with the error's text as EKS's reason.

    Args:
        create_cluster: Starts a control plane for a name, a version and the cluster as DescribeCluster shows it.

        delete_cluster: Stops the control plane of that name.

        create_nodegroup: Brings the nodes of a managed node group to Ready, given the cluster's name and the group.

        update_nodegroup: The same after an update, given the group as it is to be.

        delete_nodegroup: Drains and removes the nodes.

        create_fargate_profile: Lets pods run by a Fargate profile, given the cluster's name and the profile.

        delete_fargate_profile: Ends the pods that run by it.

        create_addon: Installs an add-on, or configures it anew, given the cluster's name and the add-on.

        delete_addon: Takes away what it installed.

        instance_launched: An instance is running; its id.

        instance_terminated: An instance is gone; its id.

        invoke: Runs the function of that ARN on an event; its answer, and what Lambda calls its error, if there is one.

        jwks: The public keys of an issuer, as its JWKS document; asked within a request, so it must be quick.

        trouble: Raises the error with which AWS answers a call instead of doing anything; asked before each.

        shutdown_seconds: How long EC2 takes to terminate an instance, by its id; any other is gone at once.

        no_capacity: Offerings that EC2 has none of: (instance type or `*`, zone or `*`, `spot` or `on-demand`).
    """

    create_cluster: Callable[[str, str, Document], ClusterEndpoint] = _no_control_plane
    delete_cluster: Callable[[str], None] = _nothing
    create_nodegroup: Callable[[str, Document], None] = _nothing
    update_nodegroup: Callable[[str, Document], None] = _nothing
    delete_nodegroup: Callable[[str, Document], None] = _nothing
    create_fargate_profile: Callable[[str, Document], None] = _nothing
    delete_fargate_profile: Callable[[str, Document], None] = _nothing
    create_addon: Callable[[str, Document], None] = _nothing
    delete_addon: Callable[[str, Document], None] = _nothing
    instance_launched: Callable[[str], None] = _nothing
    instance_terminated: Callable[[str], None] = _nothing
    invoke: Callable[[str, Any], tuple[Any, str]] = _no_function
    jwks: Callable[[str], Mapping[str, Any]] = _no_keys
    trouble: Callable[[Any], None] = _nothing
    shutdown_seconds: dict[str, float] = field(default_factory=dict)
    no_capacity: set[Offering] = field(default_factory=set)

    def has_capacity(self, instance_type: str, zone: str, capacity_type: str) -> bool:
        """False while the offering is in `no_capacity`."""
        return not any((t, z, capacity_type) in self.no_capacity for t in ("*", instance_type) for z in ("*", zone))
