"""Which of a link's ups and downs are worth a line in the log. Pure."""

import time

from ....ha_client.const import BACKOFF_RESET_AFTER

# A link that breaks soon after it came up, again and again, is told of so often.
MOST_OUTAGES = 4


class LinkNews:
    """An outage is told when it begins and when it ends, not at each attempt.

    It lasts until the link is complete: Home Assistant may let us in and then hang
    up, again and again, as it does while it starts. After MOST_OUTAGES short-lived
    connections no more is told until one has lasted for BACKOFF_RESET_AFTER.

    ``failures`` counts attempts since the link was complete.
    """

    def __init__(self, clock=time.monotonic):
        self.failures = 0
        self._clock = clock
        self._outages = 0  # since the link last was up for long
        self._up_since = 0.0

    @property
    def is_last(self) -> bool:
        """Whether this outage is the last that is told for the time being."""
        return self._outages == MOST_OUTAGES

    def failed(self) -> bool:
        """An attempt, or the link itself, has failed; whether to tell."""
        self.failures += 1
        if self.failures == 1:
            self._outages += 1
        return self.failures == 1 and self._outages <= MOST_OUTAGES

    def complete(self) -> bool:
        """All is delivered; whether to tell that an outage is over."""
        self._up_since = self._clock()
        was_down, self.failures = self.failures > 0, 0
        return was_down and self._outages < MOST_OUTAGES

    def alive(self) -> bool:
        """Something was received; whether to tell that the link stays up now."""
        if not self._outages or self.failures:
            return False
        if self._clock() - self._up_since < BACKOFF_RESET_AFTER:
            return False
        outages, self._outages = self._outages, 0
        return outages >= MOST_OUTAGES
