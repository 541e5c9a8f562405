"""SQL of the history: gaps, tracks, and rows with times to the microsecond.

Every function takes an open cursor and works inside the caller's transaction,
which has read the instance's status row under its epoch.
"""

from collections.abc import Iterable, Mapping

from ....ha_client.buffer import Lost
from ....ha_client.recording import Row, Track
from ..sql_values import numbers, texts

FIRST_DAYS = 10  # what Home Assistant keeps unless told otherwise
LATEST_SQL = """
    SELECT e.id, h.state, extract(epoch FROM h.last_changed)::float8
      FROM unnest(%s::int[]) AS e(id)
      JOIN LATERAL (SELECT state, last_changed FROM ha_entity_history
                     WHERE entity_id = e.id
                  ORDER BY last_changed DESC LIMIT 1) h ON TRUE
"""


# Tracks -------------------------------------------------------------------


def load_tracks(
    cr, instance_id: int, known: Mapping[int, Track]
) -> tuple[dict[str, Track], frozenset[str]]:
    """Read which entities are recorded, and how.

    :param known: tracks by database id; these keep what was recorded last
    :return: tracks by Home Assistant's entity id, and the ids of the others
    """
    cr.execute(
        "SELECT id, ha_entity_id, coalesce(is_recorded, FALSE),"
        " coalesce(history_deadband, 0), coalesce(history_interval, 0)"
        " FROM ha_entity WHERE instance_id = %s",
        (instance_id,),
    )
    tracks, others, new = {}, [], {}
    for id_, entity_id, is_recorded, deadband, interval in cr.fetchall():
        if not is_recorded:
            others.append(entity_id)
        elif id_ in known:
            track = known[id_]._replace(deadband=deadband, interval=interval)
            tracks[entity_id] = track
        else:
            tracks[entity_id] = Track(id_, deadband, interval)
            new[id_] = entity_id
    if new:
        cr.execute(LATEST_SQL, (list(new),))
        for id_, state, at in cr.fetchall():
            track = tracks[new[id_]]
            tracks[new[id_]] = track._replace(state=state, at=at)
    return tracks, frozenset(others)


# Rows -----------------------------------------------------------------------


def insert_rows(cr, rows: Iterable[Row], source: str) -> int:
    """Write lines of history; those that are there already stay as they are.

    :return: how many are new
    """
    # One order for all writers, so that they cannot lock each other crosswise.
    rows = sorted(rows, key=lambda row: (row.record_id, row.at))
    if not rows:
        return 0
    cr.execute(
        """
        INSERT INTO ha_entity_history
               (entity_id, state, value, is_numeric, last_changed, source)
        SELECT x.id, x.state, x.value, x.value IS NOT NULL,
               to_timestamp(x.at) AT TIME ZONE 'UTC', %(source)s
          FROM unnest(%(ids)s::int[], %(states)s::text[], %(values)s::float8[],
                      %(times)s::float8[]) AS x(id, state, value, at)
         WHERE EXISTS (SELECT FROM ha_entity e WHERE e.id = x.id)
            ON CONFLICT (entity_id, last_changed) DO NOTHING
        """,
        {
            "source": source,
            "ids": numbers(row.record_id for row in rows),
            "states": texts(row.state for row in rows),
            "values": numbers(row.value for row in rows),
            "times": numbers(row.at for row in rows),
        },
    )
    return cr.rowcount


def latest_rows(cr, record_ids: list[int], before: float) -> dict[int, tuple]:
    """The last state and time (epoch seconds) of entities before a time."""
    cr.execute(
        """
        SELECT e.id, h.state, extract(epoch FROM h.last_changed)::float8
          FROM unnest(%s::int[]) AS e(id)
          JOIN LATERAL (SELECT state, last_changed FROM ha_entity_history
                         WHERE entity_id = e.id
                           AND last_changed < to_timestamp(%s) AT TIME ZONE 'UTC'
                      ORDER BY last_changed DESC LIMIT 1) h ON TRUE
        """,
        (list(record_ids), before),
    )
    return {id_: (state, at) for id_, state, at in cr.fetchall()}


def remove_repetitions(cr, ranges: Mapping[int, tuple[float, float]]) -> int:
    """Leave one row where rows put in between made the next one a repetition.

    :param ranges: database id of an entity → first and last time of the new rows,
        in epoch seconds
    """
    if not ranges:
        return 0
    cr.execute(
        """
        WITH r AS (
            SELECT x.id, to_timestamp(x.low) AT TIME ZONE 'UTC' AS low,
                   to_timestamp(x.high) AT TIME ZONE 'UTC' AS high
              FROM unnest(%s::int[], %s::float8[], %s::float8[]) AS x(id, low, high)
        ), neighbours AS (
            SELECT h.id, h.state,
                   lag(h.state) OVER (PARTITION BY r.id ORDER BY h.last_changed)
                       AS before
              FROM r CROSS JOIN LATERAL (
                (SELECT id, state, last_changed FROM ha_entity_history
                  WHERE entity_id = r.id AND last_changed < r.low
                  ORDER BY last_changed DESC LIMIT 1)
                UNION ALL
                (SELECT id, state, last_changed FROM ha_entity_history
                  WHERE entity_id = r.id AND last_changed BETWEEN r.low AND r.high)
                UNION ALL
                (SELECT id, state, last_changed FROM ha_entity_history
                  WHERE entity_id = r.id AND last_changed > r.high
                  ORDER BY last_changed LIMIT 1)) h
        )
        DELETE FROM ha_entity_history h USING neighbours n
         WHERE h.id = n.id AND n.state = n.before
        """,
        (
            list(ranges),
            [low for low, _high in ranges.values()],
            [high for _low, high in ranges.values()],
        ),
    )
    return cr.rowcount


# Gaps -----------------------------------------------------------------------


def open_gap(cr, instance_id: int) -> None:
    """Note since when nothing was heard; before the first new states are written.

    Everything up to the newest state in the database is complete; it was written
    together with its history. States from the future (a wrong clock) do not count.
    """
    cr.execute(
        """
        INSERT INTO ha_history_gap (instance_id, reason, state, date_from, passes,
                                    row_count, missing_count)
        SELECT %(id)s, CASE WHEN w.at IS NULL THEN 'first' ELSE 'disconnect' END,
               'open', w.at, 0, 0, 0
          FROM (SELECT max(s.last_updated) AS at
                  FROM ha_entity e JOIN ha_entity_state s ON s.id = e.live_id
                 WHERE e.instance_id = %(id)s
                   AND s.last_updated <= now() AT TIME ZONE 'UTC') w
         WHERE NOT EXISTS (SELECT FROM ha_history_gap g
                            WHERE g.instance_id = %(id)s AND g.state = 'open')
        """,
        {"id": instance_id},
    )


def close_gap(cr, instance_id: int, until: float) -> None:
    """The picture is complete again; ``until`` is epoch seconds."""
    cr.execute(
        """
        UPDATE ha_history_gap g
           SET state = 'pending', date_to = t.at,
               date_from = coalesce(date_from, t.at - %s * interval '1 day'),
               next_at = now() AT TIME ZONE 'UTC'
          FROM (SELECT to_timestamp(%s) AT TIME ZONE 'UTC' AS at) t
         WHERE instance_id = %s AND state = 'open'
        """,
        (FIRST_DAYS, until, instance_id),
    )
    cr.execute(
        """
        DELETE FROM ha_history_gap
         WHERE instance_id = %s AND state = 'pending' AND passes = 0
           AND (date_to <= date_from
                OR NOT EXISTS (SELECT FROM ha_entity
                                WHERE instance_id = %s AND is_recorded))
        """,
        (instance_id, instance_id),
    )


def note_lost(cr, instance_id: int, lost: Lost) -> None:
    """Remember that changes were dropped; one gap for a whole flood."""
    params = {"id": instance_id, "since": lost.since, "until": lost.until}
    cr.execute(
        """
        UPDATE ha_history_gap
           SET date_from = least(date_from, to_timestamp(%(since)s) AT TIME ZONE 'UTC'),
               date_to = greatest(date_to, to_timestamp(%(until)s) AT TIME ZONE 'UTC'),
               next_at = now() AT TIME ZONE 'UTC' + interval '10 seconds'
         WHERE instance_id = %(id)s AND reason = 'overload' AND state = 'pending'
           AND passes = 0 AND cursor IS NULL
        """,
        params,
    )
    if not cr.rowcount:
        cr.execute(
            """
            INSERT INTO ha_history_gap (instance_id, reason, state, date_from, date_to,
                                        next_at, passes, row_count, missing_count)
            VALUES (%(id)s, 'overload', 'pending',
                    to_timestamp(%(since)s) AT TIME ZONE 'UTC',
                    to_timestamp(%(until)s) AT TIME ZONE 'UTC',
                    now() AT TIME ZONE 'UTC' + interval '10 seconds', 0, 0, 0)
            """,
            params,
        )
