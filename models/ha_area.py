from odoo import api, fields, models


class HaArea(models.Model):
    _name = "ha.area"
    _inherit = ["ha.registry.mixin"]
    _description = "Home Assistant Area"

    ha_area_id = fields.Char(string="Area ID", required=True, readonly=True)
    floor_id = fields.Many2one(
        "ha.floor", readonly=True, index=True, ondelete="set null"
    )
    device_ids = fields.One2many("ha.device", "area_id", string="Devices")
    entity_ids = fields.One2many("ha.entity", "area_id", string="Entities")
    device_count = fields.Integer(compute="_compute_counts")
    entity_count = fields.Integer(compute="_compute_counts")

    _ha_area_id_unique = models.Constraint(
        "UNIQUE(instance_id, ha_area_id)",
        "Each area of Home Assistant is one record.",
    )

    def _compute_counts(self):
        present = [("area_id", "in", self.ids), ("removed_in_ha", "=", False)]
        for field, model in (
            ("device_count", "ha.device"),
            ("entity_count", "ha.entity"),
        ):
            counts = dict(
                self.env[model]._read_group(present, ["area_id"], ["__count"])
            )
            for area in self:
                area[field] = counts.get(area, 0)

    @api.readonly
    def action_view_entities(self):
        """Open the entities of this area."""
        return self._view_entities("area_id")
