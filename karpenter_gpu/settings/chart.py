"""What a user may give as Helm values of the `karpenter` chart, version by version, and what comes of merging them.

Source: charts/karpenter/values.yaml and charts/karpenter/templates of karpenter-provider-aws, read at the last patch of every
minor from 1.0 to 1.15 (of 1.15 the values alone).
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from karpenter_gpu import labels
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._setting import shown
from karpenter_gpu.versions import Minor

Path = tuple[str, ...]

# What this package gives the controller: the resources are the walk-through's, and Karpenter's own guide's.
REPLICAS: Final = 2
RESOURCES: Final = {
    "requests": {"cpu": "1", "memory": "1Gi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}

_FIRST: Final = Minor(1, 0)

# The minor that first has a key -> the keys. One that ends in `.*` holds whatever Kubernetes takes there.
_KEYS: Final[Mapping[Minor, str]] = {
    _FIRST: """
        nameOverride fullnameOverride additionalLabels.* additionalAnnotations.* imagePullPolicy imagePullSecrets
        serviceAccount.create serviceAccount.name serviceAccount.annotations.* additionalClusterRoleRules
        serviceMonitor.enabled serviceMonitor.additionalLabels.* serviceMonitor.endpointConfig.* replicas
        revisionHistoryLimit strategy.* podLabels.* podAnnotations.* podDisruptionBudget.name
        podDisruptionBudget.maxUnavailable podSecurityContext.* priorityClassName terminationGracePeriodSeconds
        hostNetwork dnsPolicy dnsConfig.* nodeSelector.* affinity.* topologySpreadConstraints tolerations extraVolumes
        controller.image.repository controller.image.tag controller.image.digest controller.env controller.envFrom
        controller.resources.* controller.extraVolumeMounts controller.sidecarContainer controller.sidecarVolumeMounts
        controller.metrics.port controller.healthProbe.port logLevel logOutputPaths logErrorOutputPaths
        settings.batchMaxDuration settings.batchIdleDuration settings.clusterCABundle settings.clusterName
        settings.clusterEndpoint settings.isolatedVPC settings.vmMemoryOverheadPercent settings.interruptionQueue
        settings.reservedENIs settings.featureGates.*
        """,
    Minor(1, 1): "service.annotations.* schedulerName controller.containerName settings.eksControlPlane",
    Minor(1, 4): "initContainers settings.preferencePolicy",
    Minor(1, 5): "serviceMonitor.relabelings serviceMonitor.metricRelabelings controller.securityContext.*",
    Minor(1, 6): "settings.minValuesPolicy settings.disableDryRun",
    Minor(1, 8): "settings.ignoreDRARequests settings.disableClusterStateObservability",
    Minor(1, 9): "serviceMonitor.sampleLimit",
    Minor(1, 12): "settings.enableZonalShift",
    Minor(1, 13): "settings.amiRefreshInterval settings.subnetRefreshInterval",
    Minor(1, 15): """
        settings.enableDRA settings.legacyNodeRepair settings.securityGroupRefreshInterval settings.awsFeatureGates.*
        """,
}
_SINCE: Final = {tuple(key.split(".")): minor for minor, keys in _KEYS.items() for key in keys.split()}

# Keys with the values that the controller takes; with any other it does not start.
# Source: pkg/operator/options/options.go of sigs.k8s.io/karpenter, validLogLevels, PreferencePolicy, MinValuesPolicy.
_CHOICES: Final[Mapping[Path, tuple[str, ...]]] = {
    ("logLevel",): ("debug", "info", "error"),
    ("settings", "preferencePolicy"): ("Respect", "Ignore"),
    ("settings", "minValuesPolicy"): ("Strict", "BestEffort"),
}

# Values that follow from other settings; a second value for one of them could only contradict the first.
_OWNED: Final[Mapping[Path, str]] = {
    ("settings", "clusterName"): "use cluster.name",
    ("settings", "interruptionQueue"): "leave it out: the stack's own queue is used",
    ("settings", "featureGates"): "use karpenter.feature_gates",
    ("settings", "isolatedVPC"): "use karpenter.isolated",
    ("settings", "awsFeatureGates"): "use karpenter.feature_gates",
    ("serviceAccount", "name"): "leave it out: the role's trust names the service account 'karpenter'",
    ("serviceAccount", "create"): "leave it out: the role's trust names the service account 'karpenter'",
    ("serviceAccount", "annotations", labels.ROLE_ANNOTATION): "leave it out: the stack's controller role is used",
}

_NODE_AFFINITY: Final = (
    "affinity",
    "nodeAffinity",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
)

# Values of ours that are mappings, which anything else would replace whole.
_MAPPINGS: Final = frozenset(
    {
        ("settings",),
        ("serviceAccount",),
        ("serviceAccount", "annotations"),
        ("controller",),
        ("controller", "resources"),
        ("affinity",),
        _NODE_AFFINITY[:2],
        _NODE_AFFINITY[:3],
    }
)

# Defaults of ours that `null` removes: those of which the chart has none that would take their place.
_CAN_GO: Final = frozenset(
    {
        ("controller", "resources"),
        *(("controller", "resources", kind) for kind in RESOURCES),
        *(("controller", "resources", kind, name) for kind, given in RESOURCES.items() for name in given),
    }
)

# Labels that only nodes of Karpenter have, and so none on which its controller may run.
_ONLY_KARPENTERS: Final = re.compile(
    rf"(karpenter\.sh|karpenter\.k8s\.aws)/(?!{labels.SYSTEM_NODE_LABEL.partition('/')[2]}$).*"
)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of values as one: mappings are joined at every depth, `None` removes, anything else of `over` replaces."""
    result = copy.deepcopy(dict(under))
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = copy.deepcopy(value)
    return result


def value_faults(values: Mapping[str, Any], karpenter: Minor | None) -> Iterator[Fault]:
    """What the chart, the API server or the controller would refuse or lose.

    Args:
        values: As the user gave them.

        karpenter: Whose chart it is; None while that is not known.
    """
    yield from _key_faults(values, karpenter)
    yield from _affinity_faults(values)
    yield from _node_selector_faults(values)
    yield from _replica_faults(values)
    yield from _resource_faults(values)
    for path, choices in _CHOICES.items():
        given = _at(values, path)
        if given is not None and given not in choices:
            yield Fault(
                ".".join(path),
                f"{shown(given)} is a value with which the controller does not start; use {' or '.join(choices)}",
            )


def _key_faults(values: Mapping[str, Any], karpenter: Minor | None, path: Path = ()) -> Iterator[Fault]:
    for key, value in values.items():
        here = (*path, str(key))
        where = ".".join(here)
        if here in _OWNED:
            yield Fault(where, f"is managed by karpenter-gpu; {_OWNED[here]}")
        elif karpenter is not None and (problem := _unknown(here, karpenter)):
            yield Fault(where, problem)
        elif value is None and here not in _CAN_GO:
            yield Fault(
                where,
                "has no value (null, or None in Python), and is not a default that can be removed; leave the key out",
            )
        elif here == ("controller", "env") and not _is_env(value):
            yield Fault(where, f"{shown(value)} is not a list of environment variables, each with a name")
        elif isinstance(value, Mapping):
            yield from _key_faults(value, karpenter, here)
        elif value is not None and here in _MAPPINGS:
            yield Fault(
                where, f"{shown(value)} would replace what must be there; give a mapping, which is merged with it"
            )


def _unknown(path: Path, karpenter: Minor) -> str | None:
    """The sentence for a key that the chart of a version does not have, or None; Helm would ignore it."""
    fitting = [key for key in _SINCE if _covers(key, path)]
    if any(_SINCE[key] <= karpenter for key in fitting):
        return None
    if fitting:
        since = min(_SINCE[key] for key in fitting)
        return f"is not in the chart of Karpenter {karpenter}, which would ignore it; it came with {since}"
    names = sorted({".".join(key).removesuffix(".*") for key, since in _SINCE.items() if since <= karpenter})
    near = [name for name in names if name.rpartition(".")[2] == path[-1]]
    near += difflib.get_close_matches(".".join(path), names, n=1, cutoff=0.8)
    parts = [name.split(".") for name in names]
    beside = sorted({part[len(path) - 1] for part in parts if part[: len(path) - 1] == [*path[:-1]]})
    way_out = f"did you mean {near[0]}?" if near else f"beside it are {', '.join(beside)}" if beside else "leave it out"
    return f"is not in the chart of Karpenter {karpenter}, which would ignore it; {way_out}"


def _covers(key: Path, path: Path) -> bool:
    """True for a path that is a key of the chart's, on the way to one, or inside one that holds anything."""
    stem = key[:-1] if key[-1] == "*" else key
    return path[: len(stem)] == stem or stem[: len(path)] == path


def _is_env(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) and "name" in item for item in value)


def _at(values: object, path: Path) -> Any:
    """What stands at a path; None where nothing does."""
    for key in path:
        if not isinstance(values, Mapping):
            return None
        values = values.get(key)
    return values


def _affinity_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    if _NODE_AFFINITY[-1] not in (_at(values, _NODE_AFFINITY[:-1]) or ()):
        return
    terms = _at(values, _NODE_AFFINITY)
    if not isinstance(terms, list) or not terms:
        yield Fault(".".join(_NODE_AFFINITY), f"{shown(terms)} is not a list of terms; give one at least")
    for term in terms if isinstance(terms, list) else ():
        rules = term.get("matchExpressions") if isinstance(term, Mapping) else None
        keeps_off = {"key": labels.NODEPOOL, "operator": "DoesNotExist"}
        if not isinstance(rules, list) or keeps_off not in rules:
            yield Fault(
                "affinity",
                f"a term lets the controller onto the nodes it removes; add {labels.NODEPOOL} DoesNotExist to every term",
            )


def _node_selector_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    selector = values.get("nodeSelector", {})
    if not isinstance(selector, Mapping):
        yield Fault("nodeSelector", f"{shown(selector)} is not a mapping of labels to values")
    for key in map(str, selector) if isinstance(selector, Mapping) else ():
        if _ONLY_KARPENTERS.fullmatch(key) or key == labels.DEVICE_PLUGIN_LABEL:
            yield Fault(
                f"nodeSelector.{key}",
                "only nodes that Karpenter makes have this label, and its controller must not run on them, so it would "
                "run nowhere; select the nodes by another label",
            )


def _replica_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    replicas = values.get("replicas", REPLICAS)
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 1:
        yield Fault("replicas", f"{shown(replicas)} is not a number of controllers, without which no node comes or goes; "
                    "use 1 or more")  # fmt: skip


def _resource_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    """Requests and limits as they are once merged, which is how the API server sees them."""
    given = _at(values, ("controller", "resources"))
    if not isinstance(given, Mapping):
        return
    whole = merged(RESOURCES, given)
    amounts: dict[tuple[str, str], Decimal] = {}
    for kind in RESOURCES:
        of_kind = whole.get(kind, {})
        if not isinstance(of_kind, Mapping):
            yield Fault(f"controller.resources.{kind}", f"{shown(of_kind)} is not a mapping of resources to amounts")
            continue
        for name, amount in of_kind.items():
            number = quantity(amount)
            if number is None:
                yield Fault(
                    f"controller.resources.{kind}.{name}",
                    f"{shown(amount)} is not an amount that Kubernetes can read; write it as in 500m or 1Gi",
                )
            else:
                amounts[kind, str(name)] = number
    for (kind, name), asked in amounts.items():
        most = amounts.get(("limits", name))
        if kind == "requests" and most is not None and asked > most:
            yield Fault(
                f"controller.resources.requests.{name}",
                f"{whole['requests'][name]} is more than the limit, which is {whole['limits'][name]}"
                f"{_whose(given, name)}, and Kubernetes refuses such a pod; give a limit of as much, or remove it with null",
            )


def _whose(given: Mapping[str, Any], name: str) -> str:
    return "" if _at(given, ("limits", name)) is not None else " unless you say otherwise"


# Source: k8s.io/apimachinery/pkg/api/resource, suffixer.go.
_UNITS: Final = {
    "": Decimal(1),
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_QUANTITY: Final = re.compile(
    r"([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:([eE][+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)"
)


def quantity(amount: object) -> Decimal | None:
    """An amount as Kubernetes writes it, `500m` or `1Gi`; None for what is none."""
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float)):
        return None
    found = _QUANTITY.fullmatch(str(amount))
    if not found:
        return None
    return Decimal(found[1] + (found[2] or "")) * _UNITS[found[3] or ""]
