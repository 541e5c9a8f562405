{
    "name": "Slow receiver for the tests of odoo_ha_addon",
    "summary": "Test helper: more comes from Home Assistant than can be received",
    "version": "19.0.1.0.0",
    "author": "odoo_ha_addon contributors",
    "license": "LGPL-3",
    "depends": ["odoo_ha_addon"],
}
