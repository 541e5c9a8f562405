"""When a session pings, gives up, and refetches. Pure: ``now`` is handed in."""

from collections.abc import Iterable

from . import causes
from .const import (
    IDLE_BEFORE_PING,
    PONG_TIMEOUT,
    PROGRESS_BYTES,
    REGISTRY_DEBOUNCE,
    REGISTRY_DEBOUNCE_MAX,
)
from .exceptions import ConnectionLost


class Liveness:
    """Tells a quiet peer from a dead one.

    Bytes of an unfinished frame count as a sign of life when they come in
    numbers: a snapshot over a slow line takes long, while a peer that trickles
    single bytes is as good as dead.
    """

    def __init__(self, now: float, received: int) -> None:
        self._alive_at = now
        self._bytes_at = received
        self._pinged_at: float | None = None

    @property
    def due(self) -> float:
        """When to look again if nothing arrives."""
        if self._pinged_at is not None:
            return self._pinged_at + PONG_TIMEOUT
        return self._alive_at + IDLE_BEFORE_PING

    def alive(self, now: float, received: int) -> None:
        """A sign of life came; ``received`` is the byte count so far."""
        self._alive_at = now
        self._bytes_at = received
        self._pinged_at = None

    def progressed(self, received: int) -> bool:
        return received - self._bytes_at >= PROGRESS_BYTES

    def ping_due(self, now: float) -> bool:
        return self._pinged_at is None and now >= self.due

    def pinged(self, now: float) -> None:
        self._pinged_at = now

    def check(self, now: float) -> None:
        """Raises :class:`ConnectionLost` when a ping stayed without any echo."""
        if self._pinged_at is not None and now >= self.due:
            seconds = round(now - self._alive_at)
            raise ConnectionLost(causes.NO_ANSWER, seconds=seconds)


class Debounce:
    """Collects what has to be fetched until things calm down.

    Each mark postpones by REGISTRY_DEBOUNCE, at most until REGISTRY_DEBOUNCE_MAX
    after the first; an urgent one is due at once.
    """

    def __init__(self) -> None:
        self._marked: set[str] = set()
        self._first = 0.0
        self.due: float | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._marked

    def mark(self, keys: Iterable[str], now: float, urgent: bool = False) -> None:
        if not self._marked:
            self._first = now
        self._marked.update(keys)
        if urgent:
            self.due = now
        elif self.due is None or self.due > now:
            self.due = min(now + REGISTRY_DEBOUNCE, self._first + REGISTRY_DEBOUNCE_MAX)

    def take(self) -> set[str]:
        """What was marked; the collection is empty afterwards."""
        marked, self._marked, self.due = self._marked, set(), None
        return marked
