{
    "name": "Fault injection for the tests of odoo_ha_addon",
    "summary": "Test helper: makes the addon's own code fail on demand",
    "version": "19.0.1.0.0",
    "author": "odoo_ha_addon contributors",
    "license": "LGPL-3",
    "depends": ["odoo_ha_addon"],
}
