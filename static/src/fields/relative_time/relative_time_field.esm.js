import {Component} from "@odoo/owl";
import {RelativeTime} from "@mail/core/common/relative_time";
import {_t} from "@web/core/l10n/translation";
import {formatDateTime} from "@web/core/l10n/dates";
import {registry} from "@web/core/registry";
import {standardFieldProps} from "@web/views/fields/standard_field_props";

/** How long ago something was, kept current; the exact time is in the tooltip. */
export class RelativeTimeField extends Component {
    static template = "odoo_ha_addon.RelativeTimeField";
    static components = {RelativeTime};
    static props = {...standardFieldProps};

    get value() {
        return this.props.record.data[this.props.name];
    }

    get exact() {
        return formatDateTime(this.value, {showSeconds: true});
    }
}

registry.category("fields").add("ha_relative_time", {
    component: RelativeTimeField,
    displayName: _t("Relative Time"),
    supportedTypes: ["datetime"],
    listViewWidth: [90, 140],
});
