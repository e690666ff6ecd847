"""What happened when: moments of a rehearsal, in lanes, as they are seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LANES = ("story", "stack", "pod", "event", "nodeclaim", "node", "instance", "karpenter")


@dataclass(frozen=True)
class Moment:
    """Something that happened.

    Args:
        seconds: Since the rehearsal began.

        lane: One of `LANES`.

        about: The name of what it happened to.

        what: What happened, in a few words.

        detail: The message behind it, when there is one.
    """

    seconds: float
    lane: str
    about: str
    what: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.seconds:7.1f} s  {self.lane:<9} {self.about}  {self.what}{detail}"


class Timeline:
    """The moments of one rehearsal.

    Args:
        heard: Is told each moment as it is added.
    """

    def __init__(self, heard: Callable[[Moment], None] = lambda _: None) -> None:
        self._began = time.monotonic()
        self._heard = heard
        self._moments: list[Moment] = []
        self._lock = threading.Lock()

    @property
    def now(self) -> float:
        """Seconds since the rehearsal began."""
        return time.monotonic() - self._began

    def add(self, lane: str, about: str, what: str, detail: str = "") -> Moment:
        """Note that something happened now."""
        with self._lock:
            moment = Moment(self.now, lane, about, what, " ".join(detail.split()))
            self._moments.append(moment)
        self._heard(moment)
        return moment

    def __iter__(self) -> Iterator[Moment]:
        with self._lock:
            return iter(tuple(self._moments))

    def after(self, seconds: float) -> list[Moment]:
        """The moments since a time."""
        return [moment for moment in self if moment.seconds >= seconds]
