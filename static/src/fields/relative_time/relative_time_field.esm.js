import {Component, onRendered, onWillDestroy} from "@odoo/owl";
import {_t} from "@web/core/l10n/translation";
import {browser} from "@web/core/browser/browser";
import {formatDateTime} from "@web/core/l10n/dates";
import {registry} from "@web/core/registry";
import {standardFieldProps} from "@web/views/fields/standard_field_props";

const TICK_MS = 5000;
const MINUTE_MS = 60000;
const HOUR_MS = 60 * MINUTE_MS;

/** How long ago something was, kept current; the exact time is in the tooltip. */
export class RelativeTimeField extends Component {
    static template = "odoo_ha_addon.RelativeTimeField";
    static props = {...standardFieldProps};

    setup() {
        onRendered(() => this.tick());
        onWillDestroy(() => browser.clearTimeout(this.timer));
    }

    get value() {
        return this.props.record.data[this.props.name];
    }

    get exact() {
        return formatDateTime(this.value, {showSeconds: true});
    }

    /** Milliseconds; clocks that differ a little make nothing future. */
    get age() {
        return Math.max(Date.now() - this.value.toMillis(), 0);
    }

    get text() {
        const {age, value} = this;
        if (age >= TICK_MS) {
            return value.toRelative();
        }
        // "now", in the user's language
        const format = new Intl.RelativeTimeFormat(value.locale, {numeric: "auto"});
        return format.format(0, "second");
    }

    /** Come back when the text has changed: seconds count only at first. */
    tick() {
        browser.clearTimeout(this.timer);
        if (this.value) {
            const {age} = this;
            const step =
                age < MINUTE_MS ? TICK_MS : age < HOUR_MS ? MINUTE_MS : HOUR_MS;
            this.timer = browser.setTimeout(() => this.render(), step - (age % step));
        }
    }
}

registry.category("fields").add("ha_relative_time", {
    component: RelativeTimeField,
    displayName: _t("Relative Time"),
    supportedTypes: ["datetime"],
    listViewWidth: [90, 140],
});
