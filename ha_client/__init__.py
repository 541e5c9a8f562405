"""Home Assistant client: protocol, connection and REST, without Odoo.

Nothing in this package imports ``odoo`` or knows a database; the addon's
supervision and ingest (``models/common``) sit on top of it.
"""
