import {Deferred, advanceTime, animationFrame} from "@odoo/hoot-mock";
import {
    FORM,
    LIST,
    changeOf,
    changeState,
    countReads,
    defineHomeModels,
    expectStates,
    loseBus,
    notify,
    openLive,
    regainBus,
    settle,
} from "./live_test_helpers.esm";
import {
    MockServer,
    getService,
    makeServerError,
    mountView,
    onRpc,
    patchWithCleanup,
} from "@web/../tests/web_test_helpers";
import {describe, expect, test} from "@odoo/hoot";

describe.current.tags("desktop");
defineHomeModels();

function turnOnSilently() {
    MockServer.env["ha.entity"].write([1], {state: "on", state_display: "On"});
}

function channels() {
    return MockServer.env["bus.bus"].channelsByUser[MockServer.env.uid] || [];
}

test("what changed while the bus was away is read once it is back", async () => {
    await openLive("list", LIST);
    loseBus();
    turnOnSilently();
    await settle();
    const counts = countReads();
    regainBus();
    await settle();
    expectStates("On", "Off");
    expect(counts.reads).toBe(1);
    await changeState(1, "off");
    expectStates("Off", "Off");
});

test("a notification that got lost is made up for", async () => {
    let sent = 0;
    onRpc("ha.instance", "watch_live", async ({parent}) => {
        const answer = await parent();
        return {...answer, sent_id: Math.max(answer.bus_id, sent)};
    });
    await openLive("list", LIST);
    await settle();
    turnOnSilently();
    sent = 1000;
    const counts = countReads();
    await advanceTime(30000);
    await settle();
    expectStates("On", "Off");
    expect(counts.reads).toBe(1);
    // Told once, it is not asked for again.
    await advanceTime(60000);
    expect(counts.reads).toBe(1);
});

test("a new watch is confirmed soon, so that nothing is lost at the start", async () => {
    onRpc("ha.instance", "watch_live", () => {
        expect.step("watch");
    });
    await openLive("list", LIST);
    await advanceTime(2000);
    expect.verifySteps(["watch", "watch"]);
    await advanceTime(31000);
    expect.verifySteps(["watch"]);
});

test("a notification on its way is not taken for lost", async () => {
    let sent = 0;
    onRpc("ha.instance", "watch_live", async ({parent}) => {
        const answer = await parent();
        return {...answer, sent_id: Math.max(answer.bus_id, sent)};
    });
    await openLive("list", LIST);
    await settle();
    const counts = countReads();
    sent = MockServer.env["bus.bus"].lastBusNotificationId + 1;
    await advanceTime(30000);
    await notify({changes: [changeOf(1, "on")]});
    await settle();
    expectStates("On", "Off");
    expect(counts.reads).toBe(0);
});

test("older notifications than what was read are left out", async () => {
    await openLive("list", LIST);
    getService("ha_live").mutedUpTo = 5;
    await notify({changes: [changeOf(1, "on")]});
    expectStates("Off", "Off");
});

test("nothing is watched without a view, nor on a hidden page", async () => {
    await openLive("list", LIST);
    expect(channels()).toInclude("ha_instance:1");
    const live = getService("ha_live");
    const follower = [...live.followers][0];
    live.followers.delete(follower);
    live.update();
    await advanceTime(1000);
    expect(live.watching).toBe(true);
    await settle();
    expect(live.watching).toBe(false);
    expect(channels()).not.toInclude("ha_instance:1");
    await notify({changes: [changeOf(1, "on")]});
    expectStates("Off", "Off");
});

test("who may not look any longer is told, once", async () => {
    await openLive("list", LIST);
    onRpc("ha.instance", "watch_live", () => {
        expect.step("watch");
        throw makeServerError({
            type: "AccessError",
            message: "You are not allowed to see this.",
        });
    });
    await advanceTime(30000);
    await animationFrame();
    expect(".o_notification").toHaveText(/You are not allowed to see this/);
    await advanceTime(120000);
    expect.verifySteps(["watch"]);
});

test("a server in trouble is asked again, and all is read then", async () => {
    await openLive("list", LIST);
    let broken = true;
    onRpc("ha.instance", "watch_live", () => {
        if (broken) {
            throw makeServerError({message: "The database is away."});
        }
    });
    await advanceTime(30000);
    turnOnSilently();
    broken = false;
    await advanceTime(30000);
    await settle();
    expectStates("On", "Off");
});

test("a server that does not answer is told of and made up for", async () => {
    expect.errors(1);
    await openLive("list", LIST);
    let away = true;
    onRpc("ha.instance", "watch_live", () =>
        away ? new Response("", {status: 502}) : undefined
    );
    loseBus();
    await advanceTime(5000);
    await animationFrame();
    expect(".o_notification").toHaveText(/Connection lost/);
    turnOnSilently();
    away = false;
    regainBus();
    await settle();
    expectStates("On", "Off");
    expect.verifyErrors([/couldn't be established/]);
});

/** Whether the first row shows that its state may be old. */
function expectGrey(isGrey) {
    expect(".o_data_row:first i.opacity-50").toHaveCount(isGrey ? 1 : 0);
}

test("what is shown of a server that is gone greys out until it is back", async () => {
    // Asked again every two seconds
    expect.errors(4);
    patchWithCleanup(Math, {random: () => 0});
    await openLive("list", LIST);
    let away = true;
    onRpc("ha.instance", "watch_live", () =>
        away ? new Response("", {status: 502}) : undefined
    );
    const counts = countReads();
    loseBus();
    await settle();
    expectGrey(false);
    await settle();
    expectGrey(true);
    expect(counts.reads).toBe(0);
    turnOnSilently();
    away = false;
    // Whatever gets an answer tells that it is there.
    await getService("orm").call("ha.entity", "get_state_texts", []);
    await settle();
    expectGrey(false);
    expectStates("On", "Off");
    expect.verifyErrors(Array(4).fill(/couldn't be established/));
});

test("a server that keeps silent greys out, too", async () => {
    await openLive("list", LIST);
    await advanceTime(5000);
    const answer = new Deferred();
    onRpc("ha.instance", "watch_live", async ({parent}) => {
        await answer;
        return parent();
    });
    await advanceTime(30000);
    await advanceTime(9000);
    await animationFrame();
    expectGrey(true);
    answer.resolve();
    await settle();
    expectGrey(false);
});

test("a bus that is merely away is no alarm", async () => {
    await openLive("list", LIST);
    loseBus();
    for (let round = 0; round < 4; round++) {
        await settle();
        expectGrey(false);
    }
    regainBus();
    await settle();
    expectGrey(false);
    expect(getService("ha_live").lostTimer).toBe(undefined);
});

test("a view whose record may not be read any more says so and rests", async () => {
    await openLive("form", FORM, {resId: 1});
    onRpc("ha.entity", "web_read", () => {
        expect.step("read");
        throw makeServerError({type: "AccessError", message: "Not yours."});
    });
    await notify({refetch: true, records: true});
    await settle();
    await notify({refetch: true, records: true});
    await settle();
    expect.verifySteps(["read"]);
    expect(".o_notification").toHaveText(/Not yours/);
});

test("a heartbeat that is shown is asked for more often", async () => {
    await mountView({
        type: "form",
        resModel: "ha.instance",
        resId: 1,
        arch: `
            <form js_class="ha_live_form">
                <field name="last_heartbeat" widget="ha_relative_time"/>
            </form>`,
    });
    await settle();
    await advanceTime(5000);
    onRpc("ha.instance", "watch_live", () => {
        expect.step("watch");
    });
    for (let beat = 0; beat < 2; beat++) {
        await advanceTime(11000);
        await animationFrame();
        expect.verifySteps(["watch"]);
    }
});

test("instances come into the list and leave it", async () => {
    await mountView({
        type: "list",
        resModel: "ha.instance",
        arch: `<list js_class="ha_live_list"><field name="name"/></list>`,
    });
    await settle();
    expect(".o_data_row").toHaveCount(1);
    const barn = {name: "Barn", connection_state: "connected"};
    const barnId = MockServer.env["ha.instance"].create(barn);
    await advanceTime(31000);
    await settle();
    expect(".o_data_row").toHaveCount(2);
    MockServer.env["ha.instance"].unlink([barnId]);
    await advanceTime(31000);
    await settle();
    expect(".o_data_row").toHaveCount(1);
});
