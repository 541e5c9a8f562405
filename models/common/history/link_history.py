"""What one link records: from its batches to lines of history.

Used by the writer's thread alone. What is planned in a transaction takes effect
here when that is committed.
"""

import time

from ....ha_client.buffer import Batch, LinkBuffer
from ....ha_client.recording import Recorder, Track
from . import history_sql


class LinkHistory:
    """The history of one instance, as far as this process writes it."""

    def __init__(self, instance_id: int, buffer: LinkBuffer):
        self._instance_id = instance_id
        self._buffer = buffer
        self._recorder = Recorder()
        self._planned: dict[str, Track] = {}
        self._loaded = False
        self._stale = True
        self.has_gap = False  # there may be something to fetch

    @property
    def is_due(self) -> bool:
        """Whether there may be something to do without a new batch."""
        return self._loaded and (self._stale or self._recorder.is_holding)

    def reload(self) -> None:
        """What is recorded, or how, has changed."""
        self._stale = True

    def before_states(self, cr, batch: Batch) -> None:
        """What has to be noted before a batch's states overwrite the old ones."""
        if batch.opens_gap:
            history_sql.open_gap(cr, self._instance_id)

    def after_states(self, cr, batch: Batch, final: bool = False) -> int:
        """Record a batch.

        :param final: the link ends: nothing is held any more
        :return: how many lines were written
        """
        self._planned = {}
        changes = batch.history
        if self._stale or batch.full or batch.touched:
            before = self._recorder.names
            new = self._reload(cr)
            changes = _under_present_names(changes, before, self._recorder.names)
            changes = [*changes, *new]
        lost = batch.lost.entity_ids if batch.lost else ()
        if batch.lost:
            history_sql.note_lost(cr, self._instance_id, batch.lost)
            self.has_gap = True
        rows, self._planned = self._recorder.plan(
            changes, time.monotonic(), final, lost
        )
        count = history_sql.insert_rows(cr, rows, "live")
        if batch.closes_gap:
            history_sql.close_gap(cr, self._instance_id, batch.closes_gap)
            self.has_gap = True
        return count

    def committed(self) -> None:
        """What was planned is in the database."""
        self._recorder.commit(self._planned)
        self._planned = {}

    def failed(self) -> None:
        """The transaction was rolled back, and with it what was read there."""
        self._planned = {}
        self._stale = True

    def _reload(self, cr):
        """Follow entities and policy; the present states of what is new in it."""
        known = self._recorder.tracks
        tracks, others = history_sql.load_tracks(cr, self._instance_id, known)
        self._recorder.replace(tracks)
        self._buffer.unrecorded = others
        new = [key for key, track in tracks.items() if track.record_id not in known]
        first, self._loaded, self._stale = not self._loaded, True, False
        return [] if first else self._buffer.recall(new)


def _under_present_names(changes, before: dict[str, int], now: dict[str, int]):
    """Changes of entities that were renamed after them.

    :param before: database ids by the entity ids that ``changes`` may have
    """
    names = {id_: name for name, id_ in now.items()}
    renamed = {
        name: names[id_]
        for name, id_ in before.items()
        # Should the name be another's by now, nobody knows whose change it is.
        if id_ in names and name not in now
    }
    if not renamed:
        return changes
    return [
        change._replace(entity_id=renamed.get(change.entity_id, change.entity_id))
        for change in changes
    ]
