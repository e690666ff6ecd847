"""What has no setting of its own yet: the rest of a document, and statements for a role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from karpenter_gpu import labels
from karpenter_gpu.errors import Fault
from karpenter_gpu.settings._types import document_faults
from karpenter_gpu.settings.kubelet import Kubelet, karpenter_name

_Path = tuple[str, ...]

REQUIREMENTS: Final[_Path] = ("template", "spec", "requirements")

# What the EC2NodeClass of a pool has from its settings; a second value could only contradict the first.
CLASS_OWNED: Final[Mapping[_Path, str]] = {
    ("role",): "the node role is put there",
    ("instanceProfile",): "karpenter.instance_profile says it",
    ("amiFamily",): "ami says it",
    ("amiSelectorTerms",): "ami says it",
    ("subnetSelectorTerms",): "subnet_ids says it",
    ("securityGroupSelectorTerms",): "the cluster's node security groups are put there",
    ("capacityReservationSelectorTerms",): "reservations and reserve say it",
    ("blockDeviceMappings",): "root_volume and karpenter.volume_key_arn say it",
    ("metadataOptions",): "http_put_response_hop_limit says what may change of it",
    ("instanceStorePolicy",): "instance_store_policy says it",
    ("tags",): "tags says it",
    ("userData",): "user_data says it",
    **{("kubelet", karpenter_name(one.name)): f"kubelet.{one.name} says it" for one in fields(Kubelet)},
}

# The same for its NodePool.
POOL_OWNED: Final[Mapping[_Path, str]] = {
    ("template", "metadata", "labels"): "labels says it",
    ("template", "spec", "nodeClassRef"): "the pool's own EC2NodeClass is put there",
    ("template", "spec", "taints"): "taints says it",
    ("template", "spec", "startupTaints"): "startup_taints says it",
    ("template", "spec", "expireAfter"): "expire_after says it",
    ("template", "spec", "terminationGracePeriod"): "termination_grace_period says it",
    ("disruption", "consolidationPolicy"): "consolidation_policy says it",
    ("disruption", "consolidateAfter"): "consolidate_after says it",
    ("disruption", "budgets"): "budgets says it",
    ("limits", labels.GPU_RESOURCE): "gpu_limit and hourly_limit_usd say it",
    ("weight",): "weight says it",
    ("replicas",): "a pool of a fixed size has no ceiling in GPUs, which every pool here has",
}

# Keys of requirements that a pool has from its settings.
OWNED_REQUIREMENTS: Final[Mapping[str, str]] = {
    labels.INSTANCE_GPU_MANUFACTURER: "every pool is of NVIDIA GPUs",
    labels.INSTANCE_GPU_NAME: "gpu_names says it",
    labels.INSTANCE_FAMILY: "instance_families says it",
    labels.INSTANCE_TYPE: "instance_types says it",
    labels.INSTANCE_GPU_COUNT: "gpu_counts says it",
    labels.CAPACITY_TYPE: "capacity_types says it",
    labels.ZONE: "zones says it",
    labels.ARCH: "architecture says it",
    labels.OS: "every pool is of Linux",
}


def class_faults(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """What may not stand in the rest of an EC2NodeClass's spec."""
    yield from document_faults(spec)
    yield from _owned_faults(spec, CLASS_OWNED)


def pool_faults(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """What may not stand in the rest of a NodePool's spec."""
    yield from document_faults(spec)
    yield from _owned_faults(spec, {**POOL_OWNED, REQUIREMENTS: ""})


def _owned_faults(value: Any, owned: Mapping[_Path, str], path: _Path = ()) -> Iterator[Fault]:
    where = ".".join(path)
    if path == REQUIREMENTS and path in owned:
        yield from _requirement_faults(value, where)
    elif path in owned:
        yield Fault(where, f"is not yours to set: {owned[path]}; leave it out")
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
            yield Fault(
                where, f"{one['key']!r} is not yours to require: {OWNED_REQUIREMENTS[one['key']]}; leave it out"
            )


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
