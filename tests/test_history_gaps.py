"""Gaps in the history: opened, fetched, resumed, or marked."""

import os
import signal
import time

from odoo.tests import tagged

from .common import SHORT_WAITS, LifecycleCase
from .common import wait_until as wait
from .fake_ha import FakeHomeAssistant

PATIENCE_S = 150
ENTITIES = [f"sensor.number_{n}" for n in range(20)]


@tagged("post_install", "-at_install")
class TestHistoryGaps(LifecycleCase):
    def setUp(self):
        super().setUp()
        self.ha = FakeHomeAssistant().start()
        self.addCleanup(self.ha.stop)
        for entity_id in ENTITIES:
            self.ha.add_entity(entity_id, "0")
        self.db = self.database()
        self.instance_id = self.add_instance(self.db, self.ha, history_mode="all")

    def launch(self, *more):
        addons, load = SHORT_WAITS
        return self.server("-d", self.db.name, addons, ",".join([load, *more]))

    def start(self, *more):
        odoo = self.launch(*more)
        self.wait_connected()
        return odoo

    def wait_connected(self):
        self.wait_state(self.db, self.instance_id, "connected")

    def history(self):
        """What Odoo keeps: (time, state) in order, by entity."""
        result = {}
        for entity_id, at, state in self.db.sql(
            "SELECT e.ha_entity_id, extract(epoch FROM h.last_changed)::float8, h.state"
            " FROM ha_entity_history h JOIN ha_entity e ON e.id = h.entity_id"
            " ORDER BY e.ha_entity_id, h.last_changed"
        ):
            result.setdefault(entity_id, []).append((round(at, 6), state))
        return result

    def recorded(self):
        """The same, as Home Assistant's recorder has it."""
        return {
            entity_id: [(round(row["lu"], 6), row["s"]) for row in rows]
            for entity_id, rows in self.ha.history.items()
        }

    def wait_equal(self):
        try:
            wait(lambda: self.history() == self.recorded(), PATIENCE_S)
        except AssertionError:
            here, there = self.history(), self.recorded()
            for entity_id in ENTITIES:
                self.assertEqual(here.get(entity_id), there.get(entity_id), entity_id)
            raise

    def gaps(self, *columns):
        return self.db.sql(
            f"SELECT {', '.join(columns)} FROM ha_history_gap ORDER BY date_from, id"
        )

    def wait_finished(self):
        wait(
            lambda: all(
                state not in ("open", "pending") for (state,) in self.gaps("state")
            ),
            PATIENCE_S,
            "the end of fetching",
        )

    def states_are_exact(self):
        return self.states_in_odoo(self.db) == {
            entity_id: state["s"] for entity_id, state in self.ha.states.items()
        }

    def counts(self):
        names = ("change", "coalesced", "dropped", "recorded", "backfilled")
        columns = ", ".join(f"coalesce({name}_count, 0)" for name in names)
        [row] = self.db.sql(f"SELECT {columns} FROM ha_instance_status")
        return dict(zip(names, row, strict=True))

    def change_all(self, rounds, base=0):
        for number in range(rounds):
            self.ha.set_states([(eid, str(base + number + 1)) for eid in ENTITIES])

    # --------------------------------------------------------------------------

    def test_odoo_was_down(self):
        odoo = self.start()
        self.change_all(3)
        self.wait_equal()
        odoo.process.send_signal(signal.SIGTERM)
        odoo.wait()
        self.change_all(50, base=100)
        self.start()
        self.wait_equal()
        self.wait_finished()
        self.assertEqual(
            [row[:2] for row in self.gaps("reason", "state")],
            [("first", "filled"), ("disconnect", "filled")],
        )
        fetched = self.db.value(
            "SELECT row_count FROM ha_history_gap WHERE reason = 'disconnect'"
        )
        # The present state came live, all others were fetched.
        self.assertEqual(fetched, 49 * len(ENTITIES))
        wait(
            lambda: (
                self.db.value("SELECT backfilled_count FROM ha_instance_status")
                >= fetched
            ),
            what="the count on the instance",
        )

    def test_a_quiet_home_leaves_no_gap(self):
        self.start()
        self.wait_finished()
        self.ha.drop_connections()
        wait(lambda: self.ha.total_connections == 2, what="a new connection")
        self.wait_connected()
        self.assertEqual(len(self.gaps("id")), 1, "only the first")

    def test_what_home_assistant_does_not_record_is_marked(self):
        self.ha.unrecorded = {"sensor.number_3"}
        self.ha.history.pop("sensor.number_3")
        self.start()
        self.change_all(2)
        wait(lambda: len(self.history().get("sensor.number_3", [])) == 3)
        self.ha.stop()
        wait(lambda: self.link_state(self.db, self.instance_id) == "waiting")
        self.ha.states["sensor.number_5"]["lc"] -= 0.5  # it stays as it was
        self.change_all(5, base=50)
        self.ha.start()
        self.wait_connected()
        self.wait_finished()
        [(state, cause, count, missing)] = self.db.sql(
            "SELECT state, cause, missing_count, missing FROM ha_history_gap"
            " WHERE reason = 'disconnect'"
        )
        self.assertEqual((state, cause, count), ("missing", "not_recorded", 1))
        entity = self.db.value(
            "SELECT id FROM ha_entity WHERE ha_entity_id = 'sensor.number_3'"
        )
        self.assertEqual(list(missing), [str(entity)])
        here, there = self.history(), self.recorded()
        for entity_id in there:
            self.assertEqual(here[entity_id], there[entity_id])
        self.assertEqual(here["sensor.number_3"][-1][1], "55", "what is known stays")

    def test_what_home_assistant_has_purged_is_marked(self):
        odoo = self.start()
        self.change_all(2)
        self.wait_equal()
        odoo.process.send_signal(signal.SIGTERM)
        odoo.wait()
        self.change_all(10, base=20)
        for rows in self.ha.history.values():
            del rows[:7]
        self.start()
        self.wait_finished()
        [(state, missing)] = self.db.sql(
            "SELECT state, missing FROM ha_history_gap WHERE reason = 'disconnect'"
        )
        self.assertEqual((state, len(missing)), ("missing", len(ENTITIES)))
        firsts = {round(rows[0]["lu"], 6) for rows in self.ha.history.values()}
        for until in missing.values():
            self.assertIn(until, firsts, "from there on it is complete")

    def test_no_recorder_at_all(self):
        self.ha.refused_commands = {
            "history/history_during_period": "unknown_command",
            "recorder/list_statistic_ids": "unknown_command",
        }
        odoo = self.start()
        self.wait_finished()
        self.assertEqual(self.gaps("state", "cause"), [("missing", "no_history")])
        self.assertIn("has no history", odoo.log)
        self.assertNotIn("Traceback", odoo.log)

    def test_fetching_goes_on_where_it_was_killed(self):
        odoo = self.start()
        self.wait_equal()
        self.wait_finished()
        odoo.process.send_signal(signal.SIGTERM)
        odoo.wait()
        self.change_all(200, base=20)
        # Spread over days, so that it takes several requests.
        now = time.time()
        for rows in self.ha.history.values():
            for number, row in enumerate(rows[1:-1]):
                row["lu"] = now - 86400 + 300 * number
        for state in self.ha.states.values():
            state["lc"] = now
        for rows in self.ha.history.values():
            rows[0]["lu"] = now - 90000
            rows[-1]["lu"] = now
        self.db.sql(
            "UPDATE ha_entity_state SET last_updated = to_timestamp(%s) AT TIME ZONE"
            " 'UTC', last_changed = to_timestamp(%s) AT TIME ZONE 'UTC'",
            (now - 90000, now - 90000),
        )
        self.db.sql(
            "UPDATE ha_entity_history SET last_changed ="
            " to_timestamp(%s) AT TIME ZONE 'UTC'",
            (now - 90000,),
        )
        self.ha.answer_delay = 0.3
        odoo = self.launch()
        wait(
            lambda: self.db.value(
                "SELECT cursor -> 'at' FROM ha_history_gap WHERE reason = 'disconnect'"
            ),
            what="the first slices",
        )
        before = self.db.value(
            "SELECT (cursor ->> 'at')::float8 FROM ha_history_gap"
            " WHERE reason = 'disconnect'"
        )
        os.kill(odoo.process.pid, signal.SIGKILL)
        odoo.wait()
        asked = len(self.ha.history_requests)
        self.launch()
        self.wait_equal()
        firsts = [start for start in self.ha.history_requests[asked:]]
        self.assertGreaterEqual(min(firsts) + 1, before, "not from the beginning")
        self.wait_finished()
        self.assertEqual(self.history(), self.recorded())

    def test_the_database_is_stalled_during_a_flood(self):
        """Final states exact, history complete, Home Assistant never cuts us off."""
        self.start()
        self.wait_finished()
        wait(lambda: self.counts()["change"] == len(ENTITIES), what="the first counts")
        before = self.counts()
        lock = self.db.connect()
        self.addCleanup(lock.close)
        with lock.cursor() as cr:
            cr.execute("LOCK TABLE ha_entity_history IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            number = 0
            # More than there is room for, for as long as the table is locked.
            while number < 2500 or time.monotonic() - began < 12:
                number += 1
                self.ha.set_states([(eid, str(number)) for eid in ENTITIES])
        lock.rollback()
        self.assertEqual(self.ha.total_connections, 1, "never cut off")

        wait(self.states_are_exact, what="the final states")
        self.wait_finished()
        self.wait_equal()
        self.assertIn("overload", {reason for (reason,) in self.gaps("reason")})
        sent = number * len(ENTITIES)

        def counted():
            found = {name: n - before[name] for name, n in self.counts().items()}
            return found["backfilled"] >= found["dropped"] > 1000 and found

        found = wait(counted, what="the counts")
        # On a machine that is busy otherwise, not all of it is received.
        self.assertLessEqual(found["change"], sent)
        self.assertEqual(found["recorded"] + found["backfilled"], sent)
        self.assertGreater(found["coalesced"], 1000)

    def test_more_comes_than_can_be_received(self):
        """Home Assistant is asked for less, before it would cut us off."""
        odoo = self.start("oha_slow_receiver")
        self.wait_finished()
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < 6:  # some ten times as fast as it can be taken
            number += 1
            self.ha.set_states([(eid, str(number)) for eid in ENTITIES])
            time.sleep(0.002)
        wait(self.states_are_exact, what="the final states")
        self.assertGreater(self.ha.commands["unsubscribe_events"], 0)
        self.wait_finished()
        self.wait_equal()
        self.assertEqual(self.ha.total_connections, 1, "never cut off")
        self.assertIn("overload", {reason for (reason,) in self.gaps("reason")})
        self.assertGreater(self.counts()["backfilled"], number)
        told = odoo.log.count("more changes came than could be written")
        self.assertEqual(told, 1, "told once in a flood")
