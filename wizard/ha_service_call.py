from odoo import fields, models


class HaServiceCall(models.TransientModel):
    """Asks for the code that a lock wants."""

    _name = "ha.service.call"
    _description = "Home Assistant Service Call"

    entity_id = fields.Many2one("ha.entity", required=True, readonly=True)
    service = fields.Char(required=True, readonly=True)
    # Not stored: a code must not lie in the database until the vacuum comes. The
    # inverse lets it through to the form, whose button hands it over in its context.
    code = fields.Char(compute="_compute_code", inverse="_inverse_code")

    def _compute_code(self):
        self.code = False

    def _inverse_code(self):
        """Keep what was entered for the rest of this request, and no longer."""

    def action_call(self):
        """Call the service with the code that was entered."""
        self.ensure_one()
        code = self.env.context.get("code")
        data = {"code": code} if code else {}
        # Nothing that the call leads to needs the code in its context.
        entity = self.entity_id.with_context(code=None)
        return entity._call_and_report(self.service, data)
