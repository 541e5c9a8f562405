from odoo import fields, models

SOURCES = [("live", "Live"), ("backfill", "Fetched Later")]


class HaEntityHistory(models.Model):
    """Past states of recorded entities: one row per change of the state.

    Written, compared and windowed by SQL: times are Home Assistant's own, to the
    microsecond, which the ORM would round.
    """

    _name = "ha.entity.history"
    _inherit = ["ha.entity.data.mixin"]
    _description = "Home Assistant Entity History"
    _order = "last_changed desc, id desc"
    _log_access = False

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
