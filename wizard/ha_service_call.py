from odoo import fields, models


class HaServiceCall(models.TransientModel):
    """Asks for the code that a lock wants."""

    _name = "ha.service.call"
    _description = "Home Assistant Service Call"

    entity_id = fields.Many2one("ha.entity", required=True, readonly=True)
    service = fields.Char(required=True, readonly=True)
    # Not stored: a code must not lie in the database until the vacuum comes.
    code = fields.Char(store=False)

    def action_call(self, code=None):
        """Call the service with the code that was entered."""
        self.ensure_one()
        return self.entity_id.call_service(self.service, {"code": code})
