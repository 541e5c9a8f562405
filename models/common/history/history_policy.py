"""Which entities have their history recorded: the instance's policy, by SQL.

Works on any cursor, psycopg2's or Odoo's, inside the caller's transaction, because
both the owner of an instance (after it has reconciled registries) and requests
that change the policy need it.
"""

import math
import re

from ..supervision.instance_config import split_words

POLICY_FIELDS = (
    "history_mode",
    "history_domains",
    "history_state_classes",
    "history_device_classes",
    "history_excluded_domains",
    "history_excluded_state_classes",
    "history_excluded_device_classes",
)
STATE_CLASSES = frozenset({"measurement", "total", "total_increasing"})
BACKFILL_DAYS = 10  # as long as Home Assistant's recorder keeps states by default
MAX_RETENTION_DAYS = 36_500
MAX_INTERVAL_S = 7 * 86_400
_WORD = re.compile(r"[a-z0-9_]{1,100}", re.ASCII)

# An entity's own choice comes first, then what the instance leaves out, then what
# it records; NULL belongs to no list.
_UPDATE_SQL = """
    WITH wanted AS (
        SELECT e.id,
               CASE e.record_history
               WHEN 'always' THEN TRUE
               WHEN 'never' THEN FALSE
               ELSE NOT (coalesce(e.domain = ANY(%(out_domains)s), FALSE)
                      OR coalesce(e.state_class = ANY(%(out_states)s), FALSE)
                      OR coalesce(e.device_class = ANY(%(out_devices)s), FALSE))
                AND (%(mode)s = 'all'
                     OR %(mode)s = 'some'
                    AND (coalesce(e.domain = ANY(%(domains)s), FALSE)
                      OR coalesce(e.state_class = ANY(%(states)s), FALSE)
                      OR coalesce(e.device_class = ANY(%(devices)s), FALSE)))
                END AS recorded
          FROM ha_entity e
         WHERE e.instance_id = %(instance)s
           AND (%(ids)s::int[] IS NULL OR e.id = ANY(%(ids)s::int[])))
    UPDATE ha_entity e SET is_recorded = w.recorded
      FROM wanted w
     WHERE e.id = w.id AND e.is_recorded IS DISTINCT FROM w.recorded
 RETURNING e.id, e.is_recorded
"""


def update_recorded(cr, instance_id: int, entity_ids=None) -> list[int]:
    """Set ``is_recorded`` of an instance's entities from its policy.

    Writes only the rows that differ. With the ORM, flush before and invalidate
    ``is_recorded`` after.

    :param entity_ids: only these entities (database ids); ``None``: all
    :return: sorted ids of the entities that became recorded
    """
    cr.execute(
        f"SELECT {', '.join(POLICY_FIELDS)} FROM ha_instance WHERE id = %s",
        (instance_id,),
    )
    row = cr.fetchone()
    if row is None:
        return []
    mode, *lists = row
    words = [split_words(text) for text in lists]
    names = ("domains", "states", "devices")
    cr.execute(
        _UPDATE_SQL,
        {
            "instance": instance_id,
            "ids": None if entity_ids is None else list(entity_ids),
            "mode": mode or "some",
            **dict(zip(names, words[:3], strict=True)),
            **{f"out_{n}": w for n, w in zip(names, words[3:], strict=True)},
        },
    )
    return sorted(id_ for id_, recorded in cr.fetchall() if recorded)


def request_backfill(cr, instance_id: int, entity_ids) -> None:
    """Have the owner fetch what Home Assistant still knows of these entities.

    For entities that became recorded by a person's change: leaves one gap.
    """
    cr.execute(
        """
        INSERT INTO ha_history_gap (instance_id, reason, state, date_from, date_to,
                                    entity_ids, passes, row_count, missing_count)
        VALUES (%s, 'policy', 'pending',
                now() AT TIME ZONE 'UTC' - %s * interval '1 day',
                now() AT TIME ZONE 'UTC', to_jsonb(%s::int[]), 0, 0, 0)
        """,
        (instance_id, BACKFILL_DAYS, list(entity_ids)),
    )


def bad_words(field: str, text) -> list[str]:
    """What in a list of the policy cannot be meant, e.g. ``sensor.power``.

    :param field: one of :data:`POLICY_FIELDS`
    """
    words = split_words(text if isinstance(text, str) else str(text or ""))
    if field.endswith("state_classes"):
        return [word for word in words if word not in STATE_CLASSES]
    return [word for word in words if not _WORD.fullmatch(word)]


def in_range(value, maximum) -> bool:
    """Whether a number that came from outside lies between 0 and ``maximum``."""
    try:
        number = float(value or 0)
    except (TypeError, ValueError, OverflowError):
        return False
    return math.isfinite(number) and 0 <= number <= maximum
