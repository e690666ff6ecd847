"""What a rehearsal found, as a report tells it."""

from __future__ import annotations

from dataclasses import dataclass, field

from eks_rehearsal.timeline import Moment

PASSED, FAILED, NOT_PLAYED = "passed", "failed", "not played"
# What no rehearsal shows, said in every report.
CANNOT_SHOW = (
    "EC2's boot time and image pulls: an instance is a node within a second, and a container starts at once",
    "real GPUs, drivers and NVIDIA's container runtime: a GPU is a number on the node once a device plugin pod runs there",
    "IAM's identity policies, service control policies and quotas: only role trust, access entries and aws-auth are checked, and with --authorize what the controller may call",
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
    unknown: tuple[str, ...] = ()
    seconds: float = 0.0
    when: str = ""
    cannot_show: tuple[str, ...] = field(default=CANNOT_SHOW)

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and nothing was left."""
        return not self.left and all(outcome.verdict != FAILED for outcome in self.outcomes)

    @property
    def dollars(self) -> float:
        """What the GPU instances would have cost on demand."""
        ends = self.seconds
        return sum(
            one.usd_per_hour * ((ends if one.ended is None else one.ended) - one.began) / 3600 for one in self.billed
        )
