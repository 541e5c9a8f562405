import logging
from datetime import timedelta

from odoo import api, fields, models

from .common import entity_text
from .common.history import history_retention

_logger = logging.getLogger(__name__)

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
    state_display = fields.Char(string="Shown State", compute="_compute_state_display")
    # The index is for lists of all, latest first; other reads use the one below.
    last_changed = fields.Datetime(
        string="Time", required=True, readonly=True, index=True
    )
    source = fields.Selection(SOURCES, required=True, readonly=True)

    # With the value, so that a chart reads the index alone.
    _entity_time_unique = models.Constraint(
        "UNIQUE (entity_id, last_changed) INCLUDE (value)",
        "An entity has one state at a time.",
    )

    def init(self):
        # Reading the index alone needs the visibility map, and rows that are only
        # ever inserted would wait long for it.
        self.env.cr.execute(
            "ALTER TABLE ha_entity_history"
            " SET (autovacuum_vacuum_insert_scale_factor = 0.02)"
        )
        return super().init()

    @api.depends("state")
    @api.depends_context("lang", "tz")
    def _compute_state_display(self):
        for row in self:
            row.state_display = entity_text.state_text(row.entity_id, row.state)

    @api.model
    def _cron_forget(self):
        """Delete what is older than its instance's retention, in small batches.

        Long-term statistics stay. What is left when the time of the scheduled action
        is up, its next run deletes, which follows at once.
        """
        instances = self.env["ha.instance"].with_context(active_test=False)
        for instance in instances.search([("history_retention_days", ">", 0)]):
            days = instance.history_retention_days
            deleted, is_done = self._forget(instance, timedelta(days=days))
            if deleted:
                _logger.info(
                    "Deleted %s rows of history of instance %s, older than %s days."
                    " instance_id=%s",
                    deleted,
                    instance.name,
                    days,
                    instance.id,
                )
            if not is_done:
                return
        self.env["ir.cron"]._commit_progress(remaining=0)

    def _forget(self, instance, age):
        """Return how many rows are deleted, and whether these are all."""
        limit, deleted = fields.Datetime.now() - age, 0
        for count in history_retention.delete_old_rows(self.env.cr, instance.id, limit):
            deleted += count
            if not self.env["ir.cron"]._commit_progress(count, remaining=1):
                return deleted, False
        history_retention.delete_old_gaps(self.env.cr, instance.id, limit)
        return deleted, True
