import {Deferred, advanceTime, animationFrame} from "@odoo/hoot-mock";
import {
    FORM,
    HaEntity,
    KANBAN,
    LIST,
    changeOf,
    changeState,
    countReads,
    defineHomeModels,
    expectStates,
    notify,
    openLive,
    settle,
} from "./live_test_helpers.esm";
import {
    MockServer,
    contains,
    fieldInput,
    getService,
    mountView,
    onRpc,
    toggleMenuItem,
    toggleSearchBarMenu,
} from "@web/../tests/web_test_helpers";
import {click, press, queryOne} from "@odoo/hoot-dom";
import {describe, expect, test} from "@odoo/hoot";
import {FormViewDialog} from "@web/views/view_dialogs/form_view_dialog";

describe.current.tags("desktop");
defineHomeModels();

const ON_LAMP = {state: "on", state_display: "On", last_updated: "2026-01-01 12:00:05"};

/** An entity changes at the server, and nobody is told. */
function writeSilently(id, values) {
    MockServer.env["ha.entity"].write([id], values);
}

function openInDialog() {
    getService("dialog").add(FormViewDialog, {resModel: "ha.entity", resId: 1});
}

test("a list changes in place and asks for nothing", async () => {
    await openLive("list", LIST);
    expectStates("Off", "Off");
    const counts = countReads();
    const row = queryOne(".o_data_row:first");
    await changeState(1, "on");
    expectStates("On", "Off");
    for (const state of ["off", "on", "off", "unavailable"]) {
        await changeState(2, state);
    }
    await settle();
    expectStates("On", "Unavailable");
    expect(queryOne(".o_data_row:first")).toBe(row);
    expect(counts.reads).toBe(0);
});

test("a grouped kanban changes in place", async () => {
    await openLive("kanban", KANBAN);
    expectStates("Off", "Off");
    const card = queryOne(".o_kanban_record:first");
    await changeState(1, "on");
    expectStates("On", "Off");
    expect(queryOne(".o_kanban_record:first")).toBe(card);
});

test("a form changes in place and keeps what is being typed", async () => {
    await openLive("form", FORM, {resId: 1});
    onRpc("ha.entity", "web_save", ({args}) => {
        expect.step(args[1]);
    });
    await contains("[name=custom_name] input").click();
    await press("l");
    await press("a");
    await changeState(1, "on");
    expectStates("On");
    expect("[name=custom_name] input").toHaveValue("la");
    expect("[name=custom_name] input").toBeFocused();
    // What has left the field is kept, too, and nothing else is saved.
    await fieldInput("custom_name").edit("Lamp of mine");
    await changeState(1, "off");
    await notify({refetch: true, records: true});
    await settle();
    expectStates("Off");
    expect("[name=custom_name] input").toHaveValue("Lamp of mine");
    await contains(".o_form_button_save").click();
    expect.verifySteps([{custom_name: "Lamp of mine"}]);
});

test("discarding brings back the present state, not the one before", async () => {
    await openLive("form", FORM, {resId: 1});
    await fieldInput("custom_name").edit("Lamp of mine");
    await changeState(1, "on");
    await contains(".o_form_button_cancel").click();
    expectStates("On");
    expect("[name=custom_name] input").toHaveValue("");
});

test("a form in a dialog changes, and so does the list behind it", async () => {
    await openLive("list", LIST);
    openInDialog();
    await settle();
    await changeState(1, "on");
    expectStates("On", "Off", "On");
});

test("only what changed is touched, and only what is shown", async () => {
    await openLive("list", LIST, {domain: [["name", "=", "Lamp"]]});
    const counts = countReads();
    await notify({changes: [changeOf(2, "on"), changeOf(77, "on")]});
    expectStates("Off");
    await notify({changes: [{id: 1, last_updated: "2026-01-01 12:00:07"}]});
    expectStates("Off");
    await settle();
    expect(counts.reads).toBe(0);
});

test("many notifications to read again are one reading", async () => {
    await openLive("list", LIST);
    const counts = countReads();
    writeSilently(1, ON_LAMP);
    await notify(Array(5).fill({refetch: true, records: false}));
    await settle();
    expectStates("On", "Off");
    expect(counts.reads).toBe(1);
});

test("attributes are read again, but not for each change", async () => {
    await openLive("form", FORM, {resId: 1});
    const counts = countReads();
    for (const text of ["dim", "half", "bright"]) {
        writeSilently(1, {attributes_display: `<p>${text}</p>`});
        await notify({changes: [{id: 1, attributes_changed: true}]});
    }
    await settle();
    expect("[name=attributes_display]").toHaveText("bright");
    expect(counts.reads).toBeLessThan(3);
});

test("a reading that comes late does not undo what was told meanwhile", async () => {
    await openLive("list", LIST);
    const answer = new Deferred();
    onRpc("ha.entity", "web_read", async ({parent}) => {
        const rows = await parent();
        await answer;
        return rows;
    });
    await notify({refetch: true, records: false});
    await advanceTime(1000);
    await changeState(1, "on");
    expectStates("On", "Off");
    answer.resolve();
    await animationFrame();
    await animationFrame();
    expectStates("On", "Off");
});

test("what is being loaded is read again when it may be too old", async () => {
    const answer = new Deferred();
    onRpc("ha.entity", "web_read", async ({parent}) => {
        const rows = await parent();
        await answer;
        return rows;
    });
    await openLive("list", LIST);
    openInDialog();
    await animationFrame();
    await animationFrame();
    writeSilently(1, {...ON_LAMP, attributes_display: "<p>bright</p>"});
    await notify({changes: [changeOf(1, "on", {attributes_changed: true})]});
    answer.resolve();
    await settle();
    expectStates("On", "Off", "On");
    expect("[name=attributes_display]").toHaveText("bright");
});

test("a search while the list is read again is not lost", async () => {
    const filter = `
        <search><filter name="fans" string="Fans" domain="[('name', '=', 'Fan')]"/></search>`;
    await openLive("list", LIST, {searchViewArch: filter});
    const search = new Deferred();
    onRpc("ha.entity", "web_search_read", async ({kwargs, parent}) => {
        if (kwargs.domain.length) {
            await search;
        }
        return parent();
    });
    await toggleSearchBarMenu();
    await toggleMenuItem("Fans");
    await notify({refetch: true, records: true});
    await advanceTime(1000);
    search.resolve();
    await settle();
    expect(".o_data_row").toHaveCount(1);
    expect(".o_data_row").toHaveText(/Fan/);
});

test("records come and go, but not under the hands of a user", async () => {
    await openLive("list", LIST);
    await click(".o_data_row:first .o_list_record_selector input");
    await animationFrame();
    MockServer.env["ha.entity"].create({name: "New", state_display: "On"});
    const counts = countReads();
    await notify({refetch: true, records: true});
    await settle();
    await settle();
    expect(".o_data_row").toHaveCount(2);
    expect(counts.reads).toBe(1);
    await click(".o_data_row:first .o_list_record_selector input");
    await animationFrame();
    await settle();
    expect(".o_data_row").toHaveCount(3);
});

test("reading the same records again replaces nothing on the screen", async () => {
    await openLive("kanban", KANBAN);
    const card = queryOne(".o_kanban_record:first");
    writeSilently(1, ON_LAMP);
    await notify({refetch: true, records: true});
    await settle();
    expectStates("On", "Off");
    expect(queryOne(".o_kanban_record:first")).toBe(card);
});

test("a list of those that are on follows", async () => {
    HaEntity._records[0].state = "on";
    await openLive("list", LIST, {domain: [["state", "=", "on"]]});
    expect(".o_data_row").toHaveCount(1);
    await changeState(2, "on");
    await settle();
    expect(".o_data_row").toHaveCount(2);
    await changeState(1, "off");
    await settle();
    expect(".o_data_row").toHaveCount(1);
});

test("a record that is deleted meanwhile is said to be", async () => {
    await openLive("form", FORM, {resId: 1});
    MockServer.env["ha.entity"].unlink([1]);
    await notify({refetch: true, records: true});
    await settle();
    expect(".o_notification").toHaveText(/no longer exists/);
});

test("icons and texts grey out when the link is down, and come back", async () => {
    await openLive("list", LIST);
    expect(".o_data_row:first i.opacity-50").toHaveCount(0);
    MockServer.env["ha.instance"].write([1], {connection_state: "waiting"});
    await notify({state: "waiting"}, "odoo_ha_addon.connection");
    await advanceTime(200);
    await animationFrame();
    expect(".o_data_row:first i.opacity-50").toHaveCount(1);
    MockServer.env["ha.instance"].write([1], {connection_state: "connected"});
    await notify({state: "connected"}, "odoo_ha_addon.connection");
    await advanceTime(200);
    await animationFrame();
    expect(".o_data_row:first i.opacity-50").toHaveCount(0);
});

test("a list says why it has gone grey, as long as it is", async () => {
    await openLive("kanban", KANBAN);
    expect(".o_ha_connection_notice").toHaveCount(0);
    const counts = countReads();
    MockServer.env["ha.instance"].create({name: "Barn", connection_state: "waiting"});
    MockServer.env["ha.instance"].write([1], {
        connection_state: "waiting",
        connection_message: "It does not answer.",
    });
    await notify({state: "waiting"}, "odoo_ha_addon.connection");
    await advanceTime(200);
    await animationFrame();
    expect(".o_ha_connection_notice").toHaveCount(1);
    expect(".o_ha_connection_notice").toHaveText(/Home\s*It does not answer/);
    // The list is read again for the new instance, not for the notice.
    expect(counts.reads).toBeLessThan(2);
    openInDialog();
    await settle();
    expect(".modal .o_ha_connection_notice").toHaveText(/It does not answer/);
    MockServer.env["ha.instance"].write([1], {connection_state: "connected"});
    await notify({state: "connected"}, "odoo_ha_addon.connection");
    await advanceTime(200);
    await animationFrame();
    expect(".o_ha_connection_notice").toHaveCount(0);
});

test("the form of an instance shows an outage, and keeps what is typed", async () => {
    await mountView({
        type: "form",
        resModel: "ha.instance",
        resId: 1,
        arch: `
            <form js_class="ha_live_form">
                <field name="name"/>
                <field name="connection_state"/>
                <div class="banner" invisible="connection_state != 'waiting'">
                    <field name="connection_message"/>
                </div>
            </form>`,
    });
    await settle();
    expect(".banner").toHaveCount(0);
    await fieldInput("name").edit("My Home");
    MockServer.env["ha.instance"].write([1], {
        connection_state: "waiting",
        connection_message: "It does not answer.",
    });
    await notify({state: "waiting"}, "odoo_ha_addon.connection");
    await advanceTime(200);
    await animationFrame();
    expect(".banner").toHaveText("It does not answer.");
    expect("[name=name] input").toHaveValue("My Home");
});
