from odoo import api, fields, models
from odoo.exceptions import UserError, ValidationError

from ..ha_client.config_check import LinkConfig, find_problems
from .common import token_vault, websocket_thread_manager
from .common.condition import causes
from .common.ingest import heartbeat

TOKEN_MASK = "••••••••••••"
# A change of one of these reaches the owner and the connection log.
CONFIGURATION_FIELDS = (
    "name",
    "active",
    "api_url",
    "api_token",
    "verify_ssl",
    "entity_filter",
    "filter_domains",
    "filter_area_ids",
    "filter_label_ids",
    "confirmed_database_uuid",
)


class HaInstance(models.Model):
    _name = "ha.instance"
    _inherit = ["mail.thread", "mail.activity.mixin"]
    _description = "Home Assistant Instance"
    _order = "sequence, id"

    name = fields.Char(required=True)
    active = fields.Boolean(default=True)
    sequence = fields.Integer(default=10)
    company_id = fields.Many2one(
        "res.company",
        default=lambda self: self.env.company,
        help="Leave empty to share the instance with all companies.",
    )
    api_url = fields.Char(
        string="API URL",
        help="Address of Home Assistant as the Odoo server reaches it, for example"
        " http://192.168.1.10:8123 or https://example.com/ha",
    )
    api_token = fields.Char(
        string="API Token",
        compute="_compute_api_token",
        inverse="_inverse_api_token",
        help="A long-lived access token, made in Home Assistant in your profile under"
        " Security. Once saved, nobody can read it here.",
    )
    api_token_stored = fields.Char(groups=fields.NO_ACCESS, copy=False)
    verify_ssl = fields.Boolean(
        string="Verify TLS Certificate",
        default=True,
        help="Switch off only for a self-signed certificate in a trusted network.",
    )
    entity_filter = fields.Selection(
        [("all", "All entities"), ("some", "Some entities")],
        string="Bring In",
        required=True,
        default="all",
    )
    filter_domains = fields.Char(
        string="Domains", help="For example: light, switch, sensor"
    )
    filter_area_ids = fields.Many2many(
        "ha.area",
        "ha_instance_filter_area_rel",
        "instance_id",
        "area_id",
        string="Areas",
        copy=False,
    )
    filter_label_ids = fields.Many2many(
        "ha.label",
        "ha_instance_filter_label_rel",
        "instance_id",
        "label_id",
        string="Labels",
        copy=False,
    )
    confirmed_database_uuid = fields.Char(
        groups=fields.NO_ACCESS,
        copy=False,
        default=lambda self: self._database_uuid(),
        help="The database that may connect; a copy has another uuid.",
    )
    confirmed_database_name = fields.Char(
        groups=fields.NO_ACCESS,
        copy=False,
        default=lambda self: self.env.cr.dbname,
        help="Tells a copy with the same uuid, together with the oid.",
    )
    confirmed_database_oid = fields.Char(
        groups=fields.NO_ACCESS,
        copy=False,
        default=lambda self: self._database_oid(),
    )

    config_issue = fields.Text(compute="_compute_config_issue")
    entity_count = fields.Integer(compute="_compute_counts")
    device_count = fields.Integer(compute="_compute_counts")
    area_count = fields.Integer(compute="_compute_counts")
    event_ids = fields.One2many(
        "ha.connection.event",
        "instance_id",
        string="Connection Log",
        groups="odoo_ha_addon.group_ha_manager",
    )

    # Token -------------------------------------------------------------------

    @api.depends("api_token_stored")
    def _compute_api_token(self):
        for instance in self:
            stored = instance.sudo().api_token_stored
            instance.api_token = TOKEN_MASK if stored else False

    def _inverse_api_token(self):
        for instance in self:
            token = instance.api_token
            if token == TOKEN_MASK:
                instance._compute_api_token()
                continue
            if token and "\0" in token:
                raise ValidationError(
                    self.env._(
                        "API Token: it contains a NUL character. Copy the long-lived"
                        " access token again."
                    )
                )
            try:
                instance.sudo().api_token_stored = token and token_vault.seal(token)
            except ValueError as error:
                raise ValidationError(
                    self.env._(
                        "API Token: it cannot be encrypted because ODOO_HA_ADDON_KEY"
                        " is not a valid key. Ask the server's administrator for a"
                        " Fernet key."
                    )
                ) from error
            # What was written stays in the cache, and web_save reads it back.
            instance._compute_api_token()

    def _get_token(self):
        """The token in clear, for connecting; never hand it to a client.

        :raises token_vault.TokenUnreadable: when the server lacks the key
        """
        return token_vault.unseal(self.sudo().api_token_stored) or ""

    def _entered_token(self):
        """The token as entered in the form, else the stored one."""
        entered = self.api_token
        return self._origin._get_token() if entered == TOKEN_MASK else entered

    # Configuration -------------------------------------------------------------

    @api.depends("api_url", "api_token")
    @api.depends_context("lang")
    def _compute_config_issue(self):
        for instance in self:
            instance.config_issue = "\n".join(
                f"{message} {remedy}"
                for message, remedy in instance._explain_problems()
            )

    def _explain_problems(self):
        """What is wrong with the configuration: a list of (message, remedy)."""
        self.ensure_one()
        try:
            problems = find_problems(self.api_url, self._entered_token())
        except token_vault.TokenUnreadable:
            return [causes.explain(self.env, causes.TOKEN_UNREADABLE)]
        return [causes.explain(self.env, p.cause, p.params) for p in problems]

    def _link_config(self):
        """The configuration to connect with.

        :raises UserError: when it is incomplete, naming every problem
        """
        self.ensure_one()
        if problems := self._explain_problems():
            raise UserError("\n".join(f"{text} {remedy}" for text, remedy in problems))
        return LinkConfig(self.api_url, self._get_token(), self.verify_ssl)

    def _database_uuid(self):
        return self.env["ir.config_parameter"].sudo().get_param("database.uuid")

    def _database_oid(self):
        query = "SELECT oid::text FROM pg_database WHERE datname = current_database()"
        self.env.cr.execute(query)
        return self.env.cr.fetchone()[0]

    # Records -------------------------------------------------------------------------

    def _compute_counts(self):
        domain = [("instance_id", "in", self.ids), ("removed_in_ha", "=", False)]
        for field, model in (
            ("entity_count", "ha.entity"),
            ("device_count", "ha.device"),
            ("area_count", "ha.area"),
        ):
            groups = self.env[model]._read_group(domain, ["instance_id"], ["__count"])
            counts = dict(groups)
            for instance in self:
                instance[field] = counts.get(instance, 0)

    # Life of a record --------------------------------------------------------------

    @api.model_create_multi
    def create(self, vals_list):
        instances = super().create(vals_list)
        self.env["ha.instance.status"].sudo().create(
            [{"instance_id": instance.id} for instance in instances]
        )
        instances._log_configuration(None)
        websocket_thread_manager.notify(self.env.cr)
        return instances

    def write(self, vals):
        if vals.get("api_token") == TOKEN_MASK:
            vals = {key: value for key, value in vals.items() if key != "api_token"}
        changed = [name for name in CONFIGURATION_FIELDS if name in vals]
        result = super().write(vals)
        if changed:
            self._log_configuration(changed)
            if vals.get("active"):
                # Somebody who unarchives wants the connection back.
                self.env["ha.instance.status"].sudo().search(
                    [("instance_id", "in", self.ids), ("stop_requested", "=", True)]
                ).stop_requested = False
            self.flush_recordset()
            websocket_thread_manager.notify(self.env.cr)
        return result

    def unlink(self):
        # The owner holds this row while it writes; wait for that once, here,
        # instead of running into its locks one after the other.
        self.env.cr.execute(
            "SELECT 1 FROM ha_instance_status WHERE instance_id = ANY(%s) FOR UPDATE",
            (self.ids,),
        )
        ids = self.ids
        result = super().unlink()
        heartbeat.delete(self.env.cr, self.env.cr.dbname, ids)
        websocket_thread_manager.notify(self.env.cr)
        return result

    def _log_configuration(self, changed):
        """Note in the connection log who changed what; never the token."""
        labels = self._fields
        names = ", ".join(
            labels[name]._description_string(self.env) for name in changed or ()
        )
        self.env["ha.connection.event"].sudo().create(
            [
                {
                    "instance_id": instance.id,
                    "kind": "configuration",
                    "cause": causes.CONFIG_CHANGED if changed else causes.CREATED,
                    "params": {"user": self.env.user.name, "fields": names},
                }
                for instance in self
            ]
        )

    # Actions -----------------------------------------------------------------------

    @api.readonly
    def action_view_entities(self):
        """Open the entities of this instance."""
        return self._action_view("odoo_ha_addon.ha_entity_action")

    @api.readonly
    def action_view_devices(self):
        """Open the devices of this instance."""
        return self._action_view("odoo_ha_addon.ha_device_action")

    @api.readonly
    def action_view_areas(self):
        """Open the areas of this instance."""
        return self._action_view("odoo_ha_addon.ha_area_action")

    def _action_view(self, xml_id):
        self.ensure_one()
        action = self.env["ir.actions.act_window"]._for_xml_id(xml_id)
        return {
            **action,
            "domain": [("instance_id", "=", self.id)],
            # As many as the button counts.
            "context": {"search_default_present": 1},
        }
