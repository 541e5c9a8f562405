from odoo import fields, models

CONNECTION_STATES = [
    ("unconfigured", "Incomplete"),
    ("stopped", "Stopped"),
    ("unsupervised", "Not Supervised"),
    ("connecting", "Connecting"),
    ("syncing", "Synchronizing"),
    ("connected", "Connected"),
    ("waiting", "Waiting to Reconnect"),
    ("auth_failed", "Access Refused"),
]


class HaInstanceStatus(models.Model):
    """How each instance's link is, as its owner reports it.

    Written by SQL: by the owner under its ``epoch``, and by requests to start,
    stop or restart, which must not wait for a lock on ``ha_instance``.
    """

    _name = "ha.instance.status"
    _description = "Home Assistant Connection Status"
    _log_access = False
    _rec_name = "instance_id"

    instance_id = fields.Many2one(
        "ha.instance", required=True, readonly=True, ondelete="cascade"
    )
    state = fields.Selection(CONNECTION_STATES, readonly=True)
    cause = fields.Char(readonly=True)
    params = fields.Json(readonly=True)
    retry_at = fields.Datetime(readonly=True)
    last_error = fields.Json(readonly=True)
    epoch = fields.Integer(readonly=True, default=0)
    owner_host = fields.Char(readonly=True)
    owner_pid = fields.Integer(readonly=True)
    owner_role = fields.Char(readonly=True)
    connected_since = fields.Datetime(readonly=True)
    connect_count = fields.Integer(readonly=True, default=0)
    ha_version = fields.Char(readonly=True)
    location_name = fields.Char(readonly=True)
    stop_requested = fields.Boolean(readonly=True, default=False)
    request_seq = fields.Integer(readonly=True, default=0)
    request_date = fields.Datetime(readonly=True)
    auth_fingerprint = fields.Char(readonly=True)
    diagnostics = fields.Json(readonly=True)
    # Since the instance exists; floats, because they outgrow 32 bits.
    change_count = fields.Float(readonly=True)
    coalesced_count = fields.Float(readonly=True)
    recorded_count = fields.Float(readonly=True)
    dropped_count = fields.Float(readonly=True)
    backfilled_count = fields.Float(readonly=True)
    write_date = fields.Datetime(string="Last Update", readonly=True)
    heartbeat = fields.Datetime(related="instance_id.last_heartbeat")

    _instance_unique = models.Constraint(
        "UNIQUE(instance_id)", "Each instance has one status row."
    )
