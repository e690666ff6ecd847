"""Values for Karpenter's two charts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from karpenter_gpu import compat, labels
from karpenter_gpu.settings import KarpenterSettings
from karpenter_gpu.settings.chart import REPLICAS, RESOURCES, merged
from karpenter_gpu.settings.karpenter import SERVICE_ACCOUNT
from karpenter_gpu.versions import Minor


def crd_values(karpenter: KarpenterSettings) -> dict[str, Any]:
    """Values of the `karpenter-crd` chart: none, but before 1.1 no conversion from an API a new cluster never had."""
    return {"webhook": {"enabled": False}} if karpenter.release.line < compat.WEBHOOKS_UNTIL else {}


def leader_lease(namespace: str) -> dict[str, Any]:
    """The lease by which one of the controllers leads, which they would make themselves and nobody would delete.

    Its name is the `LEADER_ELECTION_NAME` of Karpenter 1.0 to 1.15: pkg/operator/options/options.go of sigs.k8s.io/karpenter.
    """
    metadata = {"name": "karpenter-leader-election", "namespace": namespace}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}


def only_one(stack: str) -> dict[str, Any]:
    """What a second Karpenter on the cluster, of another stack or under another id, cannot create, and so fails before it installs.

    Helm would install over the first one's release, and remove it with the rollback.
    """
    said = "has Karpenter on this cluster; take it out of there, deploy, and then add it elsewhere"
    metadata = {"name": "only-one-karpenter", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"stack": f"{stack} {said}"}}


def controller_values(
    karpenter: KarpenterSettings,
    *,
    cluster_name: str,
    queue_name: str,
    region: str,
    role_arn: str | None,
    system_nodes: Mapping[str, str],
) -> dict[str, Any]:
    """Values of the `karpenter` chart, with the user's merged deeply over ours.

    Args:
        role_arn: For the service account's annotation; None where Pod Identity gives the role.

        system_nodes: Labels of the nodes the controller must run on; empty for any node Karpenter did not make.

    Source: karpenter-provider-aws charts/karpenter/values.yaml and templates/deployment.yaml, v1.0.1 to v1.15.1.
    """
    rules = [{"key": labels.NODEPOOL, "operator": "DoesNotExist"}]
    rules += [{"key": key, "operator": "In", "values": [value]} for key, value in system_nodes.items()]  # type: ignore[dict-item]
    account: dict[str, Any] = {"create": True, "name": SERVICE_ACCOUNT}
    if role_arn is not None:
        account["annotations"] = {labels.ROLE_ANNOTATION: role_arn}
    ours: dict[str, Any] = {
        "replicas": REPLICAS,
        "serviceAccount": account,
        "settings": {
            "clusterName": cluster_name,
            "interruptionQueue": queue_name,
            **({"isolatedVPC": True} if karpenter.isolated else {}),
        },
        "controller": {
            "env": [{"name": "AWS_REGION", "value": region}],
            "resources": copy.deepcopy(RESOURCES),
        },
        # Karpenter must start where CoreDNS waits for nodes: Karpenter's guide, on Fargate.
        **({"dnsPolicy": "Default"} if karpenter.on_fargate else {}),
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": rules}]}
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": labels.HOSTNAME}],
            },
        },
    }
    for gate, chosen in karpenter.feature_gates.chosen().items():
        where, name, _ = compat.FEATURE_GATES[gate]
        ours["settings"].setdefault(where, {})[name] = chosen
    if karpenter.release.line < compat.WEBHOOKS_UNTIL:
        ours["webhook"] = {"enabled": False}
    result = merged(ours, _carried(karpenter.values, karpenter.release.line))
    result["controller"]["env"] = _joined(ours["controller"]["env"], result["controller"]["env"])
    return result


def _joined(under: list[dict[str, Any]], over: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two lists of environment variables as one; a name that both have is taken from `over`."""
    return list({variable["name"]: variable for variable in (*under, *over)}.values())


def _carried(values: Mapping[str, Any], karpenter: Minor) -> dict[str, Any]:
    """The user's values with `false` and 0 under `settings` as text.

    The chart renders most settings inside a `with`, which drops a false value and leaves the controller its default;
    text is never false. Gates are rendered plainly, and need no help.
    """
    result = copy.deepcopy(dict(values))
    settings = result.get("settings")
    if isinstance(settings, dict):
        plain = _RENDERED_PLAINLY if karpenter >= compat.FALSE_IGNORE_DRA_SINCE else frozenset()
        for key, value in settings.items():
            if key not in plain and isinstance(value, (bool, int, float)) and not value:
                settings[key] = str(value).lower()
    return result


# Settings that 1.15 renders whatever their value.
_RENDERED_PLAINLY: Final = frozenset({"ignoreDRARequests", "enableDRA", "legacyNodeRepair"})
