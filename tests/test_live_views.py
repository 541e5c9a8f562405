"""What an open browser shows follows the real Home Assistant, by itself."""

import signal

from odoo.tests import tagged

from .common import wait_until
from .live_browser import DemoHomeCase

LIGHT = "light.bed_light"
# Makes a function "shown" of the state in the row or card of an entity.
SHOWN = """
    const shown = () =>
        find(selector, "Bed Light")?.querySelector(
            "[name=state_display], .o_ha_state"
        )?.innerText;
"""


@tagged("post_install", "-at_install")
class TestLiveViews(DemoHomeCase):
    @classmethod
    def wait_home(cls):
        wait_until(lambda: LIGHT in cls.states(), what="the first states")
        cls.light_id = cls.entity_id(LIGHT)

    @classmethod
    def states(cls):
        return cls.states_in_odoo(cls, cls.db)

    def setUp(self):
        super().setUp()
        self.switch(LIGHT, "off")

    def see(self, text, selector=".o_data_row", what=SHOWN):
        self.browser.run(
            f"{what} await until(() => shown() === text, text + ' in ' + selector);",
            selector=selector,
            text=text,
        )

    def open(self, view, selector, **options):
        self.browser.run(
            "await open('odoo_ha_addon.ha_entity_action', {viewType: view});"
            "await until(() => find(selector, 'Bed Light'), 'the view');",
            view=view,
            selector=selector,
            **options,
        )

    def follow(self, selector):
        """Switch some times and see each in the view, without reading again."""
        for state in ("on", "off"):
            self.switch(LIGHT, state)
            self.see(state.title(), selector)
        # Coming back to a live view reads it once more within seconds.
        self.browser.run("await sleep(7000)")
        before = self.browser.run("return reads()")
        for state in ("on", "off", "on", "off", "on"):
            self.switch(LIGHT, state)
            self.see(state.title(), selector)
        self.assertEqual(self.browser.run("return reads()"), before)

    def test_list_changes_in_place(self):
        self.open("list", ".o_data_row")
        self.follow(".o_data_row")

    def test_kanban_changes_in_place(self):
        self.open("kanban", ".o_kanban_record")
        self.follow(".o_kanban_record")

    def test_form_changes_in_place_and_keeps_what_is_being_typed(self):
        self.browser.run("await openForm('ha.entity', id)", id=self.light_id)
        self.see("Off", ".o_form_sheet")
        self.browser.run(
            "document.querySelector('[name=custom_name] input').focus()",
        )
        self.browser.type("Lamp ")
        self.switch(LIGHT, "on")
        self.see("On", ".o_form_sheet")
        value = "document.activeElement.value"
        self.assertEqual(self.browser.run(f"return {value}"), "Lamp ")
        self.browser.type("of mine")
        self.switch(LIGHT, "off")
        self.see("Off", ".o_form_sheet")
        self.assertEqual(self.browser.run(f"return {value}"), "Lamp of mine")
        self.browser.run(
            "document.querySelector('.o_form_button_save').click();"
            "await until(() => find('.o_form_sheet h1', 'Lamp of mine'), 'saved');"
        )
        # The title shows it already while it is being saved.
        query = "SELECT custom_name FROM ha_entity WHERE id = %s"
        wait_until(
            lambda: self.db.value(query, (self.light_id,)) == "Lamp of mine",
            what="the name in the database",
        )
        self.db.sql(
            "UPDATE ha_entity SET custom_name = NULL WHERE id = %s", (self.light_id,)
        )

    def test_attributes_on_the_form_follow(self):
        self.switch(LIGHT, "on")
        self.browser.run(
            "await openForm('ha.entity', id); find('.nav-link', 'Attributes').click()",
            id=self.light_id,
        )
        for brightness in (50, 210):
            self.ha.api(
                "POST",
                "/api/services/light/turn_on",
                {"entity_id": LIGHT, "brightness": brightness},
            )
            # Other rows have numbers with the same digits.
            self.browser.run(
                "const shown = () => find('.o_ha_attributes tr', 'Brightness')"
                "?.querySelector('td').innerText;"
                "await until(() => shown() === text, text);",
                text=str(brightness),
            )

    def test_it_catches_up_after_the_bus_was_away(self):
        self.open("list", ".o_data_row")
        self.switch(LIGHT, "on")
        self.see("On")
        self.browser.run(
            "const {bus_service: bus} = services;"
            "const gone = new Promise((resolve) =>"
            " bus.addEventListener('BUS:DISCONNECT', resolve, {once: true}));"
            "window.dispatchEvent(new Event('offline'));"
            "await gone;"
        )
        self.switch(LIGHT, "off")
        self.wait_in_odoo("off")
        self.browser.run("await sleep(1000)")
        self.see("On")
        self.browser.run("window.dispatchEvent(new Event('online'))")
        self.see("Off")
        self.switch(LIGHT, "on")
        self.see("On")

    def wait_in_odoo(self, state):
        wait_until(lambda: self.states()[LIGHT] == state, what=f"{state} in Odoo")

    def test_instance_form_shows_an_outage_and_its_end(self):
        self.browser.run("await openForm('ha.instance', id)", id=self.instance_id)
        shown = (
            "const shown = () => document.querySelector("
            "'.o_statusbar_buttons ~ [name=connection_state], [name=connection_state]'"
            ").innerText;"
        )
        self.see("Connected", what=shown)
        self.ha.stop()
        self.browser.run(
            f"{shown} await until(() => shown() === 'Waiting to Reconnect', 'outage')"
        )
        self.ha.start()
        self.browser.run(
            f"{shown} await until(() => shown() === 'Connected', 'the end', 90)",
            timeout=120,
        )

    def see_cards(self, grey, line):
        """Wait until cards are grey or not, with a line above them or without."""
        self.browser.run(
            """
            const card = () => find(".o_kanban_record", "Bed Light");
            const isGrey = () =>
                Boolean(card().querySelector("main.opacity-50")) &&
                !card().querySelector("button[name=action_control]");
            const line = () =>
                document.querySelector(".o_ha_connection_notice")?.innerText || "";
            const isAsked = () =>
                isGrey() === grey && (text ? line().includes(text) : !line());
            await until(() => card() && isAsked(), `grey ${grey}: ${text}`, 90);
            """,
            timeout=120,
            grey=grey,
            text=line,
        )

    def test_cards_say_why_they_grey_out(self):
        self.open("kanban", ".o_kanban_record")
        self.see_cards(grey=False, line="")
        self.ha.stop()
        self.see_cards(grey=True, line="Demo Home")
        self.ha.start()
        self.see_cards(grey=False, line="")

    def test_cards_grey_out_when_odoo_is_gone_and_come_back(self):
        self.open("kanban", ".o_kanban_record")
        self.see_cards(grey=False, line="")
        self.odoo.signal(signal.SIGKILL)
        self.odoo.wait()
        self.see_cards(grey=True, line="Odoo's server does not answer")
        self.odoo.start()
        self.see_cards(grey=False, line="")
        self.switch(LIGHT, "on")
        self.see("On", ".o_kanban_record")

    def test_texts_are_those_of_the_server(self):
        different = self.browser.run(
            """
            const {stateText} = odoo.loader.modules.get(
                "@odoo_ha_addon/live/state_text.esm"
            );
            const tables = await services.orm.call("ha.entity", "get_state_texts", []);
            const names = ["domain", "device_class", "unit", "state", "is_numeric"];
            const rows = await services.orm.searchRead(
                "ha.entity", [], [...names, "attributes", "state_display"]
            );
            if (rows.length < 90) {
                throw new Error("only " + rows.length);
            }
            return rows
                .map((row) => [row.state_display, stateText(row, tables), row.state])
                .filter(([server, browser]) => server !== browser);
            """
        )
        self.assertEqual(different, [])
