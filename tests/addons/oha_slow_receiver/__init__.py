"""Loaded with ``--load``: a link takes a millisecond for each change, and history
has little room, as if Home Assistant sent far more than this machine can take.
"""

import time

from odoo.addons.odoo_ha_addon.ha_client import buffer
from odoo.addons.odoo_ha_addon.ha_client.states import StateDecoder

buffer.MAX_HISTORY = 100
apply = StateDecoder.apply


def slowly(self, event):
    time.sleep(0.001)
    return apply(self, event)


StateDecoder.apply = slowly
