"""Reserved capacity is used first, then the next type; a reservation that ends leaves its nodes, and a Capacity Block drains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from eks_rehearsal.aws.extensions.reservations import ACTIVE, CAPACITY_BLOCK, CapacityReservations, Reservation
from eks_rehearsal.cluster.kube import Document, condition
from eks_rehearsal.labels import CAPACITY_TYPE, GPU_RESOURCE, RESERVATION_ID, RESERVATION_TYPE
from eks_rehearsal.scene import Pool, Scene, Workload
from eks_rehearsal.stories.story import NotPlayed, Story

CLASSES = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"
RESERVED = "reserved"
# Karpenter looks once a minute at reservations, and once a minute at what it has seen of them.
LOOKS_SECONDS = 200.0
# Karpenter drains from 40 minutes before the end of a Capacity Block, and EC2 terminates from 30 minutes before.
DRAINED_BEFORE = timedelta(minutes=40)
TAKEN_BEFORE = timedelta(minutes=30)
# More would show nothing that these do not.
MOST_SLOTS = 8


@dataclass(frozen=True)
class Held:
    """A pool and a reservation that it may use."""

    pool: Pool
    reservation: Reservation


def play(scene: Scene) -> None:
    pools = [pool for pool in scene.pools() if RESERVED in pool.capacity_types]
    if not pools:
        raise NotPlayed("no GPU pool of this stack uses reserved capacity")
    held = [_held(scene, pool) for pool in pools]
    blocks = [one for one in held if one.reservation.is_block]
    ladders = [one for one in held if not one.reservation.is_block]
    with _as_it_was(held):
        # The Capacity Block first, because Karpenter takes minutes over its end.
        ending = [(one, _end_soon(scene, one)) for one in blocks]
        for one in ladders:
            _climb(scene, one)
            _cancel(scene, one)
        for one, instance in ending:
            _drained(scene, one, instance)


@contextmanager
def _as_it_was(held: list[Held]) -> Iterator[None]:
    """Leave reservations as they were: what others reserved must be there afterwards."""
    before = [(one.reservation, dict(one.reservation.said), one.reservation.state) for one in held]
    try:
        yield
    finally:
        for reservation, said, state in before:
            reservation.said, reservation.state = said, state


def _held(scene: Scene, pool: Pool) -> Held:
    """A reservation that Karpenter has found for a pool."""
    name = pool.document["spec"]["template"]["spec"]["nodeClassRef"]["name"]

    def found() -> str:
        said = scene.kube.get(f"{CLASSES}/{name}").get("status", {}).get("capacityReservations") or [{}]
        return str(said[0].get("id", ""))

    id = scene.until(f"Karpenter to find a reservation of pool {pool.name}", found, seconds=LOOKS_SECONDS)
    return Held(pool, _reservations(scene).find(id))


def _reservations(scene: Scene) -> CapacityReservations:
    return scene.account.aws.extensions.reservations


def _climb(scene: Scene, held: Held) -> None:
    """As many pods as there are slots use them; the next is of another capacity type, and comes when they are launched."""
    pool, slots = held.pool, int(held.reservation.said["TotalInstanceCount"])
    if slots > MOST_SLOTS:
        raise NotPlayed(f"{held.reservation.id} has {slots} instances, and the story fills at most {MOST_SLOTS}")
    first = scene.start(f"first-{pool.name}", pool=pool)
    node = scene.node(scene.running(first)["spec"]["nodeName"])
    labels = node["metadata"]["labels"]
    scene.check(
        f"pool {pool.name} launches into its reservation first",
        holds=(labels[CAPACITY_TYPE], labels.get(RESERVATION_ID)) == (RESERVED, held.reservation.id),
    )
    others = [one for one in pool.capacity_types if one != RESERVED]
    if not others:
        return
    # A whole node each, so that every pod needs a slot.
    gpus = int(node["status"]["capacity"][GPU_RESOURCE])
    more = scene.start(f"more-{pool.name}", pool=pool, replicas=slots, gpus=gpus)
    scene.until(
        f"{slots} more pods to run on pool {pool.name}", lambda: len(more.pods("Running")) == slots, seconds=120
    )
    claims = {claim["status"]["nodeName"]: claim for claim in scene.claims(pool)}
    reserved = [one for one in claims.values() if _type_of(one) == RESERVED]
    past = [one for one in claims.values() if _type_of(one) != RESERVED]
    scene.check(f"all {slots} slots of the reservation of pool {pool.name} are used", holds=len(reserved) == slots)
    expected = "spot" if "spot" in others else others[0]
    scene.check(
        f"when it was full, pool {pool.name} launched {expected}", holds=[_type_of(one) for one in past] == [expected]
    )
    if slots > 1:
        _deferred(scene, reserved, past[0])


def _deferred(scene: Scene, reserved: list[Document], past: Document) -> None:
    launched = max(_launched_at(one) for one in reserved)
    came = str(past["metadata"]["creationTimestamp"])
    begun = max(str(one["metadata"]["creationTimestamp"]) for one in reserved)
    scene.check(
        "while a slot was held and not launched, the next pod waited and went nowhere else",
        holds=came >= launched and came > begun,
    )


def _launched_at(claim: Document) -> str:
    found = (one for one in claim["status"]["conditions"] if one["type"] == "Launched")
    return str(next(found)["lastTransitionTime"])


def _type_of(claim: Document) -> str:
    return str(claim["metadata"]["labels"][CAPACITY_TYPE])


def _cancel(scene: Scene, held: Held) -> None:
    """The instances of a reservation that is cancelled go on, as on-demand."""
    nodes = {claim["status"]["nodeName"] for claim in scene.claims(held.pool) if _type_of(claim) == RESERVED}
    asked = {"CapacityReservationId": held.reservation.id}
    scene.account.aws.client("ec2").cancel_capacity_reservation(**asked)
    scene.timeline.add("story", held.reservation.id, "cancelled", f"{len(nodes)} nodes run in it")

    def demoted() -> bool:
        types = [scene.node(name)["metadata"]["labels"][CAPACITY_TYPE] for name in nodes]
        return set(types) == {"on-demand"}

    scene.until("the nodes of the cancelled reservation to be on-demand", demoted, seconds=LOOKS_SECONDS)
    scene.check("they run on", holds=all(condition(scene.node(name), "Ready") == "True" for name in nodes))


def _end_soon(scene: Scene, held: Held) -> str:
    """Bring a Capacity Block near its end with a pod in it; its instance."""
    pool = held.pool
    workload = scene.start(f"block-{pool.name}", pool=pool)
    instance = _runs_in_block(scene, workload, pool)
    held.reservation.said["EndDate"] = datetime.now(tz=timezone.utc) + DRAINED_BEFORE + timedelta(seconds=20)
    scene.timeline.add("story", held.reservation.id, "ends in 40 minutes", "EC2 terminates 30 minutes before")
    return instance


def _runs_in_block(scene: Scene, workload: Workload, pool: Pool) -> str:
    name = scene.running(workload)["spec"]["nodeName"]
    labels = scene.node(name)["metadata"]["labels"]
    scene.check(
        f"pool {pool.name} launches into its Capacity Block",
        holds=labels.get(RESERVATION_TYPE) == CAPACITY_BLOCK,
    )
    return scene.instance_of(name)


def _drained(scene: Scene, held: Held, id: str) -> None:
    def ended() -> bool:
        return scene.observer.instances[id].ended is not None

    scene.until(f"the nodes of {held.reservation.id} to be drained before it ends", ended, seconds=LOOKS_SECONDS)
    ends = held.reservation.ends
    left = None if ends is None else ends - datetime.now(tz=timezone.utc)
    scene.check(
        f"pool {held.pool.name} was drained before EC2 takes its Capacity Block away",
        holds=left is not None and left > TAKEN_BEFORE and held.reservation.state == ACTIVE,
    )


STORY = Story("reserved", "reservations are used first, end without harm, and Capacity Blocks drain in time", play)
