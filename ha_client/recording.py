"""Decides which changes of a state become history; pure.

History is a list of changes: a state that is reported again, also when it is
forced (``last_changed`` moves, the state does not), makes no row. An entity can
have a deadband for numbers and a minimum interval; of what happens within the
interval the latest is kept and recorded when it is over.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .model import number_of

MAX_EPOCH = 253402300799.0  # the end of the year 9999


class Change(NamedTuple):
    """An entity took on a state; ``at`` is epoch seconds (``last_changed``)."""

    entity_id: str
    state: str
    at: float


class Row(NamedTuple):
    """A line of history; ``record_id`` is the database id of the entity."""

    record_id: int
    state: str
    value: float | None
    at: float


class Track(NamedTuple):
    """One recorded entity and its latest line of history.

    ``state`` None: not known, the next change is recorded in any case. ``held``
    waits for the end of the minimum interval, at ``due`` (``time.monotonic()``:
    Home Assistant's clock may not be ours).
    """

    record_id: int
    deadband: float = 0.0
    interval: float = 0.0
    state: str | None = None
    at: float = 0.0
    held: Change | None = None
    due: float = 0.0

    def offer(self, change: Change, now: float) -> tuple["Track", Row | None]:
        """What becomes of the track, and the row to write, if any."""
        if not 0 <= change.at <= MAX_EPOCH:
            return self, None
        if self.state is None:
            return self._record(change)
        if change.state == self.state:
            # Back where it was: what was held in between is not held any more.
            return (self._replace(held=None) if self.held else self), None
        if self.deadband and self._is_within_deadband(change.state):
            return self, None
        left = self.interval - (change.at - self.at) if self.interval else 0.0
        if left > 0:
            due = self.due if self.held else now + min(left, self.interval)
            return self._replace(held=change, due=due), None
        return self._record(change)

    def release(self, now: float) -> tuple["Track", Row | None]:
        """The change that was held, if its interval is over at ``now``."""
        if self.held is None or now < self.due:
            return self, None
        return self._record(self.held)

    def lose(self) -> tuple["Track", Row | None]:
        """Changes after this were lost: the next one is recorded whatever it is."""
        track, row = self.release(float("inf"))
        return track._replace(state=None), row

    def _record(self, change: Change) -> tuple["Track", Row]:
        id_, deadband, interval = self[:3]
        _entity_id, state, at = change
        # Not _replace: this is called for every change, and that is slow.
        track = Track(id_, deadband, interval, state, at)
        return track, Row(id_, state, number_of(state), at)

    def _is_within_deadband(self, state: str) -> bool:
        new, old = number_of(state), number_of(self.state or "")
        return new is not None and old is not None and abs(new - old) < self.deadband


def thin(
    track: Track, changes: Iterable[Change], until: float
) -> tuple[list[Row], Change | None]:
    """The rows that following ``changes`` live would have made.

    :param track: with what was recorded, or held, before the first of them
    :param until: epoch seconds up to which nothing else happened
    :return: the rows, and the change whose interval is not over by then
    """
    rows: list[Row] = []
    for change in (*changes, None):
        now = until if change is None else change.at
        if track.held and now - track.at >= track.interval:
            track, row = track.release(float("inf"))
            rows.append(row)
        if change is not None:
            track, row = track.offer(change, 0.0)
            if row is not None:
                rows.append(row)
    return rows, track.held


class Recorder:
    """The tracks of one instance, by Home Assistant's entity id.

    ``plan`` changes nothing: what it returns takes effect with ``commit``, once
    the rows are in the database.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}
        self._holding: set[str] = set()

    @property
    def tracks(self) -> dict[int, Track]:
        """All tracks by database id."""
        return {track.record_id: track for track in self._tracks.values()}

    @property
    def names(self) -> dict[str, int]:
        """Database ids by Home Assistant's entity id."""
        return {name: track.record_id for name, track in self._tracks.items()}

    @property
    def is_holding(self) -> bool:
        """Whether a change waits for the end of its interval."""
        return bool(self._holding)

    def replace(self, tracks: dict[str, Track]) -> None:
        """Record these entities from now on, and no others."""
        self._tracks = tracks
        self._holding = {key for key, track in tracks.items() if track.held}

    def plan(
        self,
        changes: Iterable[Change],
        now: float,
        final: bool = False,
        lost: Iterable[str] = (),
    ) -> tuple[list[Row], dict[str, Track]]:
        """Rows for ``changes``, in their order, and for what was held until now.

        :param now: ``time.monotonic()``
        :param final: nothing more will come: also what is still held
        :param lost: entities of which changes were lost, after ``changes``
        :return: the rows, and the changed tracks for :meth:`commit`
        """
        rows: list[Row] = []
        changed: dict[str, Track] = {}
        tracks = self._tracks
        for change in changes:
            entity_id = change[0]
            track = changed.get(entity_id) or tracks.get(entity_id)
            if track is None:
                continue
            changed[entity_id], row = track.offer(change, now)
            if row is not None:
                rows.append(row)
        end = float("inf") if final else now
        for entity_id in self._holding:
            track = changed.get(entity_id) or tracks[entity_id]
            changed[entity_id], row = track.release(end)
            if row is not None:
                rows.append(row)
        if final:
            for entity_id, track in changed.items():
                changed[entity_id], row = track.release(end)
                if row is not None:
                    rows.append(row)
        for entity_id in lost:
            track = changed.get(entity_id) or tracks.get(entity_id)
            if track is not None:
                changed[entity_id], row = track.lose()
                if row is not None:
                    rows.append(row)
        return rows, changed

    def commit(self, changed: dict[str, Track]) -> None:
        """Make a plan's tracks the present ones."""
        for entity_id, track in changed.items():
            if entity_id not in self._tracks:
                continue
            self._tracks[entity_id] = track
            if track.held:
                self._holding.add(entity_id)
            else:
                self._holding.discard(entity_id)
