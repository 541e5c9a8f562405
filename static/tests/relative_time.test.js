import {advanceTime, animationFrame, mockDate} from "@odoo/hoot-mock";
import {defineModels, fields, models, mountView} from "@web/../tests/web_test_helpers";
import {expect, test} from "@odoo/hoot";
import {defineMailModels} from "@mail/../tests/mail_test_helpers";

class Beat extends models.Model {
    _name = "beat";
    date = fields.Datetime();
    _records = [{id: 1, date: "2026-01-01 12:00:00"}];
}

defineMailModels();
defineModels([Beat]);

async function expectAfter(ms, text) {
    await advanceTime(ms);
    await animationFrame();
    expect("[name=date]").toHaveText(text);
}

test("seconds are told, and go on by themselves", async () => {
    mockDate("2026-01-01 12:00:02", 0);
    await mountView({
        type: "form",
        resModel: "beat",
        resId: 1,
        arch: `<form><field name="date" widget="ha_relative_time" readonly="1"/></form>`,
    });
    expect("[name=date]").toHaveText("now");
    await expectAfter(3000, "5 seconds ago");
    await expectAfter(20000, "25 seconds ago");
    await expectAfter(40000, "1 minute ago");
    await expectAfter(115000, "3 minutes ago");
    expect("[name=date] time").toHaveAttribute("title", /12:00:00/);
});

test("what a faster clock has written is not in the future", async () => {
    mockDate("2026-01-01 11:59:58", 0);
    await mountView({
        type: "form",
        resModel: "beat",
        resId: 1,
        arch: `<form><field name="date" widget="ha_relative_time" readonly="1"/></form>`,
    });
    expect("[name=date]").toHaveText("now");
});
