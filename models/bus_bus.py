from odoo import api, models


class BusBus(models.Model):
    _inherit = "bus.bus"

    @api.model
    def _poll(self, channels, *args, **kwargs):
        """Deliver nothing of an instance that its reader may no longer read.

        Odoo checks access when a browser subscribes, and never again. This runs in
        the reader's own environment each time that something is delivered.
        """
        channels = list(channels)
        ours = {channel[2]: channel for channel in channels if _is_ours(channel)}
        if ours:
            readable = self._readable_instance_ids(list(ours))
            channels = [
                channel
                for channel in channels
                if not _is_ours(channel) or channel[2] in readable
            ]
        return super()._poll(channels, *args, **kwargs)

    def _readable_instance_ids(self, instance_ids):
        if not self.env.uid:
            return set()
        # Groups and rules are cached, and nobody else looks for changes of them in
        # the process that only serves WebSockets.
        self.env.registry.check_signaling(self.env.cr)
        instances = self.env["ha.instance"].browse(instance_ids).exists()
        return set(instances._filtered_access("read")._ids)


def _is_ours(channel):
    """Whether it is the channel of an instance, as the dispatcher keeps it."""
    return (
        isinstance(channel, tuple) and len(channel) == 3 and channel[1] == "ha.instance"
    )
