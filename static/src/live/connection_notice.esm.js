import {Component, useState} from "@odoo/owl";
import {groupBy} from "@web/core/utils/arrays";
import {useService} from "@web/core/utils/hooks";

/** Says why entities have gone grey: a line for each cause, with whom it concerns. */
export class ConnectionNotice extends Component {
    static template = "odoo_ha_addon.ConnectionNotice";
    static props = {follower: Object};

    setup() {
        this.shown = useState(useService("ha_live").shown);
    }

    get lines() {
        const ids = this.props.follower.instanceIds;
        const away = this.shown.instances.filter(
            ({id, connection_state: state}) => ids.has(id) && state !== "connected"
        );
        const causes = groupBy(away, ({connection_message: message}) => message || "");
        return Object.entries(causes).map(([message, rows]) => ({
            message,
            names: rows.map(({id}) => ids.get(id)).join(", "),
            remedy: rows[0].connection_remedy,
        }));
    }
}
