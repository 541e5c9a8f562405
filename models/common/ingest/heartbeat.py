"""Heartbeats: one ``ir.config_parameter`` row per instance, written by SQL.

``set_param`` would make every process drop its caches at each beat; plain SQL
touches none, and ``ir.config_parameter`` reads this prefix without its cache.
"""

PREFIX = "odoo_ha_addon.ws_heartbeat_"
FORMAT = "%Y-%m-%d %H:%M:%S"  # UTC


def key(dbname: str, instance_id: int) -> str:
    """The parameter's key for one instance."""
    return f"{PREFIX}{dbname}_instance_{instance_id}"


def write(cr, dbname: str, instance_id: int) -> None:
    """Record that the link of an instance was alive just now."""
    cr.execute(
        """
        INSERT INTO ir_config_parameter
               (key, value, create_uid, write_uid, create_date, write_date)
        VALUES (%s, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
                1, 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')
            ON CONFLICT (key) DO UPDATE
           SET value = EXCLUDED.value, write_date = EXCLUDED.write_date
        """,
        (key(dbname, instance_id),),
    )


def delete(cr, dbname: str | None = None, instance_ids=None) -> None:
    """Remove the heartbeats of some instances, or all that there are."""
    if instance_ids is None:
        cr.execute(
            "DELETE FROM ir_config_parameter WHERE starts_with(key, %s)", (PREFIX,)
        )
    elif instance_ids:
        keys = [key(dbname, instance_id) for instance_id in instance_ids]
        cr.execute("DELETE FROM ir_config_parameter WHERE key = ANY(%s)", (keys,))
