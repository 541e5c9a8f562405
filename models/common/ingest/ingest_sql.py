"""Set-based SQL that brings what a link received into its records.

Every function takes an open cursor and works inside the caller's transaction.
Rows are written only where something differs, so a resync without a change
writes nothing. Users' own fields (``custom_name``, ``active``,
``record_history``) are never touched.
"""

from collections.abc import Callable
from typing import NamedTuple

from ....ha_client.buffer import Batch
from ....ha_client.catalog import CatalogEntity, Registries, build_catalog
from ....ha_client.entity_filter import EntityFilter
from ....ha_client.model import EntityState, number_of
from ..history.history_policy import update_recorded
from ..sql_values import epoch, numbers, texts, to_json, without_secrets


def write_batch(cr, instance_id: int, batch: Batch, accepts: EntityFilter) -> int:
    """Bring one batch into the records of an instance.

    :return: how many changed states belong to no record yet (the caller should
        ask the buffer for a full reconciliation)
    """
    if batch.full:
        catalog = build_catalog(batch.registries, batch.world, accepts)
        _write_registries(cr, instance_id, batch, REGISTRIES)
        _write_entities(cr, instance_id, catalog)
        if batch.authoritative:
            _mark_gone(cr, instance_id, "ha_entity", [row.entity_id for row in catalog])
        update_recorded(cr, instance_id)
        states = [batch.world.get(row.entity_id) for row in catalog]
        _write_states(cr, instance_id, [state for state in states if state])
        if batch.authoritative:
            _mark_stateless(cr, instance_id, batch.world.keys())
        return 0
    _write_registries(cr, instance_id, batch, batch.kinds)
    if batch.touched:
        _write_touched(cr, instance_id, batch, accepts)
    states = list(batch.states.values())
    known = _write_states(cr, instance_id, states, batch.described)
    if batch.removed:
        _mark_removed(cr, instance_id, batch.removed)
    return len(batch.states) - known if accepts.accepts_all else 0


# Registries ---------------------------------------------------------------


class _Registry(NamedTuple):
    """How rows of a registry become records."""

    table: str
    columns: dict[str, str]  # as in _reconcile
    rows: Callable[[Registries], list[tuple]]


# In the order in which one refers to the other.
REGISTRIES = {
    "floor": _Registry(
        "ha_floor",
        {"name": "text", "level": "int", "icon": "text"},
        lambda found: [(f.floor_id, f.name, f.level, f.icon) for f in found.floors],
    ),
    "label": _Registry(
        "ha_label",
        {"name": "text", "ha_color": "text", "icon": "text"},
        lambda found: [(x.label_id, x.name, x.color, x.icon) for x in found.labels],
    ),
    "area": _Registry(
        "ha_area",
        {"name": "text", "icon": "text", "floor_id": "ref ha_floor"},
        lambda found: [(a.area_id, a.name, a.icon, a.floor_id) for a in found.areas],
    ),
    "device": _Registry(
        "ha_device",
        {
            "name": "text",
            "manufacturer": "text",
            "model": "text",
            "sw_version": "text",
            "area_id": "ref ha_area",
        },
        lambda found: [
            (d.device_id, d.name, d.manufacturer, d.model, d.sw_version, d.area_id)
            for d in found.devices
            if not d.disabled
        ],
    ),
}


def _write_registries(cr, instance_id, batch, kinds):
    for kind, (table, columns, rows_of) in REGISTRIES.items():
        if kind in kinds:
            rows = rows_of(batch.registries)
            _reconcile(cr, instance_id, table, columns, rows)
            if batch.authoritative:
                _mark_gone(cr, instance_id, table, [row[0] for row in rows])


def _write_touched(cr, instance_id, batch, accepts):
    """Reconcile those entities alone whose description may have changed."""
    touched = sorted(batch.touched)
    catalog = build_catalog(batch.registries, batch.world, accepts, batch.touched)
    _write_entities(cr, instance_id, catalog, touched)
    if batch.authoritative:
        present = [row.entity_id for row in catalog]
        _mark_gone(cr, instance_id, "ha_entity", present, touched)
    cr.execute(
        "SELECT id FROM ha_entity WHERE instance_id = %s AND ha_entity_id = ANY(%s)",
        (instance_id, touched),
    )
    update_recorded(cr, instance_id, [row[0] for row in cr.fetchall()])


def _write_entities(cr, instance_id, catalog, among=None):
    """Write records of entities; ``among``: the catalog is complete for these ids."""
    _follow_renames(cr, instance_id, catalog)
    _reconcile(
        cr,
        instance_id,
        "ha_entity",
        {
            "domain": "text",
            "name": "text",
            "registry_id": "text",
            "unit": "text",
            "device_class": "text",
            "state_class": "text",
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
                e.state_class,
                e.entity_category,
                e.icon,
                e.hidden,
                e.device_id,
                e.area_id,
            )
            for e in catalog
        ],
    )
    _add_state_rows(cr, instance_id)
    _write_labels(cr, instance_id, catalog, among)


def _reconcile(cr, instance_id, table, columns, rows):
    """Make a table's rows of one instance equal to ``rows``, as far as they go.

    :param columns: column → SQL type, or ``"ref TABLE"`` for a reference that is
        given by Home Assistant's id
    :param rows: tuples of the key (``TABLE_id``) and the columns' values, in order
    """
    key = f"{table}_id"
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


def _mark_gone(cr, instance_id, table, present, among=None):
    """Mark what Home Assistant has no more; ``among``: look at these ids alone."""
    key = f"{table}_id"
    cr.execute(
        f"""
        UPDATE {table}
           SET removed_in_ha = TRUE, write_date = now() AT TIME ZONE 'UTC'
         WHERE instance_id = %(instance)s AND removed_in_ha IS NOT TRUE
           AND {key} <> ALL(%(present)s)
           AND (%(among)s::text[] IS NULL OR {key} = ANY(%(among)s::text[]))
        """,
        {"instance": instance_id, "present": present, "among": among},
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


def _write_labels(cr, instance_id, catalog: list[CatalogEntity], among):
    pairs = [(e.entity_id, label) for e in catalog for label in e.labels]
    params = {
        "instance": instance_id,
        "entities": [entity for entity, _label in pairs],
        "labels": [label for _entity, label in pairs],
        "among": among,
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
           AND (%(among)s::text[] IS NULL OR e.ha_entity_id = ANY(%(among)s::text[]))
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


def _write_states(cr, instance_id, states: list[EntityState], described=None) -> int:
    """Write present states; return how many of them belong to a record.

    :param described: entity ids whose attributes may differ from what is there;
        None: all. The others' need not be sent again, and most changes of a state
        leave them as they are.
    """
    # One order for all writers, so that they cannot lock each other crosswise.
    states.sort(key=lambda state: state.entity_id)
    if described is None:
        return _update_states(cr, instance_id, states, with_attributes=True)
    full = [state for state in states if state.entity_id in described]
    bare = [state for state in states if state.entity_id not in described]
    return _update_states(cr, instance_id, full, with_attributes=True) + _update_states(
        cr, instance_id, bare, with_attributes=False
    )


def _update_states(cr, instance_id, states, with_attributes) -> int:
    if not states:
        return 0
    columns = ["state", "state_number", "last_changed", "last_updated"]
    arrays = "%(states)s::text[], %(numbers)s::float8[], %(changed)s::float8[]"
    arrays += ", %(updated)s::float8[]"
    params = {
        "instance": instance_id,
        "ids": texts(state.entity_id for state in states),
        "states": texts(state.state for state in states),
        "numbers": numbers(number_of(state.state) for state in states),
        "changed": numbers(epoch(state.last_changed) for state in states),
        "updated": numbers(epoch(state.last_updated) for state in states),
    }
    if with_attributes:
        columns.append("attributes")
        arrays += ", %(attributes)s::text[]"
        params["attributes"] = texts(
            to_json(without_secrets(state.attributes)) for state in states
        )
    values = {
        "state": "x.state",
        "state_number": "x.state_number",
        "last_changed": "to_timestamp(x.last_changed) AT TIME ZONE 'UTC'",
        "last_updated": "to_timestamp(x.last_updated) AT TIME ZONE 'UTC'",
        "attributes": "x.attributes::jsonb",
    }
    cr.execute(
        f"""
        WITH v AS (
            SELECT e.live_id AS id, {", ".join(f"{values[c]} AS {c}" for c in columns)}
              FROM unnest(%(ids)s::text[], {arrays})
                   AS x(entity_id, {", ".join(columns)})
              JOIN ha_entity e ON e.instance_id = %(instance)s
                              AND e.ha_entity_id = x.entity_id
        ), written AS (
            UPDATE ha_entity_state s
               SET {", ".join(f"{c} = v.{c}" for c in columns)},
                   is_numeric = v.state_number IS NOT NULL
              FROM v
             WHERE s.id = v.id
               AND ({", ".join(f"s.{c}" for c in columns)})
                   IS DISTINCT FROM ({", ".join(f"v.{c}" for c in columns)})
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
