"""How long to wait before the next attempt to connect."""

import random
import time
from collections.abc import Callable
from typing import Protocol

from .const import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    BACKOFF_FLOOR,
    BACKOFF_LOOK_AGAIN,
    BACKOFF_RESET_AFTER,
)


class UniformSource(Protocol):
    def uniform(self, a: float, b: float) -> float: ...


class Backoff:
    """Exponential backoff with full jitter (seconds), for ever.

    Full jitter spreads many links over the whole interval, so that a restarted
    Home Assistant is not hit by all of them at once. The count restarts after a
    connection that stayed healthy for ``reset_after``: one that breaks
    sooner keeps climbing. But why a working link has ended, its token revoked,
    say, is found out soon: one that was healthy for BACKOFF_LOOK_AGAIN does not wait
    for longer than that.
    """

    def __init__(
        self,
        base: float = BACKOFF_BASE,
        cap: float = BACKOFF_CAP,
        reset_after: float = BACKOFF_RESET_AFTER,
        rng: UniformSource = random,  # type: ignore[assignment]
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base = base
        self._cap = cap
        self._reset_after = reset_after
        self._rng = rng
        self._clock = clock
        self._ceiling = base
        self._healthy_since: float | None = None

    def healthy(self) -> None:
        """The link works. Repeated calls keep the time of the first."""
        if self._healthy_since is None:
            self._healthy_since = self._clock()

    def reset(self) -> None:
        """Forget all failures, e.g. after a change of the configuration."""
        self._ceiling = self._base
        self._healthy_since = None

    def next_delay(self) -> float:
        """Seconds to wait after a failure; never 0, at most ``cap``."""
        since, self._healthy_since = self._healthy_since, None
        healthy_for = 0.0 if since is None else self._clock() - since
        if healthy_for >= self._reset_after:
            self._ceiling = self._base
        ceiling = self._ceiling
        self._ceiling = min(self._cap, ceiling * 2)
        if healthy_for >= BACKOFF_LOOK_AGAIN:
            ceiling = min(ceiling, BACKOFF_LOOK_AGAIN)
        return self._rng.uniform(min(BACKOFF_FLOOR, ceiling), ceiling)
