{
    "name": "Another host for the tests of odoo_ha_addon",
    "summary": "Test helper: gives the server's host another name",
    "version": "19.0.1.0.0",
    "author": "odoo_ha_addon contributors",
    "license": "LGPL-3",
    "depends": ["base"],
}
