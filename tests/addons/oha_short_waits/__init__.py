"""Loaded with ``--load``: history is asked for again after seconds, not a minute.

Importing the addon from here also means that Odoo never calls its post_load.
"""

from odoo.addons.odoo_ha_addon.models.common.history import gap_fetch

gap_fetch.PASS_DELAYS_S = (2, 4)
