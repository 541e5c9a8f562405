"""Entry points that Odoo calls when it loads, installs and removes the addon."""

import logging

from odoo.sql_db import db_connect
from odoo.tools import SQL

_logger = logging.getLogger(__name__)


def post_load_hook():
    """Prepare supervision in this process.

    Called once per process, before the addon's models are in any registry: it
    touches no database and starts nothing. Must not raise, or no registry loads.
    """
    from .models.common import websocket_thread_manager
    from .models.common.supervision import process_role

    try:
        websocket_thread_manager.arm()
        if process_role.belongs_to_server():
            what = "Supervision of Home Assistant links is armed"
        else:
            what = "This command supervises no Home Assistant links"
        _logger.info("[post_load_hook] %s", what)
    except Exception:
        _logger.exception("[post_load_hook] Supervision cannot be prepared")


def post_init_hook(env):
    """Let the administrators who can install the addon also configure it."""
    administrators = env.ref("base.group_system").all_user_ids
    env.ref("odoo_ha_addon.group_ha_manager").user_ids |= administrators


def uninstall_hook(env):
    """End what runs for this database here and remove the heartbeats.

    Other processes see that the module is being removed and end by themselves.
    """
    from .models.common import websocket_thread_manager
    from .models.common.ingest import heartbeat
    from .models.common.supervision import ownership

    websocket_thread_manager.detach(env.cr.dbname)
    with ownership.after_all_owners(env.cr.dbname) as cr:
        heartbeat.delete(cr)
    env["ir.config_parameter"].invalidate_model()
    # Odoo files external ids of what our models inherit under the mixins' modules,
    # makes them anew while it removes the models, and leaves them for ever.
    dbname = env.cr.dbname
    env.cr.postcommit.add(lambda: _remove_dangling_ids(dbname))


def _remove_dangling_ids(dbname):
    try:
        with db_connect(dbname).cursor() as cr:
            for table in ("ir_model_fields_selection", "ir_model_inherit"):
                cr.execute(
                    SQL(
                        "DELETE FROM ir_model_data d WHERE model = %s"
                        " AND name ~ '^(selection|model_inherit)__ha_'"
                        " AND NOT EXISTS (SELECT FROM %s t WHERE t.id = d.res_id)",
                        table.replace("_", "."),
                        SQL.identifier(table),
                    )
                )
    except Exception:
        # The removal itself is done; this must not make it look failed.
        _logger.exception("External ids of the removed models stay behind")
