"""Entry points that Odoo calls when it loads, installs and removes the addon."""

import logging

_logger = logging.getLogger(__name__)


def post_load_hook():
    """Prepare supervision in this process.

    Called once per process, before the addon's models are in any registry: it
    touches no database and starts nothing. Must not raise, or no registry loads.
    """
    from .models.common import websocket_thread_manager

    try:
        websocket_thread_manager.arm()
        _logger.info("[post_load_hook] Supervision of Home Assistant links is armed")
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
    from .models.common import heartbeat, websocket_thread_manager

    websocket_thread_manager.detach(env.cr.dbname)
    heartbeat.delete(env.cr)
    env["ir.config_parameter"].invalidate_model()
    _forget_inherited_names(env)


def _forget_inherited_names(env):
    """Remove the external ids of what our models inherit.

    Odoo files them under the mixins' modules, and leaves them there for ever.
    """
    models = env["ir.model"].search([("model", "=like", "ha.%")])
    names = [
        model.model.replace(".", "_")
        for model in models
        if model.modules == "odoo_ha_addon"
    ]
    prefixes = tuple(
        f"{kind}__{name}__" for kind in ("selection", "model_inherit") for name in names
    )
    others = env["ir.model.data"].search(
        [("module", "!=", "odoo_ha_addon"), ("name", "like", "\\_\\_ha\\_")]
    )
    others.filtered(lambda data: data.name.startswith(prefixes)).unlink()
