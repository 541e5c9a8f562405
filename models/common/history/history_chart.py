"""SQL of charts: the history of one entity in a range, in few enough points.

A range that has more rows than points are wanted is cut into buckets of equal
length, and of each bucket those rows are kept that the picture needs:

- of numbers the lowest and the highest; where the line breaks, the first row that
  is no number; and the last row where that one holds on, because a break or an
  empty bucket follows;
- of texts the first row of each of its rarest states, and the last row.

Times go in as datetimes in UTC without zone, to the microsecond, as in the table;
they come out as epoch milliseconds. Every function only reads.
"""

from datetime import datetime, timedelta

ROWS_PER_BUCKET = 4  # at most
ORDINARY_ROWS_PER_BUCKET = 2  # of numbers: the lowest and the highest
TAIL = timedelta(seconds=60)  # of a gap; is asked for again, see gap_fetch

_MS = "floor(extract(epoch FROM {}) * 1000)::int8"
_RANGE = """ha_entity_history
     WHERE entity_id = %(id)s AND last_changed > %(since)s
       AND last_changed <= %(until)s"""
# One after the other, so that PostgreSQL neither sorts nor hashes all rows.
_BUCKETS = """(
        SELECT %(first)s + n * %(step)s AS since,
               %(first)s + (n + 1) * %(step)s AS until
          FROM generate_series(0, %(buckets)s - 1) n
    ) b"""
_BUCKET = """ha_entity_history
            WHERE entity_id = %(id)s AND last_changed >= b.since
              AND last_changed < b.until"""
_NUMBERS_SQL = f"""
    WITH b AS (
        SELECT b.*, x.*,
               breaks > 0 OR lead(b.since) OVER (ORDER BY b.since)
                             IS DISTINCT FROM b.until AS holds_on
          FROM {_BUCKETS} CROSS JOIN LATERAL (
            SELECT min(value) AS low, max(value) AS high,
                   count(*) - count(value) AS breaks
              FROM {_BUCKET} HAVING count(*) > 0) x
    )
    SELECT {_MS.format("p.last_changed")}, p.value
      FROM b CROSS JOIN LATERAL (
        (SELECT last_changed, value FROM {_BUCKET} AND value = b.low
          ORDER BY last_changed LIMIT 1)
        UNION
        (SELECT last_changed, value FROM {_BUCKET} AND value = b.high
          ORDER BY last_changed LIMIT 1)
        UNION
        (SELECT last_changed, value FROM {_BUCKET} AND b.breaks > 0 AND value IS NULL
          ORDER BY last_changed LIMIT 1)
        UNION
        (SELECT last_changed, value FROM {_BUCKET} AND b.holds_on
          ORDER BY last_changed DESC LIMIT 1)) p
  ORDER BY p.last_changed
"""
_TEXTS_SQL = f"""
    WITH p AS (
        SELECT x.*
          FROM {_BUCKETS} CROSS JOIN LATERAL (
            SELECT state, min(last_changed) AS first, max(last_changed) AS last,
                   row_number() OVER (ORDER BY count(*), min(last_changed)) AS place,
                   max(max(last_changed)) OVER () AS latest
              FROM {_BUCKET} GROUP BY state) x
    )
    SELECT {_MS.format("at")}, state
      FROM (SELECT first AS at, state FROM p WHERE place < {ROWS_PER_BUCKET}
             UNION
            SELECT last, state FROM p WHERE last = latest) x
  ORDER BY at
"""
# An open gap has no end yet, and one before the first connection no beginning. What
# a pending gap has fetched already is complete but for its tail.
_GAPS_SQL = f"""
    WITH x AS (
        SELECT g.state,
               CASE WHEN g.state = 'pending' AND (g.missing ? e.id::text) IS NOT TRUE
                     AND (g.passes > 0 OR (g.cursor ->> 'after')::int >= e.id)
                    THEN greatest(g.date_from, g.date_to - %(tail)s)
                    ELSE coalesce(g.date_from, '-infinity') END AS since,
               CASE WHEN g.state = 'missing' AND g.missing IS NOT NULL
                    THEN to_timestamp((g.missing ->> e.id::text)::float8)
                         AT TIME ZONE 'UTC'
                    ELSE g.date_to END AS until
          FROM ha_entity e
          JOIN ha_history_gap g ON g.instance_id = e.instance_id
         WHERE e.id = %(id)s
           AND (g.missing ? e.id::text
                OR g.state = 'open' AND e.is_recorded
                OR (g.state = 'pending' OR g.state = 'missing' AND g.missing IS NULL)
                   AND e.is_recorded
                   AND (g.entity_ids IS NULL OR g.entity_ids @> to_jsonb(e.id)))
           AND g.state <> 'filled'
    )
    SELECT {_MS.format("greatest(since, %(since)s)")},
           CASE WHEN until IS NOT NULL OR NOT %(is_live)s
                THEN {_MS.format("least(until, %(until)s)")} END,
           state
      FROM x
     WHERE since < %(until)s AND (until IS NULL OR until > %(since)s)
  ORDER BY greatest(since, %(since)s)
"""


class EntityHistory:
    """The history of one entity between two times.

    :param cr: an open cursor, of a transaction that sees what it is to show
    :param entity_id: database id
    :param since: ``datetime``; what held then belongs to the range too
    :param until: ``datetime``
    """

    def __init__(self, cr, entity_id: int, since: datetime, until: datetime):
        self._cr = cr
        self._params = {"id": entity_id, "since": since, "until": until}

    def is_number(self) -> bool | None:
        """Whether the newest state that says something is a number."""
        rows = self._rows(
            """
            SELECT value IS NOT NULL FROM ha_entity_history
             WHERE entity_id = %(id)s AND last_changed <= %(until)s
               AND state NOT IN ('unavailable', 'unknown')
          ORDER BY last_changed DESC LIMIT 1
            """
        )
        return rows[0][0] if rows else None

    def numbers(self, points: int) -> tuple[list[tuple], bool]:
        """Pairs of milliseconds and a number, or ``None`` where it was none.

        :param points: how many there may be
        :return: the pairs, and whether rows were left out
        """
        return self._read("value", points, _NUMBERS_SQL, ORDINARY_ROWS_PER_BUCKET)

    def texts(self, points: int) -> tuple[list[tuple], bool]:
        """Pairs of milliseconds and a state; as :meth:`numbers`."""
        return self._read("state", points, _TEXTS_SQL, ROWS_PER_BUCKET)

    def gaps(self, is_live: bool) -> list[tuple]:
        """Times of which the history is not complete.

        :param is_live: the range ends now
        :return: triples of milliseconds from, until (``None``: going on) and state
        """
        return self._rows(_GAPS_SQL, tail=TAIL, is_live=is_live)

    def _read(self, column, points, reduced_sql, rows_per_bucket):
        start = self._rows(
            f"""
            SELECT {_MS.format("%(since)s::timestamp")}, {column}
              FROM ha_entity_history
             WHERE entity_id = %(id)s AND last_changed <= %(since)s
          ORDER BY last_changed DESC LIMIT 1
            """
        )
        room = points - len(start)
        rows = self._rows(
            f"""
            SELECT {_MS.format("last_changed")}, {column} FROM {_RANGE}
          ORDER BY last_changed LIMIT %(limit)s
            """,
            limit=room + 1,
        )
        if len(rows) <= room:
            return start + rows, False
        # One place is for the last row of all.
        rows = self._reduce(reduced_sql, (room - 1) // rows_per_bucket)
        if len(rows) > room:
            # The line breaks so often that the buckets need all their rows.
            rows = self._reduce(reduced_sql, room // ROWS_PER_BUCKET)
        return start + rows, True

    def _reduce(self, query, buckets):
        # Buckets cover what has rows; the index answers its ends at once.
        [(first, last)] = self._rows(
            f"SELECT min(last_changed), max(last_changed) FROM {_RANGE}"
        )
        step = (last - first) / buckets + timedelta(microseconds=1)
        return self._rows(query, first=first, step=step, buckets=buckets)

    def _rows(self, query, **params):
        self._cr.execute(query, {**self._params, **params})
        return self._cr.fetchall()
