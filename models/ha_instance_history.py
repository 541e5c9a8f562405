from odoo import api, fields, models
from odoo.exceptions import ValidationError

from .common import websocket_thread_manager
from .common.history import history_policy

DEFAULT_HISTORY_DOMAINS = (
    "alarm_control_panel, binary_sensor, climate, cover, device_tracker, fan,"
    " humidifier, input_boolean, input_number, input_select, light, lock, number,"
    " person, select, switch, vacuum, valve, water_heater, weather"
)
DEFAULT_HISTORY_STATE_CLASSES = "measurement, total, total_increasing"


class HaInstance(models.Model):
    """What an instance records as history, and for how long it keeps that."""

    _inherit = "ha.instance"

    history_mode = fields.Selection(
        [
            ("all", "Every entity"),
            ("some", "What is chosen below"),
            ("none", "Only entities set to Always"),
        ],
        string="Keep History Of",
        required=True,
        default="some",
    )
    history_domains = fields.Char(
        string="Recorded Domains", default=lambda self: DEFAULT_HISTORY_DOMAINS
    )
    history_state_classes = fields.Char(
        string="Recorded State Classes",
        default=lambda self: DEFAULT_HISTORY_STATE_CLASSES,
    )
    history_device_classes = fields.Char(string="Recorded Device Classes")
    history_excluded_domains = fields.Char(string="Left Out Domains")
    history_excluded_state_classes = fields.Char(string="Left Out State Classes")
    history_excluded_device_classes = fields.Char(string="Left Out Device Classes")
    history_retention_days = fields.Integer(
        string="Keep History For (Days)", default=365, help="0: for ever"
    )

    @api.model_create_multi
    def create(self, vals_list):
        for vals in vals_list:
            self._check_history_values(vals)
        return super().create(vals_list)

    def write(self, vals):
        self._check_history_values(vals)
        result = super().write(vals)
        if not vals.keys().isdisjoint(history_policy.POLICY_FIELDS):
            self._apply_history_policy()
        return result

    def _check_history_values(self, vals):
        """Refuse what cannot be meant, before it reaches the database.

        :raises ValidationError: naming field and remedy
        """
        label = self._fields
        for name in history_policy.POLICY_FIELDS[1:]:
            wrong = history_policy.bad_words(name, vals.get(name))
            if not wrong:
                continue
            params = {
                "field": label[name]._description_string(self.env),
                "words": ", ".join(wrong)[:100],
            }
            if name.endswith("state_classes"):
                text = self.env._(
                    "%(field)s: “%(words)s” is no state class. Possible: measurement,"
                    " total, total_increasing.",
                    **params,
                )
            else:
                text = self.env._(
                    "%(field)s: “%(words)s” cannot be one. Enter names as Home"
                    " Assistant writes them, with small letters, digits and"
                    " underscores, separated by commas, e.g. sensor, binary_sensor.",
                    **params,
                )
            raise ValidationError(text)
        if not history_policy.in_range(
            vals.get("history_retention_days"), history_policy.MAX_RETENTION_DAYS
        ):
            raise ValidationError(
                self.env._(
                    "%(field)s: enter a number of days from 0 (for ever) to"
                    " %(maximum)s.",
                    field=label["history_retention_days"]._description_string(self.env),
                    maximum=history_policy.MAX_RETENTION_DAYS,
                )
            )

    def _apply_history_policy(self):
        """Bring the entities in line with a policy that a person has changed."""
        self.env.flush_all()
        for instance in self:
            added = history_policy.update_recorded(self.env.cr, instance.id)
            if added:
                history_policy.request_backfill(self.env.cr, instance.id, added)
        self.env["ha.entity"].invalidate_model(["is_recorded"])
        websocket_thread_manager.notify_recording(self.env.cr)
