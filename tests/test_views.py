"""The web client in a real browser: menus, views, banner, filters, buttons."""

import json
from datetime import timedelta

from odoo import fields
from odoo.tests import HttpCase, tagged
from odoo.tools import file_path

from ..ha_client import causes
from .fake_ha import FakeHomeAssistant
from .instance_case import MANAGER, TOKEN, USER, InstanceMixin, RealRequests

READY = "odoo.isReady === true"
CLICK_EVERYWHERE = (
    "odoo.loader.modules.get('@web/webclient/clickbot/clickbot_loader')"
    ".startClickEverywhere('odoo_ha_addon.ha_menu_root');"
)
# Helpers for the scripts below; what they wait for comes, or the test times out.
PRELUDE = """
    const action = odoo.__WOWL_DEBUG__.root.env.services.action;
    const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const all = (selector) => [...document.querySelectorAll(selector)];
    const text = (selector) => all(selector).map((node) => node.innerText).join("|");
    const shown = (selector) => all(selector).some((node) => node.offsetParent);
    async function until(condition, what) {
        for (let round = 0; round < 800; round++) {
            const dialog = document.querySelector(".o_error_dialog");
            if (dialog) {
                throw new Error("error dialog: " + dialog.innerText);
            }
            const result = condition();
            if (result) {
                return result;
            }
            await sleep(50);
        }
        throw new Error("in vain: " + what + " in " + document.body.innerText);
    }
    async function openForm(model, id) {
        await action.doAction(
            {
                type: "ir.actions.act_window",
                res_model: model,
                res_id: id,
                views: [[false, "form"]],
            },
            {clearBreadcrumbs: true}
        );
        await until(() => shown(".o_form_view .o_form_sheet"), "form of " + model);
    }
    async function openAction(xmlId, viewType) {
        await action.doAction(xmlId, {clearBreadcrumbs: true, viewType});
        await until(() => shown(`.o_${viewType}_view`), viewType + " of " + xmlId);
    }
    async function type(name, value) {
        const input = document.querySelector(`[name=${name}] input`);
        input.focus();
        input.value = value;
        input.dispatchEvent(new InputEvent("input", {bubbles: true}));
        input.dispatchEvent(new Event("change", {bubbles: true}));
        input.blur();
    }
"""


# Debian's package of Odoo lacks this library of another module; the web client
# complains about it on every page.
LACKING = "mail/static/lib/selfie_segmentation/selfie_segmentation.js"


@tagged("post_install", "-at_install")
class TestViews(RealRequests, InstanceMixin, HttpCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prepare_assets()
        cls.make_user("ha-user-1", USER)
        cls.make_user("ha-manager", MANAGER)
        cls.instance = cls.make_instance(name="Furnished Home")
        ids = {"instance_id": cls.instance.id}
        cls.floor = cls.env["ha.floor"].create(
            {**ids, "name": "Ground", "ha_floor_id": "ground"}
        )
        cls.label = cls.env["ha.label"].create(
            {**ids, "name": "Night", "ha_label_id": "night"}
        )
        cls.area = cls.env["ha.area"].create(
            {**ids, "name": "Kitchen", "ha_area_id": "k", "floor_id": cls.floor.id}
        )
        cls.device = cls.env["ha.device"].create(
            {
                **ids,
                "name": "Ceiling Lamp",
                "ha_device_id": "d",
                "manufacturer": "Acme",
                "area_id": cls.area.id,
            }
        )
        cls.light = cls.make_entity(
            cls.instance,
            "light.kitchen",
            area_id=cls.area.id,
            device_id=cls.device.id,
            label_ids=[(4, cls.label.id)],
            attributes={"brightness": 120},
            last_changed="2025-01-01 12:00:00",
        )
        cls.power = cls.make_entity(
            cls.instance, "sensor.power", "12.5", unit="W", is_numeric=True
        )
        cls.make_history()
        for domain in ("cover", "lock", "scene", "script", "button", "valve", "fan"):
            cls.make_entity(cls.instance, f"{domain}.x", "on")
        cls.make_entity(
            cls.instance, "sensor.secret_rssi", entity_category="diagnostic"
        )
        cls.make_entity(cls.instance, "number.secret_set", entity_category="config")
        cls.make_entity(cls.instance, "light.secret_hidden", hidden=True)
        cls.make_entity(cls.instance, "light.secret_gone", removed_in_ha=True)
        cls.make_entity(cls.instance, "light.secret_archived", active=False)
        cls.broken = cls.make_instance(name="Broken", api_url=False)
        events = [
            {"instance_id": cls.instance.id, "kind": kind, "cause": causes.REFUSED}
            for kind in ("start", "connect", "disconnect", "auth_failed")
        ]
        cls.events = cls.env["ha.connection.event"].create(events)

    @classmethod
    def make_history(cls):
        now = fields.Datetime.now().replace(minute=0, second=0)
        hours = [now - timedelta(hours=hours) for hours in range(1, 50)]
        cls.env["ha.entity.history"].create(
            [
                {
                    "entity_id": entity.id,
                    "state": state,
                    "is_numeric": entity == cls.power,
                    "value": entity == cls.power and float(state),
                    "last_changed": hour,
                    "source": "live",
                }
                for entity, state in ((cls.light, "on"), (cls.power, "12.5"))
                for hour in hours
            ]
        )
        cls.env["ha.entity.statistics"].create(
            [
                {"entity_id": cls.power.id, "date": hour, "mean": 7, "change": 1}
                for hour in hours
            ]
        )
        cls.gap = cls.env["ha.history.gap"].create(
            {
                "instance_id": cls.instance.id,
                "reason": "disconnect",
                "state": "missing",
                "date_from": hours[9],
                "date_to": hours[7],
                "missing": {str(cls.power.id): hours[7].timestamp()},
                "missing_count": 1,
            }
        )

    @classmethod
    def prepare_assets(cls):
        """Make the bundles once; each test would make its own and roll it back."""
        try:
            file_path(LACKING)
        except FileNotFoundError:
            cls.env["ir.asset"].create(
                {
                    "name": "what Debian leaves out",
                    "bundle": "web.assets_backend",
                    "directive": "remove",
                    "path": LACKING,
                }
            )
        for bundle in ("web.assets_web", "web.assets_clickbot"):
            assets = cls.env["ir.qweb"]._get_asset_bundle(bundle)
            assets.js()
            assets.css()

    def run_script(self, login, script, **values):
        """Run a script in the web client; any error on the console fails."""
        constants = "".join(
            f"const {name} = {json.dumps(value)};" for name, value in values.items()
        )
        self.browser_js(
            "/odoo",
            f"(async () => {{ {PRELUDE} {constants} {script}"
            " console.log('test successful'); })();",
            READY,
            login=login,
            timeout=120,
        )

    def click_everywhere(self, login):
        self.browser_js(
            "/odoo",
            CLICK_EVERYWHERE,
            READY,
            login=login,
            timeout=180,
            success_signal="clickbot test succeeded",
        )

    def test_manager_can_open_every_menu_view_and_filter(self):
        self.click_everywhere("ha-manager")

    def test_user_can_open_every_menu_view_and_filter(self):
        self.click_everywhere("ha-user-1")

    def test_every_form_opens_and_shows_its_record(self):
        records = [
            (self.instance, "Furnished Home"),
            (self.floor, "Ground"),
            (self.label, "Night"),
            (self.area, "Kitchen"),
            (self.device, "Ceiling Lamp"),
            (self.light, "Kitchen"),
            (self.gap, "sensor.power"),
            (self.events[-1], "refused the connection"),
        ]
        script = """
            for (const [model, id, wanted] of records) {
                await openForm(model, id);
                await until(
                    () =>
                        document.body.innerText.includes(wanted) ||
                        all(".o_form_view input").some((i) => i.value === wanted),
                    wanted
                );
            }
        """
        rows = [[record._name, record.id, wanted] for record, wanted in records]
        self.run_script("admin", script, records=rows)
        # A user has no business with the log, and sees all the rest.
        self.run_script("ha-user-1", script, records=rows[:-1])

    def test_banner_names_the_problem_while_typing_and_goes_when_all_is_well(self):
        self.run_script(
            "admin",
            """
            await openForm("ha.instance", broken);
            const banner = () =>
                all(".o_form_view .alert-danger")
                    .filter((node) => node.offsetParent)
                    .map((node) => node.innerText)
                    .join();
            await until(() => banner().includes("API URL is empty"), "banner");
            await type("api_url", "ha.local");
            await until(() => banner().includes("does not start with"), "scheme");
            await type("api_url", "http://ha.local");
            await until(() => !banner().includes("API URL"), "no banner");
            await type("api_token", "short");
            await until(() => banner().includes("too short"), "token");
            document.querySelector(".o_form_button_cancel").click();
            await until(() => !shown(".o_form_dirty"), "a clean form");
            """,
            broken=self.broken.id,
        )

    def test_stopped_connection_tells_how_to_start_it(self):
        self.set_status(self.instance, stop_requested=True)
        self.run_script(
            "admin",
            """
            await openForm("ha.instance", instance);
            const banner = () => all(".o_form_view .alert").find((n) => n.offsetParent);
            await until(() => banner()?.innerText.includes("Press Restart"), "remedy");
            const test = document.querySelector("[name=action_test_connection]");
            if (!test.dataset.tooltipInfo.includes("Saves what you have entered")) {
                throw new Error(test.dataset.tooltipInfo);
            }
            """,
            instance=self.instance.id,
        )

    def test_token_is_not_in_the_page(self):
        self.run_script(
            "admin",
            """
            await openForm("ha.instance", instance);
            const inputs = all(".o_form_view input");
            if (!inputs.length || inputs.some((input) => input.value.includes(token))) {
                throw new Error("the token is in the form");
            }
            const field = document.querySelector("[name=api_token] input");
            if (field.type !== "password") {
                throw new Error("the token would be readable while typing");
            }
            """,
            instance=self.instance.id,
            token=TOKEN,
        )

    def test_list_of_instances_has_a_badge_for_the_broken_one(self):
        self.run_script(
            "admin",
            """
            await openAction("odoo_ha_addon.ha_instance_action", "list");
            const row = await until(
                () => all(".o_data_row").find((r) => r.innerText.includes("Broken")),
                "the row"
            );
            await until(() => row.querySelector(".badge"), "a badge");
            if (!row.querySelector(".badge").innerText.includes("Incomplete")) {
                throw new Error(row.innerText);
            }
            if (!row.innerText.includes("API URL is empty")) {
                throw new Error(row.innerText);
            }
            """,
        )

    def test_test_connection_shows_what_is_wrong(self):
        self.run_script(
            "admin",
            """
            await openForm("ha.instance", broken);
            document.querySelector("button[name=action_test_connection]").click();
            await until(
                () => text(".o_notification").includes("API URL is empty"),
                "notification"
            );
            """,
            broken=self.broken.id,
        )

    def test_user_has_no_buttons_of_a_manager(self):
        self.run_script(
            "ha-user-1",
            """
            await openForm("ha.instance", instance);
            for (const name of ["action_test_connection", "action_restart_websocket"]) {
                if (shown(`button[name=${name}]`)) {
                    throw new Error(name);
                }
            }
            """,
            instance=self.instance.id,
        )

    def test_what_home_assistant_hides_is_hidden_by_default(self):
        self.run_script(
            "ha-user-1",
            """
            await openAction("odoo_ha_addon.ha_entity_action", "list");
            const rows = () => {
                all(".o_group_header:not(.o_group_open)").forEach((g) => g.click());
                return text(".o_data_row");
            };
            await until(() => rows().includes("Power"), "rows");
            await sleep(300);
            if (rows().includes("Secret")) {
                throw new Error("hidden by default, but shown: " + rows());
            }
            // They are not lost: without the filters they are there.
            while (all(".o_facet_remove").length) {
                all(".o_facet_remove")[0].click();
                await sleep(300);
            }
            for (const name of ["Rssi", "Set", "Hidden", "Gone"]) {
                await until(() => rows().includes("Secret " + name), name);
            }
            if (rows().includes("Secret Archived")) {
                throw new Error("archived, but shown");
            }
            """,
        )

    def test_button_on_a_card_switches_the_device(self):
        ha = self.enterContext(FakeHomeAssistant(token=TOKEN))
        ha.add_entity("light.kitchen", "off")
        self.instance.api_url = ha.url
        self.make_connected(self.instance)
        self.run_script(
            "ha-user-1",
            """
            await openAction("odoo_ha_addon.ha_entity_action", "kanban");
            const card = await until(
                () =>
                    all(".o_kanban_record").find(
                        (node) =>
                            node.innerText.includes("Kitchen") &&
                            node.querySelector("button[name=action_control]")
                    ),
                "the card with its button"
            );
            card.querySelector("button[name=action_control]").click();
            await until(() => text(".o_notification").includes("done"), "the answer");
            """,
        )
        self.assertEqual(
            [(c["service"], c["target"]) for c in ha.service_calls],
            [("turn_on", {"entity_id": "light.kitchen"})],
        )
