import json
import re
import time

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError

from ..ha_client.const import ENTITY_SERVICES, HOMEASSISTANT_SERVICES
from .common import entity_text, hass_rest_api
from .common.condition import link_status

SERVICE_NAME = re.compile(r"[a-z0-9_]{1,100}")
MAX_DATA_LENGTH = 64 * 1024  # characters of JSON; no service needs as much
TARGET_KEYS = {"area_id", "device_id", "entity_id", "label_id", "floor_id"}
LIVE_FIELDS = (
    "state",
    "state_number",
    "is_numeric",
    "attributes",
    "last_changed",
    "last_updated",
)
NEWS_PATIENCE_S = 0.7  # the link writes each batch within 0.2 s
NEWS_INTERVAL_S = 0.05
# The buttons that a domain gets; what needs more values has the form's dialog.
CONTROLS = {
    "switch": "toggle",
    "light": "toggle",
    "fan": "toggle",
    "input_boolean": "toggle",
    "siren": "toggle",
    "automation": "toggle",
    "button": "press",
    "input_button": "press",
    "scene": "activate",
    "script": "run",
    "cover": "cover",
    "valve": "valve",
    "lock": "lock",
}


class HaEntity(models.Model):
    _name = "ha.entity"
    _inherit = ["ha.registry.mixin"]
    _description = "Home Assistant Entity"
    _order = "area_id, domain, name, id"
    _rec_names_search = ["name", "custom_name", "ha_entity_id"]
    _own_fields = (
        "active",
        "custom_name",
        "record_history",
        "history_deadband",
        "history_interval",
    )

    ha_entity_id = fields.Char(string="Entity ID", required=True, readonly=True)
    registry_id = fields.Char(
        string="Registry ID",
        readonly=True,
        help="Home Assistant's own id of the registry entry, stable over renames",
    )
    custom_name = fields.Char(
        help="A name of your own for Odoo; Home Assistant does not see it."
    )
    domain = fields.Char(
        compute="_compute_domain", store=True, precompute=True, readonly=True
    )
    unit = fields.Char(readonly=True)
    device_class = fields.Char(readonly=True)
    state_class = fields.Char(
        readonly=True, help="How Home Assistant makes statistics of the entity"
    )
    entity_category = fields.Selection(
        [("config", "Configuration"), ("diagnostic", "Diagnostic")], readonly=True
    )
    hidden = fields.Boolean(string="Hidden in Home Assistant", readonly=True)
    device_id = fields.Many2one(
        "ha.device", readonly=True, index=True, ondelete="set null"
    )
    area_id = fields.Many2one(
        "ha.area",
        readonly=True,
        index=True,
        ondelete="set null",
        help="The entity's own area, else its device's",
    )
    label_ids = fields.Many2many(
        "ha.label",
        "ha_entity_label_rel",
        "entity_id",
        "label_id",
        string="Labels",
        readonly=True,
    )
    record_history = fields.Selection(
        [("default", "Default"), ("always", "Always"), ("never", "Never")],
        required=True,
        default="default",
    )
    is_recorded = fields.Boolean(
        readonly=True, help="Changes of the state are kept as history."
    )
    history_deadband = fields.Float(
        help="Smaller changes of a number are not kept as history."
    )
    history_interval = fields.Integer(
        string="Minimum Interval (s)",
        help="At most one change in so many seconds is kept as history: the latest.",
    )

    live_id = fields.Many2one(
        "ha.entity.state",
        readonly=True,
        copy=False,
        ondelete="set null",
        bypass_search_access=True,
    )
    state = fields.Char(related="live_id.state")
    state_number = fields.Float(related="live_id.state_number")
    is_numeric = fields.Boolean(related="live_id.is_numeric")
    attributes = fields.Json(related="live_id.attributes")
    last_changed = fields.Datetime(related="live_id.last_changed")
    last_updated = fields.Datetime(related="live_id.last_updated")

    available = fields.Boolean(compute="_compute_state", search="_search_available")
    state_display = fields.Char(string="Shown State", compute="_compute_state")
    attributes_display = fields.Html(compute="_compute_attributes_display")
    is_stale = fields.Boolean(
        compute="_compute_is_stale",
        help="The instance is not connected: this is the last known state.",
    )
    control = fields.Char(compute="_compute_control")

    _ha_entity_id_unique = models.Constraint(
        "UNIQUE(instance_id, ha_entity_id)",
        "Each entity of Home Assistant is one record.",
    )
    _registry_id_idx = models.Index("(instance_id, registry_id)")

    def init(self):
        # Ingest inserts by SQL and knows nothing of the user's own fields.
        self.env.cr.execute(
            "ALTER TABLE ha_entity ALTER record_history SET DEFAULT 'default',"
            " ALTER is_recorded SET DEFAULT FALSE"
        )

    @api.depends("ha_entity_id")
    def _compute_domain(self):
        for entity in self:
            entity.domain = (entity.ha_entity_id or "").partition(".")[0]

    @api.depends("custom_name", "name", "ha_entity_id")
    def _compute_display_name(self):
        for entity in self:
            entity.display_name = (
                entity.custom_name or entity.name or entity.ha_entity_id
            )

    @api.depends("state", "domain", "device_class", "unit", "attributes")
    @api.depends_context("lang", "tz")
    def _compute_state(self):
        for entity in self:
            state = entity.state
            entity.available = bool(state) and state != "unavailable"
            entity.state_display = entity_text.state_text(entity)

    @api.model
    def _search_available(self, operator, value):
        if operator != "in":
            return NotImplemented
        gone = [("state", "in", ["unavailable", False])]
        if set(value) == {True}:
            return ["!", *gone]
        return gone if set(value) == {False} else []

    @api.depends("attributes")
    def _compute_attributes_display(self):
        for entity in self:
            entity.attributes_display = entity_text.attributes_table(entity)

    @api.depends("instance_id")
    def _compute_is_stale(self):
        connected = {
            instance: instance.sudo().connection_state == "connected"
            for instance in self.instance_id
        }
        for entity in self:
            entity.is_stale = not connected.get(entity.instance_id, False)

    @api.depends("domain")
    def _compute_control(self):
        for entity in self:
            entity.control = CONTROLS.get(entity.domain, False)

    @api.model_create_multi
    def create(self, vals_list):
        """Give each entity its row of the present state, with the same id."""
        live = [
            {name: vals.pop(name) for name in LIVE_FIELDS if name in vals}
            for vals in vals_list
        ]
        entities = super().create(vals_list)
        for entity, values in zip(entities, live, strict=True):
            self.env.cr.execute(
                "INSERT INTO ha_entity_state (id) VALUES (%s)", (entity.id,)
            )
            entity.live_id = entity.id
            if values:
                entity.sudo().live_id.write(values)
        return entities

    @api.model
    @api.readonly
    def get_state_texts(self):
        """How states read in the user's language; see ``entity_text.state_tables``."""
        return entity_text.state_tables(self.env)

    # Control -------------------------------------------------------------------

    def call_service(self, service, data=None, domain=None):
        """Call a service of Home Assistant for this entity.

        The target is this record; it cannot be given in ``data``.

        :param str service: e.g. ``turn_on``
        :param dict data: the service's fields, e.g. ``{"brightness": 120}``
        :param str domain: the entity's own (default) or ``homeassistant``
        :return: ``done``, or ``running`` when Home Assistant has not finished the
            service within 5 s
        :raises UserError: when the instance is not connected, when Home Assistant
            refuses (with its message), or for arguments that make no sense
        :raises AccessError: for a service that the user may not call
        """
        self.ensure_one()
        self.check_access("read")
        domain = domain or self.domain
        self._check_service(domain, service)
        data = self._check_service_data(data)
        instance = self.instance_id.sudo()
        with self.env.registry.cursor() as cr:
            status = link_status.read(cr, [instance.id]).get(instance.id)
        if status is None or status.state != "connected":
            raise UserError(
                self.env._(
                    "%(instance)s is not connected to Home Assistant: %(message)s",
                    instance=instance.name,
                    message=instance.connection_message or "",
                )
            )
        return hass_rest_api.call_service(
            instance, domain, service, data, self.ha_entity_id
        )

    def _check_service(self, domain, service):
        if not self.env.su and not self.env.user.has_group(
            "odoo_ha_addon.group_ha_user"
        ):
            raise AccessError(
                self.env._("You may not control devices of Home Assistant.")
            )
        for value in (domain, service):
            if not isinstance(value, str) or not SERVICE_NAME.fullmatch(value):
                raise UserError(
                    self.env._(
                        "“%(name)s” is not the name of a service. Use small letters,"
                        " digits and underscores, e.g. turn_on.",
                        name=str(value)[:50],
                    )
                )
        if domain == "homeassistant":
            allowed = HOMEASSISTANT_SERVICES
        elif domain == self.domain:
            allowed = ENTITY_SERVICES.get(domain, HOMEASSISTANT_SERVICES)
        else:
            raise UserError(
                self.env._(
                    "%(entity)s is controlled by services of %(domain)s or"
                    " homeassistant, not of %(other)s.",
                    entity=self.display_name,
                    domain=self.domain,
                    other=domain,
                )
            )
        if service not in allowed:
            raise AccessError(
                self.env._(
                    "The service %(service)s cannot be called for %(entity)s."
                    " Possible: %(allowed)s.",
                    service=f"{domain}.{service}",
                    entity=self.display_name,
                    allowed=", ".join(sorted(allowed)),
                )
            )

    def _check_service_data(self, data):
        if data in (None, False):
            return {}
        if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
            raise UserError(
                self.env._("The data of a service call must be names with values.")
            )
        if targets := sorted(TARGET_KEYS & data.keys()):
            raise UserError(
                self.env._(
                    "Remove %(keys)s from the data: the service is called for"
                    " %(entity)s and nothing else.",
                    keys=", ".join(targets),
                    entity=self.display_name,
                )
            )
        try:
            length = len(json.dumps(data, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(
                self.env._("The data of a service call cannot be written as JSON.")
            ) from error
        if length > MAX_DATA_LENGTH:
            raise UserError(self.env._("The data of the service call is too large."))
        return data

    def action_control(self):
        """Call the service that the pressed button names in the context."""
        self.ensure_one()
        service = self.env.context.get("ha_service")
        if service in ("lock", "unlock") and self._asks_for_code():
            action = self.env["ir.actions.act_window"]._for_xml_id(
                "odoo_ha_addon.ha_service_call_action"
            )
            return {
                **action,
                "context": {
                    "default_entity_id": self.id,
                    "default_service": service,
                    "dialog_size": "medium",
                },
            }
        return self._call_and_report(service)

    def _call_and_report(self, service, data=None):
        """Call a service for a person, who looks at the state right after it."""
        before = self._read_last_updated(self.env.cr)
        outcome = self.call_service(service, data)
        if outcome == hass_rest_api.DONE:
            self._wait_for_news(before)
        return self._report_call(service, outcome)

    def _read_last_updated(self, cr):
        cr.execute("SELECT last_updated FROM ha_entity_state WHERE id = %s", (self.id,))
        return cr.fetchone()

    def _wait_for_news(self, before):
        """Wait, but not for long, until the link has written what the call did."""
        deadline = time.monotonic() + NEWS_PATIENCE_S
        with self.env.registry.cursor() as cr:
            while time.monotonic() < deadline:
                if self._read_last_updated(cr) != before:
                    return
                cr.rollback()  # the next look is a new snapshot
                time.sleep(NEWS_INTERVAL_S)

    def _asks_for_code(self):
        return bool((self.attributes or {}).get("code_format"))

    def _report_call(self, service, outcome):
        """Tell the user what became of a call."""
        running = outcome == hass_rest_api.RUNNING
        text = (
            self.env._("%(service)s is still running for %(entity)s.")
            if running
            else self.env._("%(service)s: done for %(entity)s.")
        )
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "info" if running else "success",
                "message": text % {"service": service, "entity": self.display_name},
                "next": {"type": "ir.actions.client", "tag": "soft_reload"},
            },
        }
