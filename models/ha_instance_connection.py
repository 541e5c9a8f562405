from odoo import api, fields, models
from odoo.exceptions import UserError

from .common import hass_rest_api, websocket_thread_manager
from .common.condition import causes, link_status
from .ha_instance import CONFIGURATION_FIELDS
from .ha_instance_status import CONNECTION_STATES


class HaInstance(models.Model):
    """How an instance's connection is, and what managers do about it."""

    _inherit = "ha.instance"  # pylint: disable=consider-merging-classes-inherited

    connection_state = fields.Selection(
        CONNECTION_STATES,
        compute="_compute_connection",
        search="_search_connection_state",
    )
    connection_message = fields.Char(compute="_compute_connection")
    connection_remedy = fields.Char(compute="_compute_connection")
    connected_since = fields.Datetime(compute="_compute_connection")
    last_heartbeat = fields.Datetime(compute="_compute_connection")
    owner = fields.Char(string="Supervised By", compute="_compute_connection")
    is_unconfirmed_copy = fields.Boolean(compute="_compute_connection")
    ha_version = fields.Char(
        string="Home Assistant Version", compute="_compute_connection"
    )
    location_name = fields.Char(string="Location", compute="_compute_connection")

    @api.depends(*CONFIGURATION_FIELDS)
    @api.depends_context("lang")
    def _compute_connection(self):
        self.flush_model()
        # What links and requests write, the ORM's cache cannot know of.
        statuses = link_status.read(self.env.cr, self._origin.ids)
        for instance in self:
            status = statuses.get(instance._origin.id)
            if status is None:
                instance._set_unsaved_connection()
                continue
            message, remedy = link_status.explain(self.env, status)
            instance.connection_state = status.state
            instance.connection_message = message
            instance.connection_remedy = remedy
            instance.connected_since = status.connected_since
            instance.last_heartbeat = status.heartbeat
            instance.ha_version = status.ha_version
            instance.location_name = status.location_name
            instance.is_unconfirmed_copy = status.cause == causes.DATABASE_COPIED
            owner = status.owner
            instance.owner = owner and causes.name_owner(self.env, owner)

    def _set_unsaved_connection(self):
        self.update(
            {
                "connection_state": "unconfigured" if self.config_issue else "stopped",
                "connection_message": self.env._("Save to connect."),
                "connection_remedy": False,
                "connected_since": False,
                "last_heartbeat": False,
                "ha_version": False,
                "location_name": False,
                "is_unconfirmed_copy": False,
                "owner": False,
            }
        )

    @api.model
    def _search_connection_state(self, operator, value):
        if operator not in ("in", "not in"):
            return NotImplemented
        # A handful of instances; their state is nowhere stored.
        instances = self.with_context(active_test=False).search(  # pylint: disable=no-search-all
            []
        )
        matching = instances.filtered(
            lambda instance: (instance.connection_state in value) == (operator == "in")
        )
        return [("id", "in", matching.ids)]

    # Actions -----------------------------------------------------------------------

    def action_test_connection(self):
        """Try the real thing; report what is wrong and what to do about it."""
        self.ensure_one()
        self.check_access("write")
        ok, lines = hass_rest_api.test_connection(self)
        if ok and self.connection_state in ("auth_failed", "waiting"):
            websocket_thread_manager.restart_websocket_service(
                self.env, self.id, force=True
            )
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "success" if ok else "danger",
                "sticky": not ok,
                "title": self.env._("Connection works")
                if ok
                else self.env._("Connection failed"),
                "message": "\n".join(lines),
                "next": {"type": "ir.actions.client", "tag": "soft_reload"},
            },
        }

    def action_restart_websocket(self):
        """Connect anew, also after a refused token or a stop."""
        self.check_access("write")
        for instance in self:
            instance._link_config()
            if not instance.active:
                raise UserError(
                    self.env._(
                        "%(name)s is archived. Unarchive it to connect.",
                        name=instance.name,
                    )
                )
            websocket_thread_manager.restart_websocket_service(
                self.env, instance.id, force=True
            )
        return self._notify_success(self.env._("Connecting anew…"))

    def action_sync(self):
        """Fetch all registries and states again, over a new connection."""
        return self.action_restart_websocket()

    def action_confirm_database(self):
        """Let this copy of a database connect as well."""
        self.check_access("write")
        self.sudo().write(
            {
                "confirmed_database_uuid": self._database_uuid(),
                "confirmed_database_name": self.env.cr.dbname,
                "confirmed_database_oid": self._database_oid(),
            }
        )
        return self._notify_success(self.env._("This database may connect now."))

    def _notify_success(self, message):
        return {
            "type": "ir.actions.client",
            "tag": "display_notification",
            "params": {
                "type": "success",
                "message": message,
                "next": {"type": "ir.actions.client", "tag": "soft_reload"},
            },
        }
