{
    "name": "Memory leak for the tests of odoo_ha_addon",
    "summary": "Test helper: lets a chosen worker pass Odoo's memory limit",
    "version": "19.0.1.0.0",
    "author": "odoo_ha_addon contributors",
    "license": "LGPL-3",
    "depends": ["base"],
}
