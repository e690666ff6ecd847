"""From the context of `cdk.json` and `-c` to a platform.

`profiles` holds whole platforms by name, `profile` chooses one, and any other plain key is the dotted path of one
setting in it: `cluster.name`, `pools.inference.gpu_limit`. Keys with a `:` or a leading `@` are the CDK's own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from karpenter_gpu.errors import Fault, InvalidSettings
from karpenter_gpu.settings._setting import unknown, validated
from karpenter_gpu.settings.cluster import NewCluster
from karpenter_gpu.settings.cpu_pool import CpuPool
from karpenter_gpu.settings.device_plugin import DevicePlugin
from karpenter_gpu.settings.existing import ExistingCluster
from karpenter_gpu.settings.health import Health, Metrics
from karpenter_gpu.settings.karpenter import KarpenterSettings
from karpenter_gpu.settings.overrides import override
from karpenter_gpu.settings.platform import Platform, faults_between
from karpenter_gpu.settings.pool import GpuPool, Pool

PROFILE = "profile"
PROFILES = "profiles"

# The CLI keeps its own choices in the context too.
_CDK_KEYS = frozenset({"cli-telemetry", "acknowledged-issue-numbers"})


def platform_from_context(context: Mapping[str, Any], *, here: tuple[str, str] | None = None) -> Platform:
    """The platform that a context describes.

    Args:
        context: As the CDK has it.

        here: Account and region of the credentials at hand, in which an existing cluster is looked up where the
            settings do not say others.

    Raises:
        InvalidSettings: With every fault of the chosen profile and of every `-c`, all together.
    """
    document, faults = _document(context)
    if here is not None and _is_there(document.get("cluster")):
        document = {"account": here[0], "region": here[1], **document}
    try:
        platform = validated(Platform, document)
    except InvalidSettings as error:
        faults += (*error.faults, *_faults_between_sound_parts(document))
    if faults:
        raise InvalidSettings(dict.fromkeys(faults))
    return platform


def _document(context: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Fault, ...]]:
    profiles = context.get(PROFILES)
    if not isinstance(profiles, Mapping) or not profiles:
        raise InvalidSettings([Fault(PROFILES, "is not in the context of cdk.json as a mapping of names to settings")])
    profile = context.get(PROFILE, next(iter(profiles)))
    if not isinstance(profile, str) or profile not in profiles:
        raise InvalidSettings(
            [Fault(PROFILE, f"{profile!r} is not a profile of cdk.json; there are {', '.join(map(str, profiles))}")]
        )
    if not isinstance(profiles[profile], Mapping):
        raise InvalidSettings([Fault(f"{PROFILES}.{profile}", f"{profiles[profile]!r} is not a mapping of settings")])
    document: dict[str, Any] = copy.deepcopy(dict(profiles[profile]))
    faults: list[Fault] = []
    for key, value in context.items():
        if key not in {PROFILE, PROFILES} | _CDK_KEYS and ":" not in key and not key.startswith("@"):
            faults.extend(_override(document, key, value))
    return document, tuple(faults)


def _override(document: dict[str, Any], key: str, value: object) -> Iterator[Fault]:
    top = [*(setting.name for setting in fields(Platform)), PROFILE, PROFILES]
    first = key.partition(".")[0]
    if first in top:
        yield from override(document, Platform, key, value)
    else:
        yield Fault(key, unknown(first, top))


def _faults_between_sound_parts(document: Mapping[str, Any]) -> Iterator[Fault]:
    """What can be said between settings when others are wrong, so that one run shows everything."""

    def sound(cls: type[Any], part: object) -> Any:
        known = {setting.name for setting in fields(cls)}
        if isinstance(part, Mapping):
            part = {name: value for name, value in part.items() if name in known}
        try:
            return validated(cls, part)
        except InvalidSettings:
            return None

    pools, cluster = document.get("pools"), document.get("cluster")
    account, region = document.get("account"), document.get("region")
    yield from faults_between(
        cluster=sound(ExistingCluster if _is_there(cluster) else NewCluster, cluster),
        karpenter=sound(KarpenterSettings, document.get("karpenter", {})),
        device_plugin=sound(DevicePlugin, document.get("device_plugin", {})),
        health=sound(Health, document["health"]) if "health" in document else None,
        metrics=sound(Metrics, document["metrics"]) if "metrics" in document else None,
        pools=tuple(filter(None, (sound(_kind_of(pool), pool) for pool in pools))) if isinstance(pools, list) else (),
        account=account if isinstance(account, str) else None,
        region=region if isinstance(region, str) else None,
    )


def _kind_of(pool: object) -> type[Pool]:
    """What a document of a pool is of."""
    return CpuPool if isinstance(pool, Mapping) and "vcpu_limit" in pool else GpuPool


def _is_there(cluster: object) -> bool:
    """Whether a document is of an existing cluster."""
    return isinstance(cluster, Mapping) and "existing" in cluster
