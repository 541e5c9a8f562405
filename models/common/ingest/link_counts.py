"""What passed through one link, to be added to its status row now and then."""

from collections.abc import Callable

from ....ha_client.buffer import Counts


class LinkCounts:
    """Counts that the status row does not contain yet.

    :param fetched: how many lines of history the backfill has written, ever
    """

    def __init__(self, instance_id: int, fetched: Callable[[], int]):
        self._instance_id = instance_id
        self._fetched = fetched
        self._fetched_counted = 0
        self._fetched_writing = 0
        self._counts = Counts()
        self._recorded = 0

    def add(self, counts: Counts, recorded: int) -> None:
        """A batch with these changes and lines of history was committed."""
        self._counts.add(counts)
        self._recorded += recorded

    def save(self, cr) -> None:
        """Add everything to the status row; :meth:`saved` follows the commit."""
        counts = self._counts
        self._fetched_writing = self._fetched()
        fetched = self._fetched_writing - self._fetched_counted
        if not (counts.changes or counts.dropped or self._recorded or fetched):
            return
        cr.execute(
            """
            UPDATE ha_instance_status
               SET change_count = coalesce(change_count, 0) + %s,
                   coalesced_count = coalesce(coalesced_count, 0) + %s,
                   dropped_count = coalesce(dropped_count, 0) + %s,
                   recorded_count = coalesce(recorded_count, 0) + %s,
                   backfilled_count = coalesce(backfilled_count, 0) + %s
             WHERE instance_id = %s
            """,
            (
                counts.changes,
                counts.coalesced,
                counts.dropped,
                self._recorded,
                fetched,
                self._instance_id,
            ),
        )

    def saved(self) -> None:
        """What was written last is committed."""
        self._fetched_counted = self._fetched_writing
        self._counts, self._recorded = Counts(), 0
