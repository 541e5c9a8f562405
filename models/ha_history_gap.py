from datetime import timedelta

from odoo import api, fields, models
from odoo.tools import format_datetime

FILLED_DAYS = 90  # as long as the connection log

GAP_STATES = [
    ("open", "Going On"),
    ("pending", "Being Fetched"),
    ("filled", "Filled"),
    ("missing", "Incomplete"),
]
GAP_REASONS = [
    ("first", "First Connection"),
    ("disconnect", "Disconnected"),
    ("overload", "Overload"),
    ("policy", "Newly Recorded"),
]


class HaHistoryGap(models.Model):
    """A time of which Odoo did not hear everything, and what became of it.

    The owner of the instance opens a gap when a new connection begins, closes it
    at the first complete snapshot, and then fetches what is missing from Home
    Assistant's recorder. What that does not have stays marked here.
    Times are Home Assistant's.
    """

    _name = "ha.history.gap"
    _description = "Home Assistant History Gap"
    _order = "date_from desc, id desc"
    _rec_name = "date_from"
    _log_access = False

    instance_id = fields.Many2one(
        "ha.instance", required=True, readonly=True, index=True, ondelete="cascade"
    )
    reason = fields.Selection(GAP_REASONS, required=True, readonly=True)
    state = fields.Selection(GAP_STATES, string="Status", required=True, readonly=True)
    date_from = fields.Datetime(string="From", readonly=True)
    date_to = fields.Datetime(string="To", readonly=True)
    # Database ids of the entities it is about; empty: all that are recorded.
    entity_ids = fields.Json(readonly=True)
    # How far fetching has come: see history_fetch.
    cursor = fields.Json(readonly=True)
    passes = fields.Integer(readonly=True, default=0)
    next_at = fields.Datetime(string="Next Attempt", readonly=True)
    row_count = fields.Integer(string="Rows Fetched", readonly=True, default=0)
    # {database id of an entity: epoch seconds until which its history is missing}
    missing = fields.Json(readonly=True)
    missing_count = fields.Integer(string="Entities Missing", readonly=True, default=0)
    cause = fields.Char(readonly=True)
    company_id = fields.Many2one(related="instance_id.company_id")
    detail = fields.Char(compute="_compute_detail")
    missing_entity_ids = fields.Many2many(
        "ha.entity",
        string="Incomplete Entities",
        compute="_compute_missing_entity_ids",
        context={"active_test": False},
    )

    @api.depends("instance_id", "date_from")
    @api.depends_context("lang", "tz")
    def _compute_display_name(self):
        for gap in self:
            since = gap.date_from and format_datetime(self.env, gap.date_from)
            names = (gap.instance_id.display_name, since)
            gap.display_name = ", ".join(filter(None, names))

    @api.depends("state", "cause", "missing_count")
    @api.depends_context("lang")
    def _compute_detail(self):
        details = {
            "open": self.env._(
                "Odoo is not connected; it fetches this time afterwards."
            ),
            "pending": self.env._(
                "Home Assistant's recorder is being asked for this time."
            ),
            "filled": self.env._(
                "Everything that Home Assistant recorded has been fetched."
            ),
        }
        for gap in self:
            if gap.state in details:
                gap.detail = details[gap.state]
            elif gap.cause == "no_history":
                gap.detail = self.env._("This Home Assistant keeps no history.")
            else:
                gap.detail = self.env._(
                    "Home Assistant has no complete record of %(count)s entities: it"
                    " does not record them, or has deleted that time.",
                    count=gap.missing_count,
                )

    @api.depends("missing")
    def _compute_missing_entity_ids(self):
        entities = self.env["ha.entity"].with_context(active_test=False)
        for gap in self:
            ids = [int(id_) for id_ in gap.missing or ()]
            gap.missing_entity_ids = entities.search([("id", "in", ids)])

    @api.autovacuum
    def _gc_filled(self):
        """What is filled is of no more use than the connection log of that time."""
        limit = fields.Datetime.now() - timedelta(days=FILLED_DAYS)
        old = [("state", "=", "filled"), ("date_to", "<", limit)]
        self.search(old, limit=10000).unlink()
