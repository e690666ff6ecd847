"""What has no setting of its own yet: the rest of a document, and statements for a role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Final

from karpenter_gpu import labels
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._types import document_faults
from karpenter_gpu.settings.kubelet import Kubelet, karpenter_name

_Path = tuple[str, ...]

REQUIREMENTS: Final[_Path] = ("template", "spec", "requirements")

# What the EC2NodeClass of a pool has from its settings; a second value could only contradict the first.
CLASS_OWNED: Final[Mapping[_Path, str]] = {
    ("role",): "leave it out: the stack's node role is used",
    ("instanceProfile",): "use karpenter.instance_profile",
    ("amiFamily",): "use ami",
    ("amiSelectorTerms",): "use ami",
    ("subnetSelectorTerms",): "use subnet_ids",
    ("securityGroupSelectorTerms",): "leave it out: the cluster's node security groups are used",
    ("capacityReservationSelectorTerms",): "use reservations or reserve",
    ("blockDeviceMappings",): "use root_volume or karpenter.volume_key_arn",
    ("metadataOptions",): "use http_put_response_hop_limit",
    ("instanceStorePolicy",): "use instance_store_policy",
    ("tags",): "use tags",
    ("userData",): "use user_data",
    **{("kubelet", karpenter_name(one.name)): f"use kubelet.{one.name}" for one in fields(Kubelet)},
}

# The same for its NodePool.
POOL_OWNED: Final[Mapping[_Path, str]] = {
    ("template", "metadata", "labels"): "use labels",
    ("template", "spec", "nodeClassRef"): "leave it out: the pool's own EC2NodeClass is used",
    ("template", "spec", "taints"): "use taints",
    ("template", "spec", "startupTaints"): "use startup_taints",
    ("template", "spec", "expireAfter"): "use expire_after",
    ("template", "spec", "terminationGracePeriod"): "use termination_grace_period",
    ("disruption", "consolidationPolicy"): "use consolidation_policy",
    ("disruption", "consolidateAfter"): "use consolidate_after",
    ("disruption", "budgets"): "use budgets",
    ("limits", labels.GPU_RESOURCE): "use gpu_limit or hourly_limit_usd",
    ("weight",): "use weight",
    ("replicas",): "leave it out: a pool of a fixed size has no ceiling in GPUs, which every pool here has",
}

# Keys of requirements that a pool has from its settings.
OWNED_REQUIREMENTS: Final[Mapping[str, str]] = {
    labels.INSTANCE_GPU_MANUFACTURER: "leave it out: every pool has NVIDIA GPUs",
    labels.INSTANCE_GPU_NAME: "use gpu_names",
    labels.INSTANCE_FAMILY: "use instance_families",
    labels.INSTANCE_TYPE: "use instance_types",
    labels.INSTANCE_GPU_COUNT: "use gpu_counts",
    labels.CAPACITY_TYPE: "use capacity_types",
    labels.ZONE: "use zones",
    labels.ARCH: "use architecture",
    labels.OS: "leave it out: every pool runs Linux",
}


def class_faults(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """What may not stand in the rest of an EC2NodeClass's spec."""
    yield from document_faults(spec)
    yield from _owned_faults(spec, CLASS_OWNED)


def pool_faults(spec: Mapping[str, Any], own: Mapping[_Path, str] = MappingProxyType({})) -> Iterator[Fault]:
    """What may not stand in the rest of a NodePool's spec."""
    yield from document_faults(spec)
    yield from _owned_faults(spec, {**POOL_OWNED, **own, REQUIREMENTS: ""})


def _owned_faults(value: Any, owned: Mapping[_Path, str], path: _Path = ()) -> Iterator[Fault]:
    where = ".".join(path)
    if path == REQUIREMENTS and path in owned:
        yield from _requirement_faults(value, where)
    elif path in owned:
        yield Fault(where, f"is managed by karpenter-gpu; {owned[path]}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _owned_faults(inner, owned, (*path, str(key)))
    elif any(one[: len(path)] == path for one in owned):
        yield Fault(where, f"{value!r} would replace what must be there; give a mapping, which is merged with it")


def _requirement_faults(value: Any, where: str) -> Iterator[Fault]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        yield Fault(where, f"{value!r} is not a list of requirements; each is a mapping with a key and an operator")
        return
    for one in value:
        if not isinstance(one, Mapping) or not isinstance(one.get("key"), str) or "operator" not in one:
            yield Fault(where, f"{one!r} is not a requirement, which is a mapping with a key and an operator")
        elif one["key"] in OWNED_REQUIREMENTS:
            yield Fault(where, f"{one['key']!r} is managed by karpenter-gpu; {OWNED_REQUIREMENTS[one['key']]}")


_STATEMENT_KEYS: Final = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})


def statement_faults(where: str, statements: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """What keeps statements from being those of an identity policy. Source: IAM user guide, JSON policy elements."""
    for place, statement in enumerate(statements):
        here = f"{where}.{place}"
        yield from (fault.under(here) for fault in document_faults(statement))
        for name in sorted(map(str, set(statement) - _STATEMENT_KEYS)):
            yield Fault(
                here,
                f"{name!r} is not in a statement of a role's policy; there are {', '.join(sorted(_STATEMENT_KEYS))}",
            )
        if statement.get("Effect") not in ("Allow", "Deny"):
            yield Fault(here, f"{statement.get('Effect')!r} is not an Effect; say Allow or Deny")
        for one, other in (("Action", "NotAction"), ("Resource", "NotResource")):
            if (one in statement) == (other in statement):
                yield Fault(here, f"needs {one} or {other}, and one of the two alone")
        for name in ("Action", "NotAction", "Resource", "NotResource"):
            if name in statement and not _is_text_or_texts(statement[name]):
                yield Fault(here, f"{statement[name]!r} is not what {name} takes; give text, or a list of texts")


def _is_text_or_texts(value: object) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, (list, tuple)) and bool(texts) and all(isinstance(text, str) and text for text in texts)
