import re

from odoo import models

CHANNEL = re.compile(r"ha_instance:([1-9][0-9]{0,8})")


class IrWebsocket(models.AbstractModel):
    _inherit = "ir.websocket"

    def _build_bus_channel_list(self, channels):
        """Turn ``ha_instance:ID`` into the instance, for those who may read it."""
        channels = list(channels)
        matches = [CHANNEL.fullmatch(name) for name in channels if type(name) is str]
        ids = {int(match[1]) for match in matches if match}
        if ids and self.env.uid:
            instances = self.env["ha.instance"].browse(ids).exists()
            channels.extend(instances._filtered_access("read"))
        return super()._build_bus_channel_list(channels)
