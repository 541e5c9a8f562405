import {
    MockServer,
    defineModels,
    fields,
    getService,
    models,
    mountView,
    onRpc,
} from "@web/../tests/web_test_helpers";
import {advanceTime, animationFrame, queryAllTexts} from "@odoo/hoot-dom";
import {omit, pick} from "@web/core/utils/objects";
import {defineMailModels} from "@mail/../tests/mail_test_helpers";
import {expect} from "@odoo/hoot";

const LIVE_FIELDS = ["id", "active", "connection_state", "connection_message"];
const READING = ["web_read", "web_read_group", "web_search_read"];

export const FORM = `
    <form js_class="ha_live_form">
        <field name="domain" widget="ha_entity_icon"/>
        <field name="name"/>
        <field name="custom_name"/>
        <field name="state_display" class="state"/>
        <field name="attributes_display"/>
    </form>`;

export class HaArea extends models.Model {
    _name = "ha.area";
    name = fields.Char({readonly: true});
    _records = [{id: 1, name: "Kitchen"}];
}

export class HaInstance extends models.Model {
    _name = "ha.instance";
    name = fields.Char();
    active = fields.Boolean({default: true});
    connection_state = fields.Selection({
        selection: [
            ["connected", "Connected"],
            ["waiting", "Waiting to Reconnect"],
        ],
        readonly: true,
    });
    connection_message = fields.Char({readonly: true});
    last_heartbeat = fields.Datetime({readonly: true});
    _records = [{id: 1, name: "Home", connection_state: "connected"}];

    watch_live() {
        const bus_id = this.env["bus.bus"].lastBusNotificationId;
        return {
            bus_id,
            sent_id: bus_id,
            instances: this.map((record) => pick(record, ...LIVE_FIELDS)),
        };
    }
}

export class HaEntity extends models.Model {
    _name = "ha.entity";
    name = fields.Char({readonly: true});
    custom_name = fields.Char();
    domain = fields.Char({readonly: true});
    state = fields.Char();
    state_number = fields.Float();
    state_display = fields.Char({readonly: true});
    is_numeric = fields.Boolean();
    available = fields.Boolean({readonly: true});
    is_stale = fields.Boolean({readonly: true});
    device_class = fields.Char({readonly: true});
    unit = fields.Char({readonly: true});
    last_changed = fields.Datetime();
    last_updated = fields.Datetime();
    attributes_display = fields.Html({readonly: true});
    area_id = fields.Many2one({relation: "ha.area", readonly: true});
    instance_id = fields.Many2one({relation: "ha.instance", readonly: true});
    _records = ["Lamp", "Fan"].map((name, index) => ({
        id: index + 1,
        name,
        domain: "light",
        state: "off",
        state_display: "Off",
        available: true,
        last_updated: "2026-01-01 12:00:00",
        attributes_display: "<p>dark</p>",
        area_id: 1,
        instance_id: 1,
    }));

    _views = {form: FORM};

    get_state_texts() {
        return {
            states: {on: "On", off: "Off", unavailable: "Unavailable"},
            binary: {},
            literal_domains: [],
            moment_domains: [],
        };
    }
}

/** Models of Home Assistant for a suite, whose requests are counted. */
export function defineHomeModels() {
    defineMailModels();
    defineModels([HaArea, HaEntity, HaInstance]);
}

export const LIST = `
    <list js_class="ha_live_list" multi_edit="1">
        <field name="domain" widget="ha_entity_icon"/>
        <field name="name"/>
        <field name="state_display" class="state"/>
        <field name="custom_name"/>
    </list>`;
export const KANBAN = `
    <kanban js_class="ha_live_kanban" default_group_by="area_id">
        <templates>
            <t t-name="card">
                <field name="domain" widget="ha_entity_icon"/>
                <field name="name"/>
                <field name="state_display" class="state"/>
            </t>
        </templates>
    </kanban>`;
/** Let what is under way end, and the pause between two readings pass. */
export async function settle() {
    for (let step = 0; step < 5; step++) {
        await advanceTime(1000);
        await animationFrame();
    }
}

/** Mount a view of entities and wait until it has read what it may have missed. */
export async function openLive(type, arch, params = {}) {
    await mountView({type, resModel: "ha.entity", arch, ...params});
    await settle();
}

/** Count from now on the requests that read records. */
export function countReads() {
    const counts = {reads: 0};
    onRpc(({method}) => {
        counts.reads += READING.includes(method);
    });
    return counts;
}

/** The server tells those who watch, of one thing or many at once. */
export async function notify(payloads, type = "odoo_ha_addon.states") {
    const messages = [payloads]
        .flat()
        .map((payload) => ["ha_instance:1", type, {instance_id: 1, ...payload}]);
    MockServer.env["bus.bus"]._sendmany(messages);
    await animationFrame();
    await animationFrame();
}

/** What the server sends when an entity changes. */
export function changeOf(id, state, values = {}) {
    return {
        id,
        state,
        state_number: 0,
        is_numeric: false,
        available: state !== "unavailable",
        last_changed: "2026-01-01 12:00:05",
        last_updated: "2026-01-01 12:00:05",
        ...values,
    };
}

/** An entity changes at the server, which tells. */
export async function changeState(id, state, values = {}) {
    const written = omit(changeOf(id, state), "id");
    const state_display = {on: "On", off: "Off", unavailable: "Unavailable"}[state];
    MockServer.env["ha.entity"].write([id], {...written, state_display});
    await notify({changes: [changeOf(id, state, values)]});
}

export function shownStates() {
    return queryAllTexts(".state:not(th)");
}

export function expectStates(...states) {
    expect(shownStates()).toEqual(states);
}

export function loseBus() {
    getService("bus_service").trigger("BUS:DISCONNECT");
}

export function regainBus() {
    getService("bus_service").trigger("BUS:RECONNECT");
}
