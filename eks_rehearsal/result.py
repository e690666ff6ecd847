"""What a rehearsal found, as a report tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eks_rehearsal.timeline import Moment

if TYPE_CHECKING:  # With it comes moto: --help need not wait for it.
    from eks_rehearsal.aws.authorization import Recorded

PASSED, FAILED, NOT_PLAYED = "passed", "failed", "not played"
# What no rehearsal shows, said in every report.
CANNOT_SHOW = (
    "EC2's boot time and image pulls: an instance is a node within a second, and a container starts at once",
    "real GPUs, drivers and NVIDIA's container runtime: a GPU is a number on the node once a device plugin pod runs there",
    "quotas; what IAM says of calls that are named as not decided; what a person's own credentials may do",
    "the network: routes, security group rules and endpoints are recorded, and no packet meets them; addresses are IPv4, in an IPv6 cluster, too",
    "EKS's add-ons and Lambda's own runtimes: add-ons are recorded, and functions run on this machine's Python and Node.js",
    "real spot capacity and prices: dollars are the catalogue's on-demand prices",
)


@dataclass(frozen=True)
class Outcome:
    """How one act went: deployment, a story, destruction.

    Args:
        name: One word.

        title: What it shows.

        verdict: `passed`, `failed` or `not played`.

        reason: Why it failed or was not played, in a sentence; empty when it passed.

        began: Seconds of the timeline.

        ended: Seconds of the timeline.
    """

    name: str
    title: str
    verdict: str
    reason: str
    began: float
    ended: float


@dataclass(frozen=True)
class Billed:
    """A GPU instance that was seen.

    Args:
        id: Its id.

        type: Its type.

        pool: The pool it was launched for.

        spot: Whether it was a spot instance.

        began: Seconds of the timeline.

        ended: Seconds of the timeline; None when it still ran at the end.

        usd_per_hour: The catalogue's on-demand price; 0 when it has none.
    """

    id: str
    type: str
    pool: str
    spot: bool
    began: float
    ended: float | None
    usd_per_hour: float


@dataclass(frozen=True)
class Destroyed:
    """What was seen of one destroy of the stacks in which something went wrong.

    Args:
        stories: The stories that played in it.

        seconds: How long it took.

        speed: How many seconds passed for the stacks' functions in one.

        reason: Why it failed, in the words of the stacks' events; empty when it completed.

        left: The instances of pools that were left.

        log: What functions said.

        said: What of that each story is about.
    """

    stories: tuple[str, ...]
    seconds: float
    speed: float
    reason: str
    left: tuple[str, ...]
    log: str = field(default="", repr=False)
    said: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Permissions:
    """What IAM said of the calls of roles and users.

    Args:
        decided: How many calls were decided.

        undecided: The calls whose decision hangs on what the emulated AWS does not know of them, and how often.

        denied: What was denied, a sentence each with role, action, resource and statement, and how often.

        late: How often something was denied only because a policy had not spread yet.

        recorded: What was allowed, once for each role, action, kind of resource and statement.
    """

    decided: int = 0
    undecided: Mapping[str, int] = field(default_factory=dict)
    denied: Mapping[str, int] = field(default_factory=dict)
    late: int = 0
    recorded: tuple[Recorded, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it, for a report."""
        skipped, denied = sum(self.undecided.values()), sum(self.denied.values())
        said = [f"{self.decided} calls were decided, {denied} of them denied; {skipped} were not decided"]
        if self.undecided:
            said.append(
                f"not decided, as the answer hangs on what is not known of them: {', '.join(sorted(self.undecided))}"
            )
        if self.late:
            said.append(f"denied {self.late} times only because a policy had not spread yet")
        return (*said, *(f"denied {count} times: {what}" for what, count in self.denied.items()))


@dataclass(frozen=True)
class Result:
    """Everything that a report tells.

    Args:
        stacks: The names of the stacks that were deployed.

        region: The region they were deployed to.

        kubernetes: The version of the control plane, `1.36.4`.

        karpenter: The version of the controller that ran, `1.14.3`.

        notes: What must be said of the versions, a sentence each.

        outcomes: The acts, in order.

        moments: The timeline.

        billed: The GPU instances there were.

        left: What was left in the account after the stacks were destroyed; None when they were not.

        destroyed: The destroys in which something went wrong, in order.

        permissions: What IAM said of the calls of roles and users; None when nobody asked.

        unknown: Calls that the emulated AWS did not know.

        seconds: How long it all took.

        when: When it began, `2026-11-23 20:37 UTC`; empty when nobody says.
    """

    stacks: tuple[str, ...]
    region: str
    kubernetes: str
    karpenter: str
    notes: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    moments: tuple[Moment, ...]
    billed: tuple[Billed, ...]
    left: tuple[str, ...] | None
    destroyed: tuple[Destroyed, ...] = ()
    permissions: Permissions | None = None
    unknown: tuple[str, ...] = ()
    seconds: float = 0.0
    when: str = ""
    cannot_show: tuple[str, ...] = field(default=CANNOT_SHOW)

    @property
    def passed(self) -> bool:
        """Whether nothing failed, nothing was denied, and nothing was left."""
        return not self.left and not self.denied and all(outcome.verdict != FAILED for outcome in self.outcomes)

    @property
    def denied(self) -> tuple[str, ...]:
        """What IAM denied, a sentence each."""
        return tuple(self.permissions.denied) if self.permissions else ()

    @property
    def dollars(self) -> float:
        """What the GPU instances would have cost on demand."""
        ends = self.seconds
        return sum(
            one.usd_per_hour * ((ends if one.ended is None else one.ended) - one.began) / 3600 for one in self.billed
        )
