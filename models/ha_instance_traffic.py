from odoo import fields, models

COUNTERS = (
    "change_count",
    "coalesced_count",
    "dropped_count",
    "recorded_count",
    "backfilled_count",
)
MANAGER = "odoo_ha_addon.group_ha_manager"


class HaInstance(models.Model):
    """What has passed through an instance's link, and what of it is missing."""

    _inherit = "ha.instance"  # pylint: disable=consider-merging-classes-inherited

    change_count = fields.Float(
        string="Changes Received",
        digits=(16, 0),
        compute="_compute_traffic",
        groups=MANAGER,
        help="Changes of states and attributes, since the instance exists",
    )
    coalesced_count = fields.Float(
        string="Merged",
        digits=(16, 0),
        compute="_compute_traffic",
        groups=MANAGER,
        help="Received, but followed by a newer change of the same entity before they"
        " were written. As history they are kept.",
    )
    recorded_count = fields.Float(
        string="Kept as History",
        digits=(16, 0),
        compute="_compute_traffic",
        groups=MANAGER,
    )
    dropped_count = fields.Float(
        string="Set Aside",
        digits=(16, 0),
        compute="_compute_traffic",
        groups=MANAGER,
        help="History that came faster than it could be written. It is fetched later"
        " from Home Assistant's recorder.",
    )
    backfilled_count = fields.Float(
        string="Fetched Later",
        digits=(16, 0),
        compute="_compute_traffic",
        groups=MANAGER,
        help="History that Odoo missed and fetched from Home Assistant's recorder",
    )
    incomplete_gap_count = fields.Integer(compute="_compute_incomplete_gap_count")

    def _compute_traffic(self):
        # Written by the owner, by SQL: the ORM's cache cannot know of it.
        self.env.cr.execute(
            f"SELECT instance_id, {', '.join(COUNTERS)} FROM ha_instance_status"
            " WHERE instance_id = ANY(%s)",
            (self._origin.ids,),
        )
        rows = {row[0]: row[1:] for row in self.env.cr.fetchall()}
        none = (0.0,) * len(COUNTERS)
        for instance in self:
            values = rows.get(instance._origin.id, none)
            instance.update(dict(zip(COUNTERS, values, strict=True)))

    def _compute_incomplete_gap_count(self):
        groups = self.env["ha.history.gap"]._read_group(
            [("instance_id", "in", self._origin.ids), ("state", "=", "missing")],
            ["instance_id"],
            ["__count"],
        )
        counts = dict(groups)
        for instance in self:
            instance.incomplete_gap_count = counts.get(instance._origin, 0)
