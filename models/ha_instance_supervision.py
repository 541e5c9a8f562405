import time

from odoo import api, fields, models

from .common import websocket_thread_manager

JOIN_LIMIT_S = 2.0  # for another cron worker to get the other job
JOIN_INTERVAL_S = 0.2
DOWN_PATIENCE_S = 600  # an outage that lasts longer needs a person


class HaInstance(models.Model):
    """Where supervision of instances begins, and whom it calls for help."""

    _inherit = "ha.instance"  # pylint: disable=consider-merging-classes-inherited

    def _register_hook(self):
        super()._register_hook()
        websocket_thread_manager.attach(self.env.cr.dbname)

    @api.model
    def _cron_supervise(self):
        """Load the addon in a cron process, so that supervision begins there.

        Without it, a server without a preloaded database would stay
        disconnected until its first visitor. Also keeps activities current.
        """
        websocket_thread_manager.attach(self.env.cr.dbname)
        self.search([("active", "=", True)])._update_attention()
        if websocket_thread_manager.lacks_supervisors(self.env.cr):
            # A cron worker loads the addon only when it gets one of its jobs. This
            # one has this job, so that another gets that one.
            self.env.ref("odoo_ha_addon.ir_cron_ha_join_supervision")._trigger()
            deadline = time.monotonic() + JOIN_LIMIT_S
            while time.monotonic() < deadline:
                self.env.cr.commit()  # pylint: disable=invalid-commit
                time.sleep(JOIN_INTERVAL_S)
                if not websocket_thread_manager.lacks_supervisors(self.env.cr):
                    break

    @api.model
    def _cron_join(self):
        """Take part in supervision from this process on."""
        websocket_thread_manager.attach(self.env.cr.dbname)

    def _update_attention(self):
        """One activity per manager for an instance that needs a person."""
        managers = self.env.ref("odoo_ha_addon.group_ha_manager").all_user_ids
        managers = managers.filtered(lambda user: user.active and not user.share)
        xml_id = "mail.mail_activity_data_warning"
        activity_type = self.env.ref(xml_id)
        for instance in self:
            present = instance.activity_ids.filtered(
                lambda activity: (
                    activity.automated and activity.activity_type_id == activity_type
                )
            )
            if not instance._needs_attention():
                present.unlink()
                continue
            for user in managers:
                translated = instance.with_context(lang=user.lang)
                words = {
                    "summary": translated.connection_message,
                    "note": translated.connection_remedy,
                }
                activity = present.filtered(lambda a, user=user: a.user_id == user)
                if not activity:
                    instance.activity_schedule(xml_id, user_id=user.id, **words)
                elif activity[0].summary != words["summary"]:
                    activity.write(words)  # another cause by now

    def _needs_attention(self):
        """Whether the link does not come back without a person."""
        state = self.connection_state
        if state in ("unconfigured", "auth_failed") or self.is_unconfirmed_copy:
            return True
        if state not in ("waiting", "unsupervised"):
            return False
        beat = self.last_heartbeat or self.create_date
        return (fields.Datetime.now() - beat).total_seconds() > DOWN_PATIENCE_S
