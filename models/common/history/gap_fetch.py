"""Fills the gaps of one instance's history from Home Assistant's recorder.

A gap is fetched in passes: the first at once, the others ask for its last minute
again, because the recorder commits late (every 5 s unless told otherwise). A pass
goes through the recorded entities, some at a time, and through time in windows
that adapt to how much comes. How far it is stands in the gap's row:
``cursor = {"after": id of the last finished entity, "at": epoch seconds,
"held": {id of an entity: the state and time that its minimum interval holds}}``.

What Home Assistant cannot vouch for is marked. It does not know an entity at the
gap's beginning although we do: it does not record it, or has purged that time.
Or it lacks a change that we have heard of.
"""

import json
import logging
from typing import NamedTuple

from ....ha_client.exceptions import CommandError, CommandTimeout
from ....ha_client.history import HISTORY_COMMAND, changes_of, history_request
from ....ha_client.recording import Change, Track, thin
from ..supervision.ownership import fence
from . import history_sql

_logger = logging.getLogger(__name__)

ENTITIES_AT_ONCE = 100
TAIL_S = 60.0
PASS_DELAYS_S = (12, 60)  # until the second pass, until the third
ANSWER_TIMEOUT_S = 60.0
FIRST_WINDOW_S = 10.0
LONGEST_WINDOW_S = 10 * 86400.0
SHORTEST_WINDOW_S = 1.0
FEW_ROWS, MANY_ROWS = 2000, 8000  # in one answer; in between is right
MARGIN_S = 1.0  # more than asked for costs nothing
WAIT_S = 300.0
CLAIMING = ("disconnect", "overload")  # gaps in what we say is complete

NEXT_SQL = """
    SELECT id, reason, extract(epoch FROM date_from)::float8,
           extract(epoch FROM date_to)::float8, entity_ids, cursor, passes, missing,
           extract(epoch FROM coalesce(next_at, date_to)
                              - now() AT TIME ZONE 'UTC')::float8
      FROM ha_history_gap
     WHERE instance_id = %s AND state = 'pending'
  ORDER BY coalesce(next_at, date_to), id LIMIT 1
"""
ENTITIES_SQL = """
    SELECT id, ha_entity_id, coalesce(history_deadband, 0),
           coalesce(history_interval, 0)
      FROM ha_entity
     WHERE instance_id = %s AND is_recorded AND id > %s
       AND (%s::int[] IS NULL OR id = ANY(%s::int[]))
  ORDER BY id LIMIT %s
"""
HEARD_SQL = """
    SELECT entity_id, extract(epoch FROM last_changed)::float8
      FROM ha_entity_history
     WHERE entity_id = ANY(%s) AND source = 'live'
       AND last_changed > to_timestamp(%s) AT TIME ZONE 'UTC'
       AND last_changed <= to_timestamp(%s) AT TIME ZONE 'UTC'
"""


class Gap(NamedTuple):
    id: int
    reason: str
    since: float
    until: float
    entity_ids: list[int] | None
    cursor: dict | None
    passes: int
    missing: dict | None
    due_in: float

    @property
    def is_last_pass(self) -> bool:
        return self.passes >= len(PASS_DELAYS_S)

    @property
    def start(self) -> float:
        """Where this pass begins."""
        if self.passes:
            return max(self.since - MARGIN_S, self.until - TAIL_S)
        return self.since - MARGIN_S

    @property
    def confirmed_until(self) -> float:
        """What happened before that, the recorder must have."""
        return self.until if self.is_last_pass else self.until - TAIL_S


class GapFetcher:
    """One instance's gaps, slice by slice. Used by the backfill's thread alone."""

    def __init__(self, link, backfill):
        self._link = link
        self._backfill = backfill
        self._window = FIRST_WINDOW_S

    def step(self) -> float:
        """Fetch one slice; return the seconds until the next, 0 for at once."""
        link = self._link
        with self._backfill.connection as connection, connection.cursor() as cr:
            gap = self._next_gap(cr)
            if gap is None:
                return WAIT_S
            if gap.due_in > 0:
                return min(gap.due_in, WAIT_S)
            after = (gap.cursor or {}).get("after", 0)
            cr.execute(
                ENTITIES_SQL,
                (
                    link.instance_id,
                    after,
                    gap.entity_ids,
                    gap.entity_ids,
                    ENTITIES_AT_ONCE,
                ),
            )
            entities = {
                entity_id: Track(id_, deadband, interval)
                for id_, entity_id, deadband, interval in cr.fetchall()
            }
        # Home Assistant is asked outside of any transaction.
        try:
            if entities:
                self._fetch(gap, entities)
            else:
                self._finish_pass(gap)
        except CommandTimeout:
            self._window = max(SHORTEST_WINDOW_S, self._window / 4)
            raise
        except CommandError as error:
            if error.code != "unknown_command":
                raise
            self._give_up(gap)
        return 0.0

    def _next_gap(self, cr) -> Gap | None:
        cr.execute(NEXT_SQL, (self._link.instance_id,))
        row = cr.fetchone()
        return Gap(*row) if row else None

    # One slice ------------------------------------------------------------------

    def _fetch(self, gap: Gap, entities: dict[str, Track]) -> None:
        cursor = gap.cursor or {}
        position, held = cursor.get("at"), cursor.get("held", {})
        missing = dict(gap.missing or {})
        if position is None:
            position = gap.start
            if gap.passes == 0 and gap.reason in CLAIMING:
                missing |= self._unknown_at_start(gap, entities)
        end = min(position + self._window, gap.until + MARGIN_S)
        changes = changes_of(self._ask(entities, position, end))
        changes = {key: changes[key] for key in changes if key in entities}
        is_last = end >= gap.until + MARGIN_S
        last_id = max(track.record_id for track in entities.values())
        with self._backfill.connection as connection, connection.cursor() as cr:
            fence(cr, self._link.instance_id, self._link.epoch)
            count, held = self._write(cr, entities, changes, position, end, held)
            if is_last:  # what is still held is live recording's business
                cursor = {"after": last_id}
            else:
                cursor = {"after": cursor.get("after", 0), "at": end, "held": held}
            if gap.reason in CLAIMING:
                self._check(cr, gap, entities, changes, position, end, missing)
            cr.execute(
                "UPDATE ha_history_gap SET cursor = %s, missing = %s,"
                " missing_count = %s, row_count = row_count + %s WHERE id = %s",
                (
                    json.dumps(cursor),
                    json.dumps(missing) if missing else None,
                    len(missing),
                    count,
                    gap.id,
                ),
            )
        self._link.fetched += count
        self._adapt(sum(map(len, changes.values())))

    def _ask(self, entities, start, end, known_at_start=False):
        request = history_request(entities, start, end, known_at_start)
        return self._backfill.call(
            self._link, HISTORY_COMMAND, ANSWER_TIMEOUT_S, **request
        )

    def _adapt(self, count: int) -> None:
        if count > MANY_ROWS:
            window = self._window * FEW_ROWS / count
            self._window = max(SHORTEST_WINDOW_S, window)
        elif count < FEW_ROWS:
            self._window = min(LONGEST_WINDOW_S, self._window * 4)

    def _write(self, cr, entities, changes, start, end, held) -> tuple[int, dict]:
        """Insert what is new; leave out what live recording would have left out.

        :param held: by database id, state and time held from the slice before
        :return: how many rows are new, and what is held now
        """
        waiting = [key for key, t in entities.items() if str(t.record_id) in held]
        names = dict.fromkeys([*changes, *waiting])
        ids = [entities[key].record_id for key in names]
        before = history_sql.latest_rows(cr, ids, start)
        rows, still_held = [], {}
        for entity_id in names:
            track = entities[entity_id]
            key = str(track.record_id)
            state, at = before.get(track.record_id, (None, 0.0))
            waits = Change(entity_id, *held[key]) if key in held else None
            track = track._replace(state=state, at=at, held=waits)
            newer = (c for c in changes.get(entity_id, ()) if c.at > at)
            found, waits = thin(track, newer, end)
            rows += found
            if waits:
                still_held[key] = [waits.state, waits.at]
        count = history_sql.insert_rows(cr, rows, "backfill")
        ranges: dict[int, tuple[float, float]] = {}
        for row in rows:
            low, high = ranges.get(row.record_id, (row.at, row.at))
            ranges[row.record_id] = min(low, row.at), max(high, row.at)
        return count - history_sql.remove_repetitions(cr, ranges), still_held

    # What cannot be had -----------------------------------------------------------

    def _unknown_at_start(self, gap: Gap, entities) -> dict[str, float]:
        """Entities that we knew when the gap began, and the recorder did not."""
        answer = self._ask(entities, gap.since, gap.since, known_at_start=True)
        unknown = [t.record_id for key, t in entities.items() if not answer.get(key)]
        if not unknown:
            return {}
        with self._backfill.connection as connection, connection.cursor() as cr:
            known_here = history_sql.latest_rows(cr, unknown, gap.since)
        return {str(id_): gap.until for id_ in known_here}

    def _check(self, cr, gap, entities, changes, start, end, missing) -> None:
        """Correct ``missing`` by what has come and what has not."""
        for entity_id, found in changes.items():
            key = str(entities[entity_id].record_id)
            if found and missing.get(key) == gap.until:
                missing[key] = found[0].at
        heard_since, heard_until = max(start, gap.since), min(end, gap.confirmed_until)
        if heard_until <= heard_since:
            return
        ids = [track.record_id for track in entities.values()]
        cr.execute(HEARD_SQL, (ids, heard_since, heard_until))
        told = {
            (entities[key].record_id, round(change.at, 6))
            for key, found in changes.items()
            for change in found
        }
        for id_, at in cr.fetchall():
            if (id_, round(at, 6)) not in told:
                missing[str(id_)] = max(missing.get(str(id_), 0.0), at)

    # The end of a pass --------------------------------------------------------------

    def _finish_pass(self, gap: Gap) -> None:
        passes = gap.passes + 1
        link = self._link
        with self._backfill.connection as connection, connection.cursor() as cr:
            fence(cr, link.instance_id, link.epoch)
            if not gap.is_last_pass:
                cr.execute(
                    "UPDATE ha_history_gap SET passes = %s, cursor = NULL, next_at ="
                    " now() AT TIME ZONE 'UTC' + %s * interval '1 second'"
                    " WHERE id = %s",
                    (passes, PASS_DELAYS_S[gap.passes], gap.id),
                )
                return
            state = "missing" if gap.missing else "filled"
            cause = "not_recorded" if gap.missing else None
            self._close(cr, gap, state, cause)
        _logger.info(
            "History of instance %s: a gap of %.0f s is %s. instance_id=%s",
            link.name,
            gap.until - gap.since,
            "filled" if state == "filled" else "filled as far as it is recorded",
            link.instance_id,
        )

    def _give_up(self, gap: Gap) -> None:
        """This Home Assistant keeps no history at all."""
        link = self._link
        with self._backfill.connection as connection, connection.cursor() as cr:
            fence(cr, link.instance_id, link.epoch)
            self._close(cr, gap, "missing", "no_history")
        _logger.warning(
            "Home Assistant of instance %s has no history: what happened while it was"
            " disconnected cannot be fetched. instance_id=%s",
            link.name,
            link.instance_id,
        )

    def _close(self, cr, gap: Gap, state: str, cause: str | None) -> None:
        cr.execute(
            "UPDATE ha_history_gap SET state = %s, cause = %s, cursor = NULL,"
            " passes = passes + 1, next_at = NULL WHERE id = %s",
            (state, cause, gap.id),
        )
