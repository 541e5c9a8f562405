"""Set-based SQL that brings what a link received into its records.

Every function takes an open cursor and works inside the caller's transaction.
Rows are written only where something differs, so a resync without a change
writes nothing. Users' own fields (``custom_name``, ``active``,
``record_history``) are never touched.
"""

import json
import math

from ...ha_client.buffer import Batch
from ...ha_client.catalog import CatalogEntity, build_catalog
from ...ha_client.entity_filter import EntityFilter
from ...ha_client.model import EntityState

MAX_EPOCH = 253402300799.0  # the end of the year 9999


def write_batch(cr, instance_id: int, batch: Batch, accepts: EntityFilter) -> int:
    """Bring one batch into the records of an instance.

    :return: how many changed states belong to no record yet (the caller should
        ask the buffer for a full reconciliation)
    """
    if batch.full:
        catalog = build_catalog(batch.registries, batch.world, accepts)
        _write_registries(cr, instance_id, batch)
        _write_entities(cr, instance_id, catalog, batch.authoritative)
        states = [batch.world.get(row.entity_id) for row in catalog]
        _write_states(cr, instance_id, [state for state in states if state])
        if batch.authoritative:
            _mark_stateless(cr, instance_id, batch.world.keys())
        return 0
    known = _write_states(cr, instance_id, list(batch.states.values()))
    if batch.removed:
        _mark_removed(cr, instance_id, batch.removed)
    return len(batch.states) - known if accepts.accepts_all else 0


# Registries ---------------------------------------------------------------


def _write_registries(cr, instance_id, batch):
    registries = batch.registries
    _reconcile(
        cr,
        instance_id,
        "ha_floor",
        "ha_floor_id",
        {"name": "text", "level": "int", "icon": "text"},
        [(f.floor_id, f.name, f.level, f.icon) for f in registries.floors],
        batch.authoritative,
    )
    _reconcile(
        cr,
        instance_id,
        "ha_label",
        "ha_label_id",
        {"name": "text", "ha_color": "text", "icon": "text"},
        [(x.label_id, x.name, x.color, x.icon) for x in registries.labels],
        batch.authoritative,
    )
    _reconcile(
        cr,
        instance_id,
        "ha_area",
        "ha_area_id",
        {"name": "text", "icon": "text", "floor_id": "ref ha_floor"},
        [(a.area_id, a.name, a.icon, a.floor_id) for a in registries.areas],
        batch.authoritative,
    )
    _reconcile(
        cr,
        instance_id,
        "ha_device",
        "ha_device_id",
        {
            "name": "text",
            "manufacturer": "text",
            "model": "text",
            "sw_version": "text",
            "area_id": "ref ha_area",
        },
        [
            (d.device_id, d.name, d.manufacturer, d.model, d.sw_version, d.area_id)
            for d in registries.devices
            if not d.disabled
        ],
        batch.authoritative,
    )


def _write_entities(cr, instance_id, catalog, authoritative):
    _follow_renames(cr, instance_id, catalog)
    _reconcile(
        cr,
        instance_id,
        "ha_entity",
        "ha_entity_id",
        {
            "domain": "text",
            "name": "text",
            "registry_id": "text",
            "unit": "text",
            "device_class": "text",
            "entity_category": "text",
            "icon": "text",
            "hidden": "bool",
            "device_id": "ref ha_device",
            "area_id": "ref ha_area",
        },
        [
            (
                e.entity_id,
                e.domain,
                e.name,
                e.registry_id,
                e.unit,
                e.device_class,
                e.entity_category,
                e.icon,
                e.hidden,
                e.device_id,
                e.area_id,
            )
            for e in catalog
        ],
        authoritative,
    )
    _add_state_rows(cr, instance_id)
    _write_labels(cr, instance_id, catalog)


def _reconcile(cr, instance_id, table, key, columns, rows, authoritative):
    """Make a table's rows of one instance equal to ``rows``.

    :param columns: column → SQL type, or ``"ref TABLE"`` for a reference that is
        given by Home Assistant's id
    :param rows: tuples of the key and the columns' values, in their order
    :param authoritative: what is not in ``rows`` is gone in Home Assistant
    """
    records = [dict(zip((key, *columns), row, strict=True)) for row in rows]
    fields, values, joins = [f'"{key}" text'], [], []
    for column, kind in columns.items():
        if kind.startswith("ref "):
            comodel = kind.removeprefix("ref ")
            joins.append(
                f"LEFT JOIN {comodel} r_{column}"
                f" ON r_{column}.instance_id = %(instance)s"
                f" AND r_{column}.{comodel}_id = v.{column}"
            )
            fields.append(f'"{column}" text')
            values.append(f"r_{column}.id")
        else:
            fields.append(f'"{column}" {kind}')
            values.append(f"v.{column}")
    source = (
        f"jsonb_to_recordset(%(rows)s::jsonb) AS v({', '.join(fields)})"
        f" {' '.join(joins)}"
    )
    names = list(columns)
    params = {"instance": instance_id, "rows": to_json(records)}
    cr.execute(
        f"""
        UPDATE {table} t
           SET {", ".join(f"{n} = {v}" for n, v in zip(names, values, strict=True))},
               removed_in_ha = FALSE, write_uid = 1,
               write_date = now() AT TIME ZONE 'UTC'
          FROM {source}
         WHERE t.instance_id = %(instance)s AND t.{key} = v.{key}
           AND ({", ".join(f"t.{n}" for n in names)}, t.removed_in_ha)
               IS DISTINCT FROM ({", ".join(values)}, FALSE)
        """,
        params,
    )
    cr.execute(
        f"""
        INSERT INTO {table} (instance_id, {key}, {", ".join(names)}, active,
                             removed_in_ha, create_uid, write_uid,
                             create_date, write_date)
        SELECT %(instance)s, v.{key}, {", ".join(values)}, TRUE, FALSE, 1, 1,
               now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
          FROM {source}
         WHERE NOT EXISTS (SELECT 1 FROM {table} t
                            WHERE t.instance_id = %(instance)s
                              AND t.{key} = v.{key})
            ON CONFLICT (instance_id, {key}) DO NOTHING
        """,
        params,
    )
    if authoritative:
        cr.execute(
            f"""
            UPDATE {table}
               SET removed_in_ha = TRUE, write_date = now() AT TIME ZONE 'UTC'
             WHERE instance_id = %s AND removed_in_ha IS NOT TRUE
               AND {key} <> ALL(%s)
            """,
            (instance_id, [row[0] for row in rows]),
        )


def _follow_renames(cr, instance_id, catalog):
    """Keep the record of an entity that got another entity id."""
    names = {row.registry_id: row.entity_id for row in catalog if row.registry_id}
    cr.execute(
        "SELECT id, registry_id, ha_entity_id FROM ha_entity"
        " WHERE instance_id = %s AND registry_id = ANY(%s)",
        (instance_id, list(names)),
    )
    renamed = {id_: names[reg] for id_, reg, old in cr.fetchall() if names[reg] != old}
    if not renamed:
        return
    # A diff can announce the new name before the registry tells of the rename;
    # the record made for it has nothing of its own yet and gives way.
    cr.execute(
        "DELETE FROM ha_entity WHERE instance_id = %s AND ha_entity_id = ANY(%s)"
        " AND registry_id IS NULL AND custom_name IS NULL AND NOT id = ANY(%s)",
        (instance_id, list(renamed.values()), list(renamed)),
    )
    # Names may be swapped: step aside first. "#" cannot occur in an entity id.
    cr.execute(
        "UPDATE ha_entity SET ha_entity_id = ha_entity_id || '#' || id"
        " WHERE instance_id = %s AND (id = ANY(%s) OR ha_entity_id = ANY(%s))",
        (instance_id, list(renamed), list(renamed.values())),
    )
    cr.execute(
        "UPDATE ha_entity e SET ha_entity_id = v.name"
        " FROM unnest(%s::int[], %s::text[]) AS v(id, name) WHERE e.id = v.id",
        (list(renamed), list(renamed.values())),
    )


def _add_state_rows(cr, instance_id):
    """Give each new entity its row in the table of states, with the same id."""
    cr.execute(
        """
        WITH missing AS (
            UPDATE ha_entity SET live_id = id
             WHERE instance_id = %s AND live_id IS NULL RETURNING id)
        INSERT INTO ha_entity_state (id) SELECT id FROM missing
            ON CONFLICT DO NOTHING
        """,
        (instance_id,),
    )


def _write_labels(cr, instance_id, catalog: list[CatalogEntity]):
    pairs = [(e.entity_id, label) for e in catalog for label in e.labels]
    params = {
        "instance": instance_id,
        "entities": [entity for entity, _label in pairs],
        "labels": [label for _entity, label in pairs],
    }
    wanted = """
        SELECT e.id, l.id
          FROM unnest(%(entities)s::text[], %(labels)s::text[]) AS v(e, l)
          JOIN ha_entity e ON e.instance_id = %(instance)s AND e.ha_entity_id = v.e
          JOIN ha_label l ON l.instance_id = %(instance)s AND l.ha_label_id = v.l
    """
    cr.execute(
        f"""
        DELETE FROM ha_entity_label_rel r USING ha_entity e
         WHERE e.id = r.entity_id AND e.instance_id = %(instance)s
           AND (r.entity_id, r.label_id) NOT IN ({wanted})
        """,
        params,
    )
    cr.execute(
        "INSERT INTO ha_entity_label_rel (entity_id, label_id)"
        f" {wanted} ON CONFLICT DO NOTHING",
        params,
    )


# States -------------------------------------------------------------------


def _write_states(cr, instance_id, states: list[EntityState]) -> int:
    """Write present states; return how many of them belong to a record."""
    if not states:
        return 0
    # One order for all writers, so that they cannot lock each other crosswise.
    states.sort(key=lambda state: state.entity_id)
    numbers = [number_of(state.state) for state in states]
    params = {
        "instance": instance_id,
        "ids": [state.entity_id for state in states],
        "states": [_clean(state.state) for state in states],
        "numbers": numbers,
        "attributes": [to_json(without_secrets(s.attributes)) for s in states],
        "changed": [_epoch(state.last_changed) for state in states],
        "updated": [_epoch(state.last_updated) for state in states],
    }
    cr.execute(
        """
        WITH v AS (
            SELECT e.live_id AS id, x.state, x.number, x.attributes::jsonb,
                   to_timestamp(x.changed) AT TIME ZONE 'UTC' AS changed,
                   to_timestamp(x.updated) AT TIME ZONE 'UTC' AS updated
              FROM unnest(%(ids)s::text[], %(states)s::text[], %(numbers)s::float8[],
                          %(attributes)s::text[], %(changed)s::float8[],
                          %(updated)s::float8[])
                   AS x(entity_id, state, number, attributes, changed, updated)
              JOIN ha_entity e ON e.instance_id = %(instance)s
                              AND e.ha_entity_id = x.entity_id
        ), written AS (
            UPDATE ha_entity_state s
               SET state = v.state, state_number = v.number,
                   is_numeric = v.number IS NOT NULL, attributes = v.attributes,
                   last_changed = v.changed, last_updated = v.updated
              FROM v
             WHERE s.id = v.id
               AND (s.state, s.attributes, s.last_changed, s.last_updated)
                   IS DISTINCT FROM (v.state, v.attributes, v.changed, v.updated)
        )
        SELECT count(*) FROM v
        """,
        params,
    )
    return cr.fetchone()[0]


def _mark_removed(cr, instance_id, removed):
    """Entities without a state: gone, unless the registry still has them.

    The registry's own event follows and brings a full reconciliation.
    """
    cr.execute(
        """
        UPDATE ha_entity SET removed_in_ha = TRUE
         WHERE instance_id = %s AND ha_entity_id = ANY(%s)
           AND registry_id IS NULL AND removed_in_ha IS NOT TRUE
        """,
        (instance_id, list(removed)),
    )
    cr.execute(
        """
        UPDATE ha_entity_state s SET state = 'unavailable', is_numeric = FALSE,
               state_number = NULL
          FROM ha_entity e
         WHERE e.live_id = s.id AND e.instance_id = %s
           AND e.ha_entity_id = ANY(%s) AND s.state <> 'unavailable'
        """,
        (instance_id, list(removed)),
    )


def _mark_stateless(cr, instance_id, present):
    """What has no state in a complete snapshot must not show an old one."""
    cr.execute(
        """
        UPDATE ha_entity_state s SET state = 'unavailable', is_numeric = FALSE,
               state_number = NULL
          FROM ha_entity e
         WHERE e.live_id = s.id AND e.instance_id = %s
           AND e.ha_entity_id <> ALL(%s) AND s.state IS DISTINCT FROM 'unavailable'
        """,
        (instance_id, list(present)),
    )


# Values -------------------------------------------------------------------


def number_of(state: str) -> float | None:
    """The number that a state is, or ``None``; never NaN or an infinity."""
    try:
        number = float(state)
    except (TypeError, ValueError):
        return None
    # Python also reads "1_000" and "infinity"; neither is a number in HA.
    return number if math.isfinite(number) and "_" not in state else None


def without_secrets(attributes: dict) -> dict:
    """Attributes that every user may read.

    A camera's state carries a token that opens its picture to whoever has it.
    """
    secret = {"access_token"} & attributes.keys()
    if "token=" in str(attributes.get("entity_picture")):
        secret.add("entity_picture")
    return {k: v for k, v in attributes.items() if k not in secret}


def to_json(value) -> str:
    """JSON that PostgreSQL's jsonb accepts: no NaN, no NUL character."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        text = json.dumps(_finite(value))
    if "\\u0000" in text or "\\ud" in text:
        text = json.dumps(_clean_deep(json.loads(text)))
    return text


def _finite(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if isinstance(value, str | int | type(None)) else str(value)


def _clean_deep(value):
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_clean(key): _clean_deep(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_deep(item) for item in value]
    return value


def _clean(text: str) -> str:
    """Drop what PostgreSQL cannot store: NUL and lone surrogates."""
    text = str(text).replace("\0", "")
    return text.encode("utf-8", "replace").decode()


def _epoch(seconds: float) -> float | None:
    """A time that PostgreSQL and Odoo can show, else ``None``."""
    usable = isinstance(seconds, int | float) and 0 <= seconds <= MAX_EPOCH
    return float(seconds) if usable else None
