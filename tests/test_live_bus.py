"""What the writer tells browsers: when, how often, how much, and in what shape."""

import contextlib
import json
import logging
from unittest.mock import patch

import psycopg2

from odoo.sql_db import connection_info_for
from odoo.tests import TransactionCase, tagged

from ..ha_client.buffer import Batch, LinkReport
from ..ha_client.model import EntityState
from ..models.common.ingest import live_bus
from ..models.common.ingest.live_bus import CONNECTION, MAX_CHANGES, STATES, LiveBus
from .common import Database, LifecycleCase, wait_until

T0 = 1700000000.0


def state(entity_id, value, at=T0, **attributes):
    return EntityState(entity_id, value, attributes, at, at, None)


def batch(*states, **values):
    return Batch(states={item.entity_id: item for item in states}, **values)


@tagged("post_install", "-at_install")
class TestLiveBus(LifecycleCase):
    """On a database of its own, where this test is the writer."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.db = Database()
        cls.addClassCleanup(cls.db.drop)
        cls.instance_id = cls.db.value(
            "INSERT INTO ha_instance (name, active, entity_filter, history_mode)"
            " VALUES ('Home', TRUE, 'all', 'some') RETURNING id"
        )
        cls.db.sql(
            "INSERT INTO ha_entity (instance_id, ha_entity_id, domain, name, active)"
            " SELECT %s, 'light.l' || n, 'light', 'L', TRUE"
            " FROM generate_series(1, 600) AS n",
            (cls.instance_id,),
        )
        cls.db.sql("INSERT INTO ha_entity_state (id) SELECT id FROM ha_entity")
        cls.db.sql("UPDATE ha_entity SET live_id = id")

    def setUp(self):
        super().setUp()
        self.db.sql("DELETE FROM bus_bus")
        self.connection = self.db.connect()
        self.addCleanup(self.connection.close)
        self.now = 1000.0
        self.enterContext(patch.object(live_bus.time, "monotonic", lambda: self.now))
        self.bus = LiveBus(self.db.name)
        self.addCleanup(self.bus.close)

    def watch(self):
        """Somebody watches, and has been told to read."""
        self.bus.watched(self.instance_id, 75)
        self.flush()
        self.now += 1
        self.db.sql("DELETE FROM bus_bus")

    def bring(self, *states):
        """Bring states into the database as the writer does, and tell the bus."""
        for item in states:
            self.db.sql(
                "UPDATE ha_entity_state s SET state = %s, last_changed ="
                " to_timestamp(%s) AT TIME ZONE 'UTC', last_updated ="
                " to_timestamp(%s) AT TIME ZONE 'UTC' FROM ha_entity e"
                " WHERE e.live_id = s.id AND e.ha_entity_id = %s",
                (item.state, item.last_changed, item.last_updated, item.entity_id),
            )
        self.bus.committed(self.instance_id, batch(*states))

    def flush(self):
        self.bus.flush(self.connection)

    def sent(self):
        """The notifications in the table: (type, payload)."""
        rows = self.db.sql("SELECT message FROM bus_bus ORDER BY id")
        messages = [json.loads(message) for (message,) in rows]
        return [(message["type"], message["payload"]) for message in messages]

    def changes(self):
        """The changes of the only notification."""
        [(kind, payload)] = self.sent()
        self.assertEqual(kind, STATES)
        self.assertEqual(payload["instance_id"], self.instance_id)
        return payload["changes"]

    def test_nothing_is_sent_or_kept_while_nobody_watches(self):
        self.bring(state("light.l1", "on"))
        self.bus.committed(self.instance_id, Batch(full=True))
        self.flush()
        self.bus.watched(self.instance_id, -3)
        self.bring(state("light.l1", "off"))
        self.flush()
        self.assertEqual(self.sent(), [])
        self.assertGreater(self.bus.due_in(), 60)

    def test_who_begins_to_watch_is_told_to_read_once(self):
        self.bus.watched(self.instance_id, 75)
        self.flush()
        self.bus.watched(self.instance_id, 70)
        self.now += 1
        self.flush()
        [(_kind, payload)] = self.sent()
        expected = {"instance_id": self.instance_id, "refetch": True, "records": True}
        self.assertEqual(payload, expected)

    def test_who_begins_to_watch_gets_the_first_change_at_once(self):
        self.bus.watched(self.instance_id, 75)
        self.bring(state("light.l1", "on"))
        self.flush()
        [(_kind, first), (_kind, second)] = self.sent()
        self.assertEqual(first["changes"][0]["state"], "on")
        self.assertTrue(second["refetch"])

    def test_it_ends_when_nobody_renews(self):
        self.watch()
        self.now += 76
        self.bring(state("light.l1", "on"))
        self.flush()
        self.assertEqual(self.sent(), [])

    def test_a_change_carries_what_changed_and_nothing_else(self):
        self.watch()
        self.bring(state("light.l1", "off", brightness=1))
        self.flush()
        [first] = self.changes()
        self.assertEqual(
            first,
            {
                "id": self.db.value(
                    "SELECT id FROM ha_entity WHERE ha_entity_id = 'light.l1'"
                ),
                "state": "off",
                "state_number": 0,
                "is_numeric": False,
                "available": True,
                "last_changed": "2023-11-14 22:13:20",
                "last_updated": "2023-11-14 22:13:20",
                "attributes_changed": True,
            },
        )
        self.db.sql("DELETE FROM bus_bus")
        self.now += 1
        later = state("light.l1", "off", brightness=1)._replace(last_updated=T0 + 60)
        self.bring(later)
        self.flush()
        [second] = self.changes()
        self.assertEqual(set(second), {"id", "last_updated"})
        self.now += 1
        self.bring(later)
        self.flush()
        self.assertEqual(len(self.sent()), 1, "told of what did not change")

    def test_at_most_four_a_second_and_the_newest_value_wins(self):
        self.watch()
        for number in range(100):
            self.bring(state("light.l1", str(number), T0 + number))
            self.flush()
            self.now += 0.05
        self.now += 1
        self.flush()
        payloads = [payload for _kind, payload in self.sent()]
        self.assertLessEqual(len(payloads), 5 * 4 + 2)
        self.assertGreaterEqual(len(payloads), 15)
        self.assertEqual(payloads[-1]["changes"][0]["state"], "99")

    def test_the_writer_is_told_when_the_rest_is_due(self):
        self.watch()
        self.bring(state("light.l1", "a"))
        self.flush()
        self.bring(state("light.l1", "b", T0 + 1))
        self.assertAlmostEqual(self.bus.due_in(), live_bus.MIN_INTERVAL_S)

    def test_there_and_back_between_two_notifications_is_told(self):
        # A view that was read in between shows the value in the middle.
        self.watch()
        self.bring(state("light.l1", "on"))
        self.flush()
        self.db.sql("DELETE FROM bus_bus")
        self.bring(state("light.l1", "off", T0 + 1))
        self.bring(state("light.l1", "on", T0 + 2))
        self.now += 1
        self.flush()
        [change] = self.changes()
        self.assertEqual(change["state"], "on")

    def test_above_500_changes_it_says_read_again(self):
        self.watch()
        names = [f"light.l{n}" for n in range(1, MAX_CHANGES + 2)]
        self.bus.committed(
            self.instance_id, batch(*(state(name, "on") for name in names[:-1]))
        )
        self.flush()
        self.assertEqual(len(self.changes()), MAX_CHANGES)
        self.db.sql("DELETE FROM bus_bus")
        self.now += 1
        for name in names:
            self.bus.committed(self.instance_id, batch(state(name, "off")))
        self.flush()
        [(_kind, payload)] = self.sent()
        self.assertEqual(payload["refetch"], True)
        self.assertNotIn("changes", payload)

    def test_too_long_a_notification_becomes_read_again(self):
        self.watch()
        self.bring(state("light.l1", "x" * live_bus.MAX_LENGTH))
        self.flush()
        [(_kind, payload)] = self.sent()
        self.assertTrue(payload["refetch"])

    def test_other_records_are_told_as_such(self):
        for news in (Batch(full=True), Batch(removed={"light.l1"})):
            with self.subTest(news):
                self.watch()
                self.bus.committed(self.instance_id, news)
                self.flush()
                [(_kind, payload)] = self.sent()
                self.assertTrue(payload["refetch"] and payload["records"])

    def test_the_connection_is_told_with_its_state(self):
        self.watch()
        self.bus.committed(
            self.instance_id, Batch(report=LinkReport("waiting", "refused"))
        )
        self.flush()
        expected = {"instance_id": self.instance_id, "state": "waiting"}
        self.assertEqual(self.sent(), [(CONNECTION, expected)])

    def test_own_rows_are_pruned_and_no_others(self):
        self.watch()
        self.bring(state("light.l1", "on"))
        self.flush()
        self.db.sql("INSERT INTO bus_bus (channel, message) VALUES ('\"x\"', '{}')")
        self.now += live_bus.RETENTION_S + live_bus.PRUNE_INTERVAL_S
        self.flush()
        self.assertEqual(self.db.sql("SELECT channel FROM bus_bus"), [('"x"',)])

    def test_a_locked_bus_harms_nobody_and_is_made_up_for(self):
        self.watch()
        blocker = self.db.connect()
        self.addCleanup(blocker.close)
        with blocker.cursor() as cr:
            cr.execute("LOCK TABLE bus_bus")
        self.bring(state("light.l1", "on"))
        with self.assertLogs(live_bus.__name__, logging.WARNING) as logs:
            self.flush()
            self.now += live_bus.RETRY_PAUSE_S
            self.flush()
        self.assertEqual(len(logs.output), 1, logs.output)
        blocker.rollback()
        self.now += live_bus.RETRY_PAUSE_S
        self.flush()
        [(_kind, payload)] = self.sent()
        self.assertTrue(payload["refetch"])

    def test_a_lost_connection_is_the_writers_to_mend(self):
        self.watch()
        self.bring(state("light.l1", "on"))
        self.connection.close()
        with self.assertLogs(live_bus.__name__, logging.WARNING):
            self.flush()
        self.connection = self.db.connect()
        self.now += live_bus.RETRY_PAUSE_S
        self.flush()
        self.assertEqual(len(self.sent()), 1)

    @contextlib.contextmanager
    def listener(self):
        """What Odoo processes hear on database postgres."""
        heard = []
        connection = psycopg2.connect(**connection_info_for("postgres")[1])
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cr:
            cr.execute("LISTEN imbus")

            def listen():
                connection.poll()
                heard.extend(json.loads(n.payload) for n in connection.notifies)
                connection.notifies.clear()
                return [c for c in heard for c in c if c[0] == self.db.name]

            yield listen

    def test_processes_are_notified_over_one_connection_kept_for_a_while(self):
        with self.listener() as heard:
            self.watch()
            for number in range(5):
                self.bring(state("light.l1", str(number), T0 + number))
                self.flush()
                self.now += 1
            channel = [self.db.name, "ha.instance", self.instance_id]
            wait_until(lambda: len(heard()) == 6, what="six notifications")
            self.assertEqual(heard(), [channel] * 6)
            self.assertIsNotNone(self.bus._notifier._connection)
            self.now += live_bus.NOTIFY_IDLE_S + 1
            self.flush()
            self.assertIsNone(self.bus._notifier._connection)

    def test_a_broken_notification_is_logged_once_and_comes_back(self):
        with self.listener() as heard:
            self.watch()
            self.bus.cut()
            with self.assertLogs(live_bus.__name__, logging.WARNING) as logs:
                for number in range(3):
                    self.bring(state("light.l1", str(number), T0 + number))
                    self.flush()
                    self.now += 1
            self.assertEqual(len(logs.output), 1, logs.output)
            self.assertEqual(len(self.sent()), 3, "the rows must be there all the same")
            self.now += live_bus.RETRY_PAUSE_S
            self.bring(state("light.l1", "on", T0 + 9))
            self.flush()
            wait_until(lambda: len(heard()) == 2, what="the second notification")


@tagged("post_install", "-at_install")
class TestShape(TransactionCase):
    def test_rows_are_as_odoo_itself_makes_them(self):
        instance = self.env["ha.instance"].create({"name": "Home"})
        payload = {"instance_id": instance.id, "refetch": True, "records": True}
        self.env["bus.bus"]._sendone(instance, STATES, payload)
        self.env.cr.precommit.run()
        self.env.cr.postcommit.clear()
        self.env.cr.execute(
            "SELECT channel, message FROM bus_bus ORDER BY id DESC LIMIT 1"
        )
        [theirs] = self.env.cr.fetchall()
        connection = psycopg2.connect(**connection_info_for(self.env.cr.dbname)[1])
        bus = LiveBus(self.env.cr.dbname)
        self.addCleanup(connection.close)
        self.addCleanup(bus.close)
        bus.watched(instance.id, 75)
        bus.flush(connection)
        with connection, connection.cursor() as cr:
            # Committed, but of an instance that only this test has seen.
            cr.execute(
                "DELETE FROM bus_bus WHERE channel = %s RETURNING channel, message",
                (theirs[0],),
            )
            self.assertEqual(cr.fetchall(), [theirs])
