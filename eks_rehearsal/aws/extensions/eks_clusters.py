"""The clusters of a region, which every part of EKS works on, and the errors that EKS answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from moto.core.utils import utcnow

from eks_rehearsal.aws.wire import AwsError
from eks_rehearsal.aws.world import World

_T = TypeVar("_T")

Document = dict[str, Any]


def not_found(what: str, **named: str) -> AwsError:
    """EKS's 404; errors carry the names they are about."""
    error = AwsError("ResourceNotFoundException", what)
    error.__dict__.update(named)
    return error


def in_use(what: str, **named: str) -> AwsError:
    """EKS's 409."""
    error = AwsError("ResourceInUseException", what)
    error.__dict__.update(named)
    return error


def invalid(what: str, **named: str) -> AwsError:
    """EKS's 400."""
    error = AwsError("InvalidParameterException", what)
    error.__dict__.update(named)
    return error


@dataclass
class Cluster:
    """A cluster and everything that is in it by name.

    Args:
        shown: As DescribeCluster answers.

        nodegroups: By name, as DescribeNodegroup answers.

        profiles: Fargate profiles by name, as DescribeFargateProfile answers.

        entries: Access entries by principal, as DescribeAccessEntry answers.

        policies: Associated access policies by principal.

        associations: Pod Identity associations by id.

        addons: By name, as DescribeAddon answers.

        updates: By id, with the node group or add-on they are of, if they are of one.

        creator: The principal that made it and is its administrator for that; empty where it was asked not to be.
    """

    shown: Document
    nodegroups: dict[str, Document] = field(default_factory=dict)
    profiles: dict[str, Document] = field(default_factory=dict)
    entries: dict[str, Document] = field(default_factory=dict)
    policies: dict[str, dict[str, Document]] = field(default_factory=dict)
    associations: dict[str, Document] = field(default_factory=dict)
    addons: dict[str, Document] = field(default_factory=dict)
    updates: dict[str, tuple[Document, str]] = field(default_factory=dict)
    creator: str = ""

    @property
    def name(self) -> str:
        """Unique in its region."""
        return str(self.shown["name"])

    @property
    def authentication_mode(self) -> str:
        """`API`, `API_AND_CONFIG_MAP` or `CONFIG_MAP`."""
        return str(self.shown["accessConfig"]["authenticationMode"])

    def note(self, kind: str, params: Mapping[str, Any], of: str = "") -> Document:
        """An update in progress, which DescribeUpdate will show."""
        update = {
            "id": str(uuid.uuid4()),
            "status": "InProgress",
            "type": kind,
            "params": [{"type": name, "value": str(value)} for name, value in params.items()],
            "createdAt": utcnow(),
            "errors": [],
        }
        self.updates[str(update["id"])] = (update, of)
        return update


class Clusters:
    """The clusters of a region, by name; every part of EKS works on these."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._clusters: dict[str, Cluster] = {}

    def __getitem__(self, name: str) -> Cluster:
        found = self._clusters.get(name)
        if found is None:
            raise not_found(f"No cluster found for name: {name}.", clusterName=name)
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._clusters

    def __iter__(self) -> Any:
        return iter(list(self._clusters.values()))

    def add(self, cluster: Cluster) -> None:
        """Under its name, which must be free."""
        self._clusters[cluster.name] = cluster

    def remove(self, name: str) -> None:
        """For good."""
        self._clusters.pop(name, None)

    def run(self, hook: Callable[[], _T], done: Callable[[_T], object], failed: Callable[[str], None]) -> None:
        """Let a hook work in a thread of its own, and then note what came of it or why it failed."""

        def work() -> None:
            try:
                result = hook()
                with self.world.turn:
                    done(result)
            except Exception as error:  # noqa: BLE001 - a hook is anybody's code; its reason is shown by EKS
                self.world.failures.append(str(error))
                with self.world.turn:
                    failed(str(error))

        self.world.background(work)
