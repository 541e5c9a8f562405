from odoo import fields, models
from odoo.tools import SQL, sql

SOURCES = [("live", "Live"), ("backfill", "Fetched Later")]


class HaEntityHistory(models.Model):
    """Past states of recorded entities: one row per change of the state.

    Written, compared and windowed by SQL: times are Home Assistant's own, to the
    microsecond, which the ORM would round.
    """

    _name = "ha.entity.history"
    _description = "Home Assistant Entity History"
    _order = "last_changed desc, id desc"
    _rec_name = "entity_id"
    _log_access = False

    entity_id = fields.Many2one(
        "ha.entity", required=True, readonly=True, ondelete="cascade"
    )
    state = fields.Char(readonly=True)
    value = fields.Float(readonly=True, aggregator="avg")
    is_numeric = fields.Boolean(readonly=True)
    last_changed = fields.Datetime(string="Time", required=True, readonly=True)
    source = fields.Selection(SOURCES, required=True, readonly=True)

    # With the value, so that a chart reads the index alone.
    _entity_time_unique = models.Constraint(
        "UNIQUE (entity_id, last_changed) INCLUDE (value)",
        "An entity has one state at a time.",
    )

    def init(self):
        widen_ids(self.env.cr, self._table)


def widen_ids(cr, table):
    """Give a table ids of 64 bits; for tables that outlive 2^31 rows."""
    if sql.table_columns(cr, table)["id"]["udt_name"] == "int8":
        return
    name, sequence = SQL.identifier(table), SQL.identifier(f"{table}_id_seq")
    cr.execute(SQL("ALTER TABLE %s ALTER COLUMN id TYPE bigint", name))
    cr.execute(SQL("ALTER SEQUENCE %s AS bigint", sequence))
