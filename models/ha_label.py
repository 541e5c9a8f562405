from odoo import fields, models


class HaLabel(models.Model):
    _name = "ha.label"
    _inherit = ["ha.registry.mixin"]
    _description = "Home Assistant Label"

    ha_label_id = fields.Char(string="Label ID", required=True, readonly=True)
    ha_color = fields.Char(
        string="Color in Home Assistant", readonly=True, help="Name or hex code"
    )
    entity_ids = fields.Many2many(
        "ha.entity", "ha_entity_label_rel", "label_id", "entity_id", string="Entities"
    )

    _ha_label_id_unique = models.Constraint(
        "UNIQUE(instance_id, ha_label_id)",
        "Each label of Home Assistant is one record.",
    )
