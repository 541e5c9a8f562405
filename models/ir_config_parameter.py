from odoo import api, models

from .common.ingest import heartbeat


class IrConfigParameter(models.Model):
    _inherit = "ir.config_parameter"

    @api.model
    def _get_param(self, key):
        """Read heartbeats past the cache: SQL writes them, in another process."""
        if not (key or "").startswith(heartbeat.PREFIX):
            return super()._get_param(key)
        self.env.cr.execute(
            "SELECT value FROM ir_config_parameter WHERE key = %s", [key]
        )
        row = self.env.cr.fetchone()
        return row and row[0]
