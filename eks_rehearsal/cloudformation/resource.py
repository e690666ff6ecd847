"""What the engine asks of a resource type: how one is made, changed and deleted, and which properties it knows."""

from __future__ import annotations

import secrets
import string
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import boto3

from eks_rehearsal.errors import NotEmulated, RehearsalError

Properties = Mapping[str, Any]
SUFFIX = string.ascii_uppercase + string.digits
# A session is not for several threads, its clients are.
MAKING_CLIENTS = threading.Lock()


@dataclass(frozen=True)
class Made:
    """What a resource answers when it stands.

    Args:
        id: The physical id, which `Ref` gives.

        attributes: What `Fn::GetAtt` gives, by name; a nested one by its dotted name. Keep the mapping itself: some
            are looked up when they are asked for, as in CloudFormation.
    """

    id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


class HalfMade(RehearsalError):
    """A resource that stands, and then something failed: its deletion is part of the rollback.

    Args:
        id: The physical id.

        error: What failed.
    """

    def __init__(self, id: str, error: Exception) -> None:
        self.id = id
        super().__init__(str(error))


@dataclass(frozen=True)
class Context:
    """Where a resource is made: the session that its calls go through, and the names that CloudFormation gives.

    Args:
        session: A boto3 session of the emulated account, with its region.

        endpoint: The address of the emulated AWS.

        account: The account's number.

        partition: `aws`, `aws-cn` or `aws-us-gov`.

        stack_name: The name of the stack.

        stack_id: Its ARN.

        logical_id: The resource's name in the template.

        role: The ARN of the role that the stack is deployed by, if there is one.
    """

    session: boto3.Session
    endpoint: str
    account: str
    partition: str
    stack_name: str
    stack_id: str
    logical_id: str
    role: str = ""

    @property
    def region(self) -> str:
        return str(self.session.region_name)

    def client(self, service: str) -> Any:
        """The boto3 client of a service, at the emulated AWS."""
        return _client(self.session, self.endpoint, service)

    def name(self, longest: int, *, lower: bool = False) -> str:
        """A physical name as CloudFormation makes one, `stack-logical-RANDOM`, of at most `longest` characters."""
        suffix = "".join(secrets.choice(SUFFIX) for _ in range(12))
        name = f"{self.stack_name}-{self.logical_id}"[: longest - 13] + "-" + suffix
        return name.lower() if lower else name

    @cached_property
    def stack_tags(self) -> dict[str, str]:
        """The tags that CloudFormation puts on whatever it makes and can be tagged."""
        return {
            "aws:cloudformation:stack-name": self.stack_name,
            "aws:cloudformation:stack-id": self.stack_id,
            "aws:cloudformation:logical-id": self.logical_id,
        }


Create = Callable[[Context, Properties], Made]
Update = Callable[[Context, str, Properties, Properties], Made]
Delete = Callable[[Context, str, Properties], None]


@dataclass(frozen=True)
class ResourceType:
    """One CloudFormation resource type, through the services of the emulated AWS.

    Args:
        name: As a template writes it, `AWS::EC2::VPC`.

        properties: Every property it knows; another is an error. None when a function of the stack decides.

        create: Makes one of its evaluated properties.

        delete: Deletes it; one that is already gone is no error.

        update: Changes one in place, from the old properties to the new. Left out, every change replaces.

        replaced_by: The properties whose change replaces the resource, as CloudFormation's reference says; a nested
            one by its dotted name.

        without_effect: Known properties that change nothing in a rehearsal, with the reason; the report lists them.
    """

    name: str
    properties: frozenset[str] | None
    create: Create
    delete: Delete
    update: Update | None = None
    replaced_by: frozenset[str] = frozenset()
    without_effect: Mapping[str, str] = field(default_factory=dict)

    def replaces(self, old: Properties, new: Properties) -> bool:
        """Whether going from the old properties to the new takes another resource."""
        if self.update is None:
            return old != new
        return any(_at(old, path) != _at(new, path) for path in self.replaced_by)

    def check(self, logical_id: str, properties: Properties) -> None:
        """Refuse a property that is not known.

        Raises:
            NotEmulated: Names the property, the resource and the type.
        """
        if self.properties is None:
            return
        unknown = sorted(set(properties) - self.properties - set(self.without_effect))
        if unknown:
            raise NotEmulated(
                f"{logical_id} ({self.name}): the rehearsal does not know {', '.join(unknown)}; it knows "
                f"{', '.join(sorted(self.properties | set(self.without_effect)))}"
            )


def _at(properties: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for key in path.split("."):
        properties = properties.get(key) if isinstance(properties, Mapping) else None
    return properties


@lru_cache(maxsize=256)
def _client(session: boto3.Session, endpoint: str, service: str) -> Any:
    """One client for all calls of a session: making one takes longer than a call to the emulated AWS."""
    with MAKING_CLIENTS:
        return session.client(service, endpoint_url=endpoint)
