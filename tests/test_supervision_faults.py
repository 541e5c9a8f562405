"""What goes wrong is shown truly, heals by itself, and is logged once."""

import os
import signal
import time

import psycopg2

from odoo.tests import tagged

from .common import (
    ADDON,
    TEMPLATE_VARIABLE,
    Database,
    LifecycleCase,
    require_environment,
    wait_until,
)
from .fake_ha import FakeHomeAssistant
from .own_postgres import USER, OwnPostgres

# The promises (40 and 15 s) with a margin for a busy machine.
HALF_OPEN_LIMIT_S = 60
LEASE_LIMIT_S = 30


class FaultCase(LifecycleCase):
    def setUp(self):
        super().setUp()
        self.ha = FakeHomeAssistant()
        self.ha.add_entity("light.kitchen", "off", registry_id="r1")
        self.ha.add_entity("sensor.hall", "20", registry_id="r2")
        self.enterContext(self.ha)

    def connect(self, *arguments):
        self.db = self.database()
        self.id = self.add_instance(self.db, self.ha)
        self.odoo = self.server("-d", self.db.name, *arguments)
        self.wait_state(self.db, self.id, "connected")

    def assertAgrees(self, limit=30):
        """Odoo has exactly what Home Assistant has."""
        wait_until(
            lambda: (
                self.states_in_odoo(self.db)
                == {entity_id: row["s"] for entity_id, row in self.ha.states.items()}
            ),
            limit,
            "agreement with Home Assistant",
        )

    def lines_with(self, text):
        return [line for line in self.odoo.log.splitlines() if text in line]


@tagged("post_install", "-at_install")
class TestHomeAssistantFaults(FaultCase):
    def test_home_assistant_goes_and_returns_with_other_entities(self):
        self.connect()
        port = self.ha.port
        self.ha.stop()
        self.assertShown("waiting", "refused")
        time.sleep(8)
        self.assertEqual(len(self.lines_with("is down")), 1)
        self.ha.remove_entity("sensor.hall")
        self.ha.add_entity("switch.pump", "on", registry_id="r3")
        self.ha.set_state("light.kitchen", "on")
        self.ha.port = port
        self.ha.start()
        self.wait_state(self.db, self.id, "connected")
        self.assertAgrees()
        removed = "SELECT ha_entity_id FROM ha_entity WHERE removed_in_ha"
        self.assertEqual(self.db.value(removed), "sensor.hall")
        self.assertEqual(len(self.lines_with("failed attempts")), 1)
        self.assertEqual(self.ha.most_connections, 1)

    def test_cut_closed_and_garbage(self):
        self.connect()
        for fault, cause in (
            (self.ha.drop_connections, "connection_lost"),
            (lambda: self.ha.close_connections(1000), "connection_lost"),
            (lambda: self.ha.send_text("{not json"), "protocol"),
            (lambda: self.ha.send_bytes(b"\x81\x05hello"), "protocol"),
        ):
            connections = self.ha.total_connections
            fault()
            wait_until(lambda n=connections: self.ha.total_connections > n)
            self.wait_state(self.db, self.id, "connected")
            causes = self.db.sql(
                "SELECT cause FROM ha_connection_event WHERE kind = 'disconnect'"
                " ORDER BY id DESC LIMIT 1"
            )
            self.assertEqual(causes, [(cause,)])
            self.ha.set_state("light.kitchen", str(connections))
            self.assertAgrees()
        self.assertNotIn("Traceback", self.odoo.log)
        self.assertEqual(self.ha.most_connections, 1)

    def test_revoked_token_stops_retrying_until_somebody_acts(self):
        self.connect()
        token, self.ha.token = self.ha.token, "another-token-0123456789"
        self.ha.drop_connections()
        self.assertShown("auth_failed", "token_rejected")
        attempts = self.ha.auth_attempts
        time.sleep(4)
        self.odoo.stop()
        self.odoo = self.server("-d", self.db.name)
        self.odoo.wait_log("Found 1 active instance")
        time.sleep(4)
        self.assertEqual(self.ha.auth_attempts, attempts, "retried by itself")
        self.assertShown("auth_failed", "token_rejected")
        self.ha.token = token
        self.odoo.wait_http()
        self.odoo.execute(
            self.db.name, "ha.instance", "action_restart_websocket", [self.id]
        )
        self.wait_state(self.db, self.id, "connected")

    def test_banned(self):
        self.ha.banned = True
        self.db = self.database()
        self.id = self.add_instance(self.db, self.ha)
        self.odoo = self.server("-d", self.db.name)
        self.assertShown("auth_failed", "banned", 30)
        time.sleep(3)
        self.assertEqual(len(self.ha.requests), 1)

    def test_home_assistant_is_starting(self):
        self.connect()
        self.ha.state = "STARTING"
        del self.ha.states["sensor.hall"]
        self.ha.drop_connections()
        self.assertShown("syncing", "starting")
        time.sleep(1)
        self.assertEqual(
            self.db.value("SELECT count(*) FROM ha_entity WHERE removed_in_ha"), 0
        )
        self.ha.add_entity("sensor.hall", "20")
        self.ha.set_running()
        self.wait_state(self.db, self.id, "connected")
        self.assertAgrees()

    def test_half_open_connection(self):
        self.connect()
        self.ha.silent = True  # the socket stays open, nothing comes any more
        self.assertShown("waiting", "no_answer", HALF_OPEN_LIMIT_S)
        self.ha.set_state("light.kitchen", "on")
        self.ha.silent = False
        self.wait_state(self.db, self.id, "connected")
        self.assertAgrees()

    def test_bug_in_the_thread(self):
        """And a post_load that Odoo never called."""
        self.connect(*self.loading("oha_fault_injection"))
        self.assertNotIn("[post_load_hook]", self.odoo.log)
        self.ha.add_entity("sensor.poison", "1", registry_id="r9")
        self.assertShown("waiting", "crashed")
        self.odoo.wait_log(
            "WARNING .*Instance My HA WebSocket stopped\\. Restarting\\.\\.\\."
            f" instance_id={self.id}"
        )
        self.odoo.wait_log("Traceback")
        time.sleep(10)
        self.assertIn(
            self.ha.total_connections, range(3, 10), "no attempts, or no pause"
        )
        # The same bug again is no news.
        self.assertEqual(len(self.lines_with("Traceback")), 1)
        self.assertEqual(len(self.lines_with("Restarting...")), 1)
        self.ha.remove_entity("sensor.poison")
        self.wait_state(self.db, self.id, "connected", 90)
        self.assertAgrees()

    def test_flapping_link_floods_no_log(self):
        self.connect()
        for _attempt in range(40):
            self.ha.drop_connections()
            time.sleep(0.2)
        self.wait_state(self.db, self.id, "connected")
        self.assertAgrees()
        events = self.db.value("SELECT count(*) FROM ha_connection_event")
        self.assertLess(events, 2 * self.ha.total_connections + 5)
        self.assertLess(self.ha.total_connections, 30, "no backoff")
        self.assertLess(len(self.lines_with("is down")), 5)


@tagged("post_install", "-at_install")
class TestDatabaseFaults(FaultCase):
    def test_frozen_owner_loses_its_lease_and_writes_nothing_more(self):
        self.connect("--workers=2")
        owner = "SELECT owner_pid FROM ha_instance_status"
        frozen = self.db.value(owner)
        os.kill(frozen, signal.SIGSTOP)
        self.addCleanup(self.kill_quietly, frozen)
        wait_until(lambda: self.db.value(owner) != frozen, LEASE_LIMIT_S, "a new owner")
        self.wait_state(self.db, self.id, "connected")
        wait_until(lambda: len(self.ha.connections) == 2)  # the frozen one's is open
        self.ha.set_state("light.kitchen", "from before")
        self.assertAgrees()
        epoch = self.db.value("SELECT epoch FROM ha_instance_status")
        os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: len(self.ha.connections) == 1, 30, "the end of the old link")
        self.ha.set_state("light.kitchen", "after")
        self.assertAgrees()
        self.assertEqual(self.db.value("SELECT epoch FROM ha_instance_status"), epoch)
        self.assertNotEqual(self.db.value(owner), frozen)

    def test_owner_frozen_in_mid_transaction(self):
        self.connect("--workers=2")
        frozen = self.db.value("SELECT owner_pid FROM ha_instance_status")
        connection = self.db.connect()
        self.addCleanup(connection.close)
        with connection.cursor() as cr:
            cr.execute("LOCK ha_entity_state IN SHARE MODE")
        self.ha.set_state("light.kitchen", "frozen")
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        wait_until(
            lambda: self.db.value(waiting),
            what="a writer that waits inside its transaction",
        )
        os.kill(frozen, signal.SIGSTOP)
        self.addCleanup(self.kill_quietly, frozen)
        connection.rollback()
        wait_until(
            lambda: self.db.value("SELECT owner_pid FROM ha_instance_status") != frozen,
            LEASE_LIMIT_S,
            "a new owner",
        )
        self.wait_state(self.db, self.id, "connected")
        self.ha.set_state("light.kitchen", "on")
        self.assertAgrees()
        versions = "SELECT xmin::text, ctid::text FROM ha_entity_state ORDER BY id"
        before = self.db.sql(versions)
        os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: len(self.ha.connections) == 1, 30, "the end of the old link")
        time.sleep(2)
        self.assertEqual(self.db.sql(versions), before)

    def kill_quietly(self, pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def test_locked_status_is_no_reason_to_disconnect(self):
        """Not even when somebody asks how the links are."""
        self.connect()
        connection = self.db.connect()
        self.addCleanup(connection.close)
        with connection.cursor() as cr:
            cr.execute("LOCK ha_instance_status IN SHARE MODE")
        self.db.sql("SELECT pg_notify('odoo_ha_addon', 'diagnose')")
        self.odoo.wait_log("Supervision of database .* waits")
        connection.rollback()
        self.ha.set_state("light.kitchen", "on")
        self.assertAgrees()
        wait_until(
            lambda: self.db.value("SELECT diagnostics FROM ha_instance_status"),
            what="the report that was asked for",
        )
        self.assertEqual(self.ha.total_connections, 1)

    def test_what_cannot_be_written_is_shown(self):
        """The link is healthy, but Odoo shows old states: it must say so."""
        self.connect()
        connection = self.db.connect()
        self.addCleanup(connection.close)
        with connection.cursor() as cr:
            cr.execute("LOCK ha_entity_state IN SHARE MODE")
        for number in range(3):
            self.ha.set_state("light.kitchen", str(number))
        self.assertShown("syncing", "backlog", 30)
        doctor = self.run_odoo("ha_doctor", "-d", self.db.name)
        self.assertEqual(doctor.returncode, 1)
        self.assertIn("(backlog)", doctor.stdout)
        self.assertIn("Changes of 1 entities", doctor.stdout)
        self.assertEqual(len(self.lines_with("waits for the database")), 1)
        connection.rollback()
        self.wait_state(self.db, self.id, "connected", 10)
        self.assertAgrees()
        self.assertFalse(self.lines_with("is down"), "the receiver stalled")

    def test_lease_connection_cut(self):
        self.connect()
        self.db.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            # not of other tests, which run at the same time
            " WHERE datname = current_database()"
            " AND application_name LIKE 'odoo_ha_addon-%%'"
        )
        self.odoo.wait_log("Lost the supervision connection")
        wait_until(lambda: self.ha.total_connections == 2)
        self.wait_state(self.db, self.id, "connected")
        self.ha.set_state("light.kitchen", "on")
        self.assertAgrees()
        self.assertEqual(self.ha.most_connections, 1)
        self.assertEqual(len(self.lines_with("Lost the supervision")), 1)

    def test_dropped_database(self):
        self.connect()
        self.db.drop()
        wait_until(lambda: not self.ha.connections, 30, "the end of the link")
        time.sleep(5)
        self.assertLess(len(self.lines_with(" WARNING ")), 6, self.odoo.log[-2000:])
        self.assertEqual(self.ha.total_connections, 1)

    def test_upgrade_and_uninstall_while_connected(self):
        self.connect()
        upgrade = self.run_odoo(
            "-d", self.db.name, "-u", "odoo_ha_addon", "--stop-after-init"
        )
        self.assertEqual(upgrade.returncode, 0, upgrade.stderr[-2000:])
        wait_until(lambda: self.ha.connections, 30)
        self.wait_state(self.db, self.id, "connected")
        self.ha.set_state("light.kitchen", "on")
        self.assertAgrees()
        self.assertEqual(self.ha.most_connections, 1)
        script = (
            "env['ir.module.module'].search([('name', '=', 'odoo_ha_addon')])"
            ".button_immediate_uninstall()\n"
        )
        removal = self.run_odoo("shell", "-d", self.db.name, script=script)
        self.assertEqual(removal.returncode, 0, removal.stderr[-2000:])
        wait_until(lambda: not self.ha.connections, 30, "the end of the link")
        self.assertFalse(
            self.db.sql(
                "SELECT 1 FROM ir_config_parameter WHERE key LIKE 'odoo_ha_addon%%'"
            )
        )
        time.sleep(3)
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s"
        )
        self.assertEqual(
            self.db.value(
                sessions + " AND datname = current_database()", ("odoo_ha_addon%",)
            ),
            0,
        )
        self.assertFalse(self.lines_with(" ERROR "))

    def test_copy_stays_disconnected_until_confirmed(self):
        self.connect()
        self.odoo.stop()
        copy = self.database(template=self.db.name)
        copy.sql(
            "UPDATE ir_config_parameter SET value = gen_random_uuid()::text"
            " WHERE key = 'database.uuid'"
        )
        neutral = self.database(template=self.db.name)
        neutral.sql((ADDON / "data" / "neutralize.sql").read_text())
        connections = self.ha.total_connections
        for database in (copy, neutral):
            server = self.server("-d", database.name)
            server.wait_log("Found 1 active instance")
            server.wait_http()
            time.sleep(3)
            self.assertEqual(self.ha.total_connections, connections)
            [shown] = server.execute(
                database.name,
                "ha.instance",
                "read",
                [self.id],
                ["connection_state", "connection_message", "is_unconfirmed_copy"],
            )
            self.assertEqual(shown["connection_state"], "stopped")
            self.assertTrue(shown["is_unconfirmed_copy"])
            self.assertIn("copy", shown["connection_message"])
            server.execute(
                database.name, "ha.instance", "action_confirm_database", [self.id]
            )
            self.wait_state(database, self.id, "connected")
            connections = self.ha.total_connections
            server.stop()


@tagged("post_install", "-at_install")
class TestPostgresRestart(FaultCase):
    """On a PostgreSQL of the test's own, because the others go on working."""

    def test_restart_of_postgres(self):
        postgres = self.enterContext(OwnPostgres())
        postgres.clone(require_environment(TEMPLATE_VARIABLE), "restarted")
        self.db = RemoteDatabase("restarted", str(postgres.folder))
        self.id = self.add_instance(self.db, self.ha)
        self.odoo = self.server("-d", self.db.name, *postgres.options)
        self.wait_state(self.db, self.id, "connected")
        postgres.stop()
        self.ha.set_state("light.kitchen", "on")
        wait_until(lambda: not self.ha.connections, 30, "the end of the link")
        time.sleep(5)
        self.assertEqual(len(self.lines_with("Lost the supervision")), 1)
        postgres.start()
        self.wait_state(self.db, self.id, "connected")
        self.assertAgrees()
        postgres.restart()
        wait_until(lambda: self.ha.total_connections >= 3)
        self.wait_state(self.db, self.id, "connected")
        self.ha.set_state("light.kitchen", "off")
        self.assertAgrees()
        self.assertEqual(self.ha.most_connections, 1)


class RemoteDatabase(Database):
    """A database on another server than the tests' own."""

    def __init__(self, name, host):
        self.name = name
        self.host = host

    def connect(self):
        return psycopg2.connect(dbname=self.name, host=self.host, user=USER)
