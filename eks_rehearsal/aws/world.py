"""One account in one region: what every extension stands on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import moto.backends
from moto.utilities.utils import get_partition

from eks_rehearsal.aws.hooks import Hooks
from eks_rehearsal.aws.wire import Call, Response

# What an extension answers a call with: documents, moto's own answer, or None for an operation without output.
Operation = Callable[[Call], "dict[str, Any] | Response | None"]
# By service and action.
Operations = dict[tuple[str, str], Operation]


@dataclass
class World:
    """The account, the region, and moto's state of them.

    Args:
        region: The only one with a cluster; moto keeps others if asked.

        account: Twelve digits.

        hooks: What happens outside AWS.

        moto: Asks moto itself and gives its answer's documents; an extension amends them.

        moto_response: The same, as moto wrote it.

        failures: What hooks raised, and what AWS would have refused without telling anybody.

        refusal: Why a role (its ARN) may not do to a resource what a service does in its name; empty when it may.

        turn: Held by whoever reads or changes the account: neither moto nor its extensions are made for two threads.
    """

    region: str
    account: str
    hooks: Hooks
    moto: Callable[[Call], dict[str, Any]]
    moto_response: Callable[[Call], Response]
    failures: list[str] = field(default_factory=list)
    refusal: Callable[[str, str, str], str] = lambda _role, _action, _resource: ""
    turn: threading.RLock = field(default_factory=threading.RLock)

    @property
    def partition(self) -> str:
        """`aws`, or `aws-cn` and the like, after the region."""
        return get_partition(self.region)

    @property
    def root(self) -> str:
        """Who a caller is whose key nobody gave out."""
        return f"arn:{self.partition}:iam::{self.account}:root"

    def arn(self, service: str, resource: str) -> str:
        """Of a resource in this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def backend(self, service: str) -> Any:
        """Moto's backend of a service for this account, in this region or, for a global service, this partition.

        For those who have the turn.
        """
        regions = moto.backends.get_backend(cast("Any", service))[self.account]
        return regions[self.region if self.region in regions else self.partition]

    def background(self, function: Callable[..., object], *arguments: object) -> threading.Thread:
        """Run a hook in a thread of its own; what it raises is kept in `failures`."""

        def run() -> None:
            try:
                function(*arguments)
            except Exception as error:  # noqa: BLE001 - a hook is anybody's code, and there is nobody above a thread
                self.failures.append(f"{getattr(function, '__qualname__', function)}: {error}")

        thread = threading.Thread(target=run, daemon=True, name=f"hook {getattr(function, '__name__', '')}")
        thread.start()
        return thread
