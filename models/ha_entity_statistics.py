from odoo import fields, models

from .ha_entity_history import widen_ids


class HaEntityStatistics(models.Model):
    """Hourly statistics of entities, as Home Assistant's recorder keeps them.

    Home Assistant keeps these for ever, and so brings years from the first day.
    ``sum`` is its running total of a meter, ``change`` what one hour added.
    """

    _name = "ha.entity.statistics"
    _description = "Home Assistant Entity Statistics"
    _order = "date desc, id desc"
    _rec_name = "entity_id"
    _log_access = False

    entity_id = fields.Many2one(
        "ha.entity", required=True, readonly=True, ondelete="cascade"
    )
    date = fields.Datetime(
        string="Hour", required=True, readonly=True, help="The hour's beginning"
    )
    mean = fields.Float(readonly=True, aggregator="avg")
    min = fields.Float(string="Minimum", readonly=True, aggregator="min")
    max = fields.Float(string="Maximum", readonly=True, aggregator="max")
    state = fields.Float(string="Meter Reading", readonly=True, aggregator="max")
    sum = fields.Float(string="Total", readonly=True, aggregator="max")
    change = fields.Float(readonly=True, aggregator="sum")

    _entity_date_unique = models.Constraint(
        "UNIQUE (entity_id, date)", "An entity has one row per hour."
    )

    def init(self):
        widen_ids(self.env.cr, self._table)
