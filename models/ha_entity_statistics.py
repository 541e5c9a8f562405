from odoo import fields, models


class HaEntityStatistics(models.Model):
    """Hourly statistics of entities, as Home Assistant's recorder keeps them.

    Home Assistant keeps these for ever, and so brings years from the first day.
    ``sum`` is its running total of a meter, ``change`` what one hour added.
    """

    _name = "ha.entity.statistics"
    _inherit = ["ha.entity.data.mixin"]
    _description = "Home Assistant Entity Statistics"
    _order = "date desc, id desc"
    _log_access = False

    date = fields.Datetime(
        string="Hour",
        required=True,
        readonly=True,
        index=True,
        help="The hour's beginning",
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
