from odoo import api, models

from odoo.addons.bus.models.bus import channel_with_db, json_dump

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

    _inherit = "ha.instance"  # pylint: disable=consider-merging-classes-inherited

    @api.model
    def watch_live(self, seen_id=0):
        """Ask for notifications about all instances that the user may read.

        The browser repeats that while somebody looks: after 75 s without it, nothing
        is sent any more. That nobody supervises an instance, nobody can notify of;
        so the answer says how they are.

        :param int seen_id: the last notification that the browser got
        :return dict: ``bus_id``, the last notification that is older than anything
            read from now on; ``sent_id``, the last one that was meant for the
            browser, to tell whether one got lost; ``instances``, a list of dicts
            with ``id``, ``active`` and how the connection is
        """
        instances = self.with_context(active_test=False).search([])  # pylint: disable=no-search-all
        active = instances.filtered("active")
        self.env["ha.live.watch"].sudo()._watch(active.ids)
        bus_id = self.env["bus.bus"].sudo()._bus_last_id()
        return {
            "bus_id": bus_id,
            "sent_id": self._last_sent(active, seen_id),
            "instances": instances.read(["active", *LIVE_FIELDS], load=None),
        }

    def _last_sent(self, instances, after):
        """The last notification about these instances, if it is later."""
        if type(after) is not int or not 0 < after < 2**31:
            return 0  # who has seen nothing reads everything
        dbname = self.env.cr.dbname
        channels = [json_dump(channel_with_db(dbname, record)) for record in instances]
        self.env.cr.execute(
            "SELECT max(id) FROM bus_bus WHERE id > %s AND channel = ANY(%s)",
            (after, channels),
        )
        return self.env.cr.fetchone()[0] or after
