import {BadgeField, badgeField} from "@web/views/fields/badge/badge_field";
import {_t} from "@web/core/l10n/translation";
import {registry} from "@web/core/registry";
import {useEffect} from "@odoo/owl";

const REFRESH_MS = 1000;
const MAX_REFRESHES = 20;
const PASSING_STATES = new Set(["connecting", "syncing", "unsupervised", "waiting"]);

/**
 * The connection's state on a form. Whoever has just saved or restarted an instance
 * watches it connect: for a while, a state that will pass is read again.
 */
export class ConnectionStateField extends BadgeField {
    setup() {
        useEffect(
            (state, resId) => {
                if (!resId || !PASSING_STATES.has(state)) {
                    return;
                }
                let left = MAX_REFRESHES;
                const timer = setInterval(async () => {
                    left -= 1;
                    if (!(await this.refresh()) || left === 0) {
                        clearInterval(timer);
                    }
                }, REFRESH_MS);
                return () => clearInterval(timer);
            },
            () => {
                const {name, record} = this.props;
                return [record.data[name], record.resId];
            }
        );
    }

    /**
     * @returns {Promise<Boolean>} whether it makes sense to try again
     */
    async refresh() {
        const {record} = this.props;
        if (document.hidden || record.dirty) {
            return true;
        }
        try {
            await record.load();
            return true;
        } catch {
            // The server is away: the web client tells so by itself.
            return false;
        }
    }
}

registry.category("fields").add("ha_connection_state", {
    ...badgeField,
    component: ConnectionStateField,
    displayName: _t("Connection State"),
    supportedTypes: ["selection"],
});
