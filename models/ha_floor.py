from odoo import fields, models


class HaFloor(models.Model):
    _name = "ha.floor"
    _inherit = ["ha.registry.mixin"]
    _description = "Home Assistant Floor"
    _order = "level, name, id"

    ha_floor_id = fields.Char(string="Floor ID", required=True, readonly=True)
    level = fields.Integer(readonly=True)
    area_ids = fields.One2many("ha.area", "floor_id", string="Areas")

    _ha_floor_id_unique = models.Constraint(
        "UNIQUE(instance_id, ha_floor_id)",
        "Each floor of Home Assistant is one record.",
    )
