"""Loaded with ``--load``: a bug in the link's thread, raised by a certain entity.

Importing the addon from here also means that Odoo never calls its post_load.
"""

from odoo.addons.odoo_ha_addon.ha_client import buffer

_original = buffer.LinkBuffer.on_states


def _on_states(self, changes):
    if "sensor.poison" in changes.changed:
        raise ZeroDivisionError("a bug, made for the test")
    return _original(self, changes)


buffer.LinkBuffer.on_states = _on_states
