from odoo import api, models

LIVE_FIELDS = (
    "connection_state",
    "connection_message",
    "connection_remedy",
    "connected_since",
    "last_heartbeat",
    "owner",
    "is_unconfirmed_copy",
    "ha_version",
    "location_name",
    "incomplete_gap_count",
)


class HaInstance(models.Model):
    """What open browsers ask for."""

    _inherit = "ha.instance"

    @api.model
    def watch_live(self):
        """Ask for notifications about all instances that the user may read.

        The browser repeats that while somebody looks: after 75 s without it, nothing
        is sent any more. That nobody supervises an instance, nobody can notify of;
        so the answer says how they are.

        :return dict: ``bus_id``, the last notification that is older than anything
            read from now on; ``instances``, a list of dicts with ``id``, ``active``
            and how the connection is
        """
        instances = self.with_context(active_test=False).search([])  # pylint: disable=no-search-all
        active = instances.filtered("active")
        self.env["ha.live.watch"].sudo()._watch(active.ids)
        bus_id = self.env["bus.bus"].sudo()._bus_last_id()
        return {
            "bus_id": bus_id,
            "instances": instances.read(["active", *LIVE_FIELDS], load=None),
        }
