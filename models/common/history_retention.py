"""SQL that forgets history beyond an instance's retention, batch by batch.

Of each entity the newest row before the limit stays: it says what held then, for
charts and for whoever records the next change. Every function takes Odoo's cursor
and works inside the caller's transaction, which is to be committed between batches.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

BATCH = 5000  # rows
FIRST_WINDOW = timedelta(hours=1)
LONGEST_WINDOW = timedelta(days=30)
FEW_ROWS = BATCH // 4

# The index answers both for each entity.
_OLD_SQL = """
    SELECT e.id, kept.last_changed, oldest.last_changed
      FROM ha_entity e
      JOIN LATERAL (SELECT last_changed FROM ha_entity_history
                     WHERE entity_id = e.id AND last_changed <= %s
                  ORDER BY last_changed DESC LIMIT 1) kept ON TRUE
      JOIN LATERAL (SELECT last_changed FROM ha_entity_history
                     WHERE entity_id = e.id
                  ORDER BY last_changed LIMIT 1) oldest ON TRUE
     WHERE e.instance_id = %s AND oldest.last_changed < kept.last_changed
"""
_DELETE_SQL = """
    DELETE FROM ha_entity_history
     WHERE ctid = ANY(ARRAY(
        SELECT h.ctid
          FROM unnest(%(ids)s::int[], %(limits)s::timestamp[]) AS e(id, kept)
         CROSS JOIN LATERAL (
            SELECT ctid FROM ha_entity_history
             WHERE entity_id = e.id AND last_changed < least(e.kept, %(until)s)
             LIMIT %(batch)s) h
         LIMIT %(batch)s))
"""


def delete_old_rows(cr, instance_id: int, limit: datetime) -> Iterator[int]:
    """Delete history of an instance that is older than ``limit``, oldest first.

    Goes through time in windows that adapt to how much there is: what came at the
    same time lies side by side, and is deleted in one go.

    :return: iterator over how many rows each batch has deleted
    """
    cr.execute(_OLD_SQL, (limit, instance_id))
    rows = cr.fetchall()
    if not rows:
        return
    ids, limits, firsts = map(list, zip(*rows, strict=True))
    params = {"ids": ids, "limits": limits, "batch": BATCH}
    window, until, end = FIRST_WINDOW, min(firsts), max(limits)
    waiting = 0
    while until < end:
        until = min(until + window, end)
        deleted, count = 0, BATCH
        while count == BATCH:
            cr.execute(_DELETE_SQL, {**params, "until": until})
            count = cr.rowcount
            deleted += count
            waiting += count
            if waiting >= BATCH:
                yield waiting
                waiting = 0
        if deleted < FEW_ROWS:
            window = min(window * 2, LONGEST_WINDOW)
        elif deleted > BATCH:
            window /= 2
    if waiting:
        yield waiting


def delete_old_gaps(cr, instance_id: int, limit: datetime) -> int:
    """Delete gaps that ended before ``limit`` and are not to be fetched any more."""
    cr.execute(
        "DELETE FROM ha_history_gap WHERE instance_id = %s AND date_to < %s"
        " AND state IN ('filled', 'missing')",
        (instance_id, limit),
    )
    return cr.rowcount
