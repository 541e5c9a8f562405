from odoo import api, models
from odoo.exceptions import ValidationError

from .common import websocket_thread_manager
from .common.history import history_policy

LIMITS = {
    "history_deadband": 1e15,
    "history_interval": history_policy.MAX_INTERVAL_S,
}


class HaEntity(models.Model):
    """A person's own choice for one entity, against the instance's policy."""

    _inherit = "ha.entity"

    @api.model_create_multi
    def create(self, vals_list):
        for vals in vals_list:
            self._check_recording_values(vals)
        entities = super().create(vals_list)
        entities._apply_recording()
        return entities

    def write(self, vals):
        self._check_recording_values(vals)
        result = super().write(vals)
        if "record_history" in vals:
            self._apply_recording(backfill=True)
        if not vals.keys().isdisjoint(("record_history", *LIMITS)):
            websocket_thread_manager.notify_recording(self.env.cr)
        return result

    def _check_recording_values(self, vals):
        """Refuse what cannot be meant, before it reaches the database.

        :raises ValidationError: naming field and remedy
        """
        for name, maximum in LIMITS.items():
            if not history_policy.in_range(vals.get(name), maximum):
                raise ValidationError(
                    self.env._(
                        "%(field)s: enter a number from 0 (off) to %(maximum)s.",
                        field=self._fields[name]._description_string(self.env),
                        maximum=f"{maximum:g}" if maximum > 1e9 else maximum,
                    )
                )

    def _apply_recording(self, backfill=False):
        self.flush_recordset()
        for instance, entities in self.grouped("instance_id").items():
            added = history_policy.update_recorded(
                self.env.cr, instance.id, entities.ids
            )
            if added and backfill:
                history_policy.request_backfill(self.env.cr, instance.id, added)
        self.invalidate_recordset(["is_recorded"])
