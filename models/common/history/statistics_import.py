"""Brings in the hourly statistics that Home Assistant's recorder keeps for ever.

After each connect and each full hour: for every entity that has statistics, from
the last hour that we have, or from the first that Home Assistant has. The rows
themselves tell how far it has come, so it goes on where it was interrupted.
"""

import logging
import time
from datetime import UTC, datetime

from ....ha_client.exceptions import CommandError
from ....ha_client.history import (
    STATISTIC_IDS_COMMAND,
    STATISTICS_COMMAND,
    StatisticsRow,
    statistics_of,
    statistics_request,
)
from ..sql_values import numbers
from ..supervision.ownership import fence

_logger = logging.getLogger(__name__)

HOUR_S = 3600.0
# Home Assistant compiles an hour within the first minute of the next one.
COMPILED_AFTER_S = 90.0
# Hours that are asked for again: meters are corrected afterwards.
OVERLAP_S = 12 * HOUR_S
ROWS_AT_ONCE = 7200
LONGEST_WINDOW_S = 60 * 86400.0
ENTITIES_AT_ONCE = 200
ANSWER_TIMEOUT_S = 60.0

PROGRESS_SQL = """
    SELECT e.ha_entity_id, e.id,
           (SELECT extract(epoch FROM max(s.date))::float8
              FROM ha_entity_statistics s WHERE s.entity_id = e.id)
      FROM ha_entity e
     WHERE e.instance_id = %s AND e.ha_entity_id = ANY(%s)
"""
WRITE_SQL = """
    INSERT INTO ha_entity_statistics AS s
           (entity_id, date, mean, min, max, state, sum, change)
    SELECT x.id, to_timestamp(x.start) AT TIME ZONE 'UTC', x.mean, x.min, x.max,
           x.state, x.sum, x.change
      FROM unnest(%s::int[], %s::float8[], %s::float8[], %s::float8[], %s::float8[],
                  %s::float8[], %s::float8[], %s::float8[])
           AS x(id, start, mean, min, max, state, sum, change)
     WHERE EXISTS (SELECT FROM ha_entity e WHERE e.id = x.id)
        ON CONFLICT (entity_id, date) DO UPDATE
       SET mean = EXCLUDED.mean, min = EXCLUDED.min, max = EXCLUDED.max,
           state = EXCLUDED.state, sum = EXCLUDED.sum, change = EXCLUDED.change
     WHERE (s.mean, s.min, s.max, s.state, s.sum, s.change) IS DISTINCT FROM
           (EXCLUDED.mean, EXCLUDED.min, EXCLUDED.max, EXCLUDED.state, EXCLUDED.sum,
            EXCLUDED.change)
"""


class StatisticsImport:
    """One instance's statistics. Used by the backfill's thread alone."""

    def __init__(self, link, backfill):
        self._link = link
        self._backfill = backfill
        self._due_at = 0.0  # time.time() of the next look
        # What is to be fetched now: entity id → (database id, from when)
        self._waiting: dict[str, tuple[int, float]] | None = None
        self._imported = 0

    def step(self) -> float:
        """Fetch one slice; return the seconds until the next, 0 for at once."""
        now = time.time()
        if self._waiting is None:
            if now < self._due_at:
                return self._due_at - now
            self._waiting = self._find_work(now)
        if self._waiting:
            self._fetch_some(now)
            return 0.0
        if self._imported:
            _logger.info(
                "Imported %s hours of statistics for instance %s. instance_id=%s",
                self._imported,
                self._link.name,
                self._link.instance_id,
            )
        self._waiting, self._imported = None, 0
        self._due_at = now - now % HOUR_S + HOUR_S + COMPILED_AFTER_S
        return self._due_at - now

    def _find_work(self, now: float) -> dict[str, tuple[int, float]]:
        """Every entity with statistics, and since when we lack them."""
        try:
            found = self._call(STATISTIC_IDS_COMMAND)
        except CommandError as error:
            if error.code != "unknown_command":
                raise
            return {}  # no recorder there
        names = [row["statistic_id"] for row in found if "." in row["statistic_id"]]
        with self._backfill.connection as connection, connection.cursor() as cr:
            cr.execute(PROGRESS_SQL, (self._link.instance_id, names))
            progress = {name: (id_, last) for name, id_, last in cr.fetchall()}
        waiting = {
            name: (id_, last + HOUR_S - OVERLAP_S)
            for name, (id_, last) in progress.items()
            if last is not None
        }
        new = [name for name, (_id, last) in progress.items() if last is None]
        for start in range(0, len(new), ENTITIES_AT_ONCE):
            part = new[start : start + ENTITIES_AT_ONCE]
            months = self._ask(part, 0.0, now, "month")
            for row in months:
                first = waiting.get(row.entity_id, (0, row.start))[1]
                id_ = progress[row.entity_id][0]
                waiting[row.entity_id] = (id_, min(first, row.start))
            # Too young for a month: the present one.
            for name in part:
                waiting.setdefault(name, (progress[name][0], _month_of(now)))
        return waiting

    def _fetch_some(self, now: float) -> None:
        """The earliest window of those entities that wait for it."""
        since = min(start for _id, start in self._waiting.values())
        names = sorted(
            name
            for name, (_id, start) in self._waiting.items()
            if start < since + 86400.0
        )[:ENTITIES_AT_ONCE]
        span = min(now - since + HOUR_S, LONGEST_WINDOW_S)
        hours = max(1.0, span / HOUR_S)
        names = names[: max(1, int(ROWS_AT_ONCE // hours))]
        rows = self._ask(names, since, since + span, "hour")
        ids = {name: self._waiting[name][0] for name in names}
        with self._backfill.connection as connection, connection.cursor() as cr:
            fence(cr, self._link.instance_id, self._link.epoch)
            self._write(cr, ids, rows)
        for name in names:
            if since + span > now:
                del self._waiting[name]
            else:
                self._waiting[name] = (ids[name], since + span)

    def _write(self, cr, ids: dict[str, int], rows: list[StatisticsRow]) -> None:
        known = [row for row in rows if row.entity_id in ids]
        if known:
            columns = zip(*(row[1:] for row in known), strict=True)
            cr.execute(
                WRITE_SQL,
                [numbers(ids[row.entity_id] for row in known), *map(numbers, columns)],
            )
            self._imported += cr.rowcount

    def _ask(self, names, start, end, period) -> list[StatisticsRow]:
        request = statistics_request(names, start, end, period)
        return statistics_of(self._call(STATISTICS_COMMAND, **request))

    def _call(self, command, **payload):
        return self._backfill.call(self._link, command, ANSWER_TIMEOUT_S, **payload)


def _month_of(now: float) -> float:
    moment = datetime.fromtimestamp(now, UTC)
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.timestamp() - 31 * 86400.0
