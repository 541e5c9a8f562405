import {entityIcon, isActive} from "./entity_icons.esm";
import {Component} from "@odoo/owl";
import {STATE_FIELDS} from "../../live/live_fields.esm";
import {_t} from "@web/core/l10n/translation";
import {registry} from "@web/core/registry";
import {standardFieldProps} from "@web/views/fields/standard_field_props";

/** The icon of an entity, coloured when it is on; for its field "domain". */
export class EntityIconField extends Component {
    static template = "odoo_ha_addon.EntityIconField";
    static props = {...standardFieldProps};

    get domain() {
        return this.props.record.data[this.props.name];
    }

    get icon() {
        const {device_class: deviceClass, state} = this.props.record.data;
        return entityIcon(this.domain, deviceClass, state);
    }

    get colorClass() {
        const {available, is_stale: isStale, state} = this.props.record.data;
        if (!available || isStale) {
            return "text-muted opacity-50";
        }
        return isActive(this.domain, state) ? "o_ha_icon_on" : "text-muted";
    }
}

registry.category("fields").add("ha_entity_icon", {
    component: EntityIconField,
    displayName: _t("Home Assistant Icon"),
    supportedTypes: ["char"],
    fieldDependencies: STATE_FIELDS,
    label: false,
    listViewWidth: 32,
});
