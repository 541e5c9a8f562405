{
    "name": "Short waits for the tests of odoo_ha_addon",
    "summary": "Test helper: shortens the pauses between passes of the backfill",
    "version": "19.0.1.0.0",
    "author": "odoo_ha_addon contributors",
    "license": "LGPL-3",
    "depends": ["odoo_ha_addon"],
}
