from odoo import api, fields, models


class HaRegistryMixin(models.AbstractModel):
    """What all records that Home Assistant delivers have in common.

    Ingest writes them by SQL; only ``active`` and the fields that a model names
    as the user's own are changed by people.
    """

    _name = "ha.registry.mixin"
    _description = "Home Assistant Registry Record"
    _order = "name, id"
    _own_fields = ("active",)  # all that people may write

    instance_id = fields.Many2one(
        "ha.instance",
        required=True,
        readonly=True,
        index=True,
        ondelete="cascade",
    )
    company_id = fields.Many2one(related="instance_id.company_id")
    name = fields.Char(readonly=True)
    icon = fields.Char(
        readonly=True, help="Name of a Material Design icon, as in Home Assistant"
    )
    active = fields.Boolean(default=True)
    removed_in_ha = fields.Boolean(
        string="Removed in Home Assistant",
        readonly=True,
        help="Home Assistant does not deliver it any more: it was removed or disabled"
        " there, or the instance's filter leaves it out. Its history is kept, and it"
        " comes back by itself.",
    )

    def _has_field_access(self, field, operation):
        """What Home Assistant delivers is not changed here, not even by RPC."""
        if operation == "write" and not self.env.su:
            return field.name in self._own_fields
        return super()._has_field_access(field, operation)

    @api.depends("name")
    def _compute_display_name(self):
        for record in self:
            record.display_name = record.name or self.env._("Unnamed")

    def _view_entities(self, field):
        """An action that opens the present entities whose ``field`` is this record."""
        self.ensure_one()
        action = self.env["ir.actions.act_window"]._for_xml_id(
            "odoo_ha_addon.ha_entity_action"
        )
        return {
            **action,
            "domain": [(field, "=", self.id)],
            "context": {"search_default_present": 1},
            "display_name": self.display_name,
        }
