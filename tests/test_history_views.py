"""History, gaps and counters as people see them; the chart with a real server."""

from odoo.tests import tagged

from .common import wait_until
from .instance_case import InstanceCase
from .live_browser import DemoHomeCase

LIGHT, NUMBER, PLAYER = "light.bed_light", "number.volume", "media_player.bedroom"
SINCE = "2025-01-01 12:00:00"
PRELUDE = """
    performance.setResourceTimingBufferSize(10000);
    const requests = () =>
        performance
            .getEntriesByType("resource")
            .filter(({name}) => name.includes("/get_history_chart")).length;
    const figure = () => document.querySelector(".o_ha_history_figure");
    const chart = () => figure() && Chart.getChart(figure().querySelector("canvas"));
    const drawn = () => chart()?.data.datasets[0].data || [];
    const last = () => drawn().at(-1)?.state;
    const range = (name) =>
        document.querySelector(`.o_ha_history_chart [data-range=${name}]`);
    const notice = () =>
        document.querySelector(".o_ha_history_notice")?.innerText || "";
"""


@tagged("post_install", "-at_install")
class TestHistoryRecords(InstanceCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.instance = cls.make_instance()
        cls.door = cls.make_entity(
            cls.instance, "binary_sensor.door", device_class="door"
        )

    def make_gap(self, **values):
        ids = {"instance_id": self.instance.id, "reason": "disconnect"}
        return self.env["ha.history.gap"].create(
            {**ids, "state": "missing", "date_from": SINCE, **values}
        )

    def test_counters_are_those_of_the_status_row(self):
        self.assertEqual(self.instance.change_count, 0)
        self.set_status(self.instance, change_count=5e9, backfilled_count=12)
        self.assertEqual(self.instance.change_count, 5e9)
        self.assertEqual(self.instance.backfilled_count, 12)
        self.assertEqual(self.instance.coalesced_count, 0)
        new = self.env["ha.instance"].new({"name": "New"})
        self.assertEqual(new.change_count, 0)
        self.assertEqual(new.incomplete_gap_count, 0)

    def test_incomplete_gaps_are_counted(self):
        self.make_gap()
        self.make_gap(state="filled")
        self.make_gap(state="pending")
        self.assertEqual(self.instance.incomplete_gap_count, 1)

    def test_gap_says_what_became_of_it(self):
        gone = self.make_entity(self.instance, "light.archived", active=False)
        ids = [self.door.id, gone.id, 2**31 - 1]
        gap = self.make_gap(missing=dict.fromkeys(map(str, ids), 0), missing_count=3)
        self.assertIn("no complete record of 3 entities", gap.detail)
        self.assertEqual(gap.missing_entity_ids, self.door | gone)
        self.assertIn("My HA", gap.display_name)
        self.assertIn("2025", gap.display_name)
        empty = self.make_gap(cause="no_history")
        self.assertIn("keeps no history", empty.detail)
        self.assertFalse(empty.missing_entity_ids)
        for state in ("open", "pending", "filled"):
            self.assertTrue(self.make_gap(state=state).detail)

    def test_past_state_reads_as_the_present_one_does(self):
        row = self.env["ha.entity.history"].create(
            {
                "entity_id": self.door.id,
                "state": "on",
                "last_changed": SINCE,
                "source": "live",
            }
        )
        self.assertEqual(row.state_display, "Open")


@tagged("post_install", "-at_install")
class TestHistoryChart(DemoHomeCase):
    @classmethod
    def wait_home(cls):
        wait_until(lambda: cls.history(LIGHT), what="the first history")
        # While a gap is being filled, a chart is read again and again.
        cls.db.sql("UPDATE ha_history_gap SET state = 'filled'")

    @classmethod
    def history(cls, ha_entity_id):
        rows = cls.db.sql(
            "SELECT h.state FROM ha_entity_history h JOIN ha_entity e"
            " ON e.id = h.entity_id WHERE e.ha_entity_id = %s ORDER BY last_changed",
            (ha_entity_id,),
        )
        return [state for (state,) in rows]

    def run_script(self, script, **values):
        return self.browser.run(PRELUDE + script, **values)

    def open(self, ha_entity_id):
        self.run_script(
            "await openForm('ha.entity', id);"
            "await until(() => document.querySelector('.o_ha_history_chart'), 'it');",
            id=self.entity_id(ha_entity_id),
        )

    def change(self, *values):
        """Set the number; what is none makes it unavailable."""
        for value in values:
            before = len(self.history(NUMBER))
            if value is None:
                state = {"state": "unavailable"}
                self.ha.api("POST", f"/api/states/{NUMBER}", state)
            else:
                data = {"entity_id": NUMBER, "value": value}
                self.ha.api("POST", "/api/services/number/set_value", data)
            wait_until(
                lambda rows=before: len(self.history(NUMBER)) > rows,
                what=f"{value} in the history",
            )

    def test_texts_are_drawn_and_follow_without_a_request(self):
        for state in ("off", "on", "off", "on"):
            self.switch(LIGHT, state)
        wait_until(lambda: self.history(LIGHT)[-3:] == ["on", "off", "on"])
        self.open(LIGHT)
        self.run_script("await until(() => last() === 'on', 'the present state')")
        states = self.run_script("return drawn().map(({state}) => state)")
        self.assertEqual(states[-3:], ["on", "off", "on"])
        legend = self.run_script(
            "return document.querySelector('.o_ha_history_legend').innerText"
        )
        self.assertIn("Off", legend)
        # The first look at a page is read once more, when changes are followed.
        self.run_script("await sleep(7000)")
        before = self.run_script("return requests()")
        for state in ("off", "on", "off"):
            self.switch(LIGHT, state)
            self.run_script("await until(() => last() === state, state)", state=state)
        self.assertEqual(self.run_script("return requests()"), before)
        spans = self.run_script(
            """
            const x = () => chart().options.scales.x;
            const span = () => x().max - x().min;
            const day = span();
            range("week").click();
            await until(() => span() > day, "a week");
            await sleep(1000);
            return [day / 86400000, span() / 86400000];
            """
        )
        self.assertEqual(spans, [1, 7])
        self.assertEqual(self.run_script("return requests()"), before + 1)

    def test_line_breaks_where_there_is_no_number(self):
        self.change(10, 90, None, 20)
        self.open(NUMBER)
        values = self.run_script(
            "await until(() => drawn().some(({y}) => y === 20), 'the line');"
            "return drawn().map(({y}) => y);"
        )
        self.assertEqual(values[-6:], [10, 90, 90, None, 20, 20])
        label = self.run_script("return figure().getAttribute('aria-label')")
        self.assertIn("highest 90", label)
        spoken = self.run_script(
            """
            figure().focus();
            figure().dispatchEvent(new KeyboardEvent("keydown", {key: "End"}));
            const text = () =>
                document.querySelector(".o_ha_history_chart [aria-live]").innerText;
            return await until(text, "what is pointed at");
            """
        )
        self.assertTrue(spoken.startswith("20"), spoken)

    def test_gap_is_marked(self):
        self.db.sql(
            """
            INSERT INTO ha_history_gap (instance_id, reason, state, date_from, date_to,
                                        missing, missing_count, passes, row_count)
            SELECT instance_id, 'disconnect', 'missing',
                   now() AT TIME ZONE 'UTC' - interval '2 hours',
                   now() AT TIME ZONE 'UTC' - interval '1 hour',
                   jsonb_build_object(id, extract(epoch FROM now()) - 3600), 1, 3, 0
              FROM ha_entity WHERE ha_entity_id = %s
            """,
            (NUMBER,),
        )
        self.open(NUMBER)
        self.run_script(
            "await until(() => find('.o_ha_history_legend', 'Incomplete'), 'legend')"
        )
        hours = self.run_script(
            "return chart().data.areas.map(({from, to}) => (to - from) / 3600000)"
        )
        self.assertEqual([round(length, 3) for length in hours], [1])

    def test_nothing_is_read_before_it_is_seen(self):
        self.browser.resize(1366, 240)
        self.addCleanup(self.browser.resize, 1366, 768)
        before = self.run_script("return requests()")
        self.open(LIGHT)
        self.run_script("await sleep(2000)")
        self.assertEqual(self.run_script("return requests()"), before)
        self.run_script(
            "document.querySelector('.o_ha_history_chart').scrollIntoView();"
            "await until(() => drawn().length, 'the chart');"
        )

    def test_library_that_does_not_come_is_asked_for_again(self):
        self.run_script(
            """
            const {assets, AssetsLoadingError} =
                odoo.loader.modules.get("@web/core/assets");
            const {loadBundle} = assets;
            assets.loadBundle = () => {
                assets.loadBundle = loadBundle;
                return Promise.reject(new AssetsLoadingError("not made yet"));
            };
            """
        )
        self.open(LIGHT)
        self.run_script("await until(() => drawn().length, 'the chart')")

    def test_entity_without_history_says_how_to_get_one(self):
        self.open(PLAYER)
        self.run_script("await until(() => notice().includes('is not kept'), 'it')")
        self.assertFalse(self.run_script("return Boolean(figure())"))
        self.run_script(
            "document.querySelector('.o_ha_history_notice button').click();"
            "await until(() => !notice().includes('is not kept'), 'it');"
            # What Home Assistant has recorded comes by itself.
            "await until(() => drawn().length, 'a chart', 60);"
        )
        is_recorded = "SELECT is_recorded FROM ha_entity WHERE ha_entity_id = %s"
        self.assertTrue(self.db.value(is_recorded, (PLAYER,)))
