from odoo import api, fields, models


class HaDevice(models.Model):
    _name = "ha.device"
    _inherit = ["ha.registry.mixin"]
    _description = "Home Assistant Device"

    ha_device_id = fields.Char(string="Device ID", required=True, readonly=True)
    manufacturer = fields.Char(readonly=True)
    model = fields.Char(readonly=True)
    sw_version = fields.Char(string="Software Version", readonly=True)
    area_id = fields.Many2one("ha.area", readonly=True, index=True, ondelete="set null")
    entity_ids = fields.One2many("ha.entity", "device_id", string="Entities")
    entity_count = fields.Integer(compute="_compute_entity_count")

    _ha_device_id_unique = models.Constraint(
        "UNIQUE(instance_id, ha_device_id)",
        "Each device of Home Assistant is one record.",
    )

    def _compute_entity_count(self):
        counts = dict(
            self.env["ha.entity"]._read_group(
                [("device_id", "in", self.ids), ("removed_in_ha", "=", False)],
                ["device_id"],
                ["__count"],
            )
        )
        for device in self:
            device.entity_count = counts.get(device, 0)

    @api.readonly
    def action_view_entities(self):
        """Open the entities of this device."""
        return self._view_entities("device_id")
