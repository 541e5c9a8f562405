from datetime import timedelta

from odoo import api, fields, models

from .common.condition import causes

RETENTION_DAYS = 90
MAX_EVENTS = 5000  # per instance, whatever flaps


class HaConnectionEvent(models.Model):
    _name = "ha.connection.event"
    _description = "Home Assistant Connection Log"
    _order = "date desc, id desc"
    _rec_name = "kind"

    instance_id = fields.Many2one(
        "ha.instance", required=True, readonly=True, index=True, ondelete="cascade"
    )
    company_id = fields.Many2one(related="instance_id.company_id")
    date = fields.Datetime(
        required=True, readonly=True, index=True, default=fields.Datetime.now
    )
    kind = fields.Selection(
        [
            ("start", "Started"),
            ("connect", "Connected"),
            ("disconnect", "Connection Lost"),
            ("auth_failed", "Access Refused"),
            ("takeover", "Taken Over"),
            ("stop", "Stopped"),
            ("configuration", "Configuration Changed"),
        ],
        required=True,
        readonly=True,
    )
    cause = fields.Char(readonly=True)
    params = fields.Json(readonly=True)
    detail = fields.Char(compute="_compute_detail")

    @api.depends("kind", "cause", "params")
    @api.depends_context("lang")
    def _compute_detail(self):
        for event in self:
            params = event.params or {}
            detail = causes.explain(self.env, event.cause, params)[0]
            if event.kind == "connect" and params.get("ha_version"):
                detail = self.env._(
                    "Home Assistant %(version)s", version=params["ha_version"]
                )
            event.detail = detail

    @api.autovacuum
    def _gc_events(self):
        limit = fields.Datetime.now() - timedelta(days=RETENTION_DAYS)
        self.search([("date", "<", limit)], limit=10000).unlink()
        for _instance, ids in self._read_group(
            [], ["instance_id"], ["id:array_agg"], [("__count", ">", MAX_EVENTS)]
        ):
            self.browse(sorted(ids)[:-MAX_EVENTS]).unlink()
