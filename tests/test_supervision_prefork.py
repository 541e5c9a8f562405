"""Supervision in prefork servers: who owns a link, and who takes it over."""

import os
import signal
import tempfile
import time
from pathlib import Path

import psutil

from odoo.tests import tagged

from .common import BlackHole, LifecycleCase, run_as_admin, wait_until
from .fake_ha import FakeHomeAssistant

# Promised are 5 s after a kill and 2 s after a clean end, on a machine that has
# nothing else to do; here, other tests run beside these.
TAKEOVER_LIMIT_S = 12
HANDOVER_LIMIT_S = 8
START_LIMIT_S = 30


class PreforkCase(LifecycleCase):
    leaks = None

    def setUp(self):
        super().setUp()
        self.ha = self.home_assistant()

    def home_assistant(self):
        ha = FakeHomeAssistant()
        ha.add_entity("light.kitchen", "off", registry_id="r1")
        return self.enterContext(ha)

    def owner(self, database):
        """(pid, role) of the process that holds the only instance, or None."""
        rows = database.sql(
            "SELECT owner_pid, owner_role FROM ha_instance_status s WHERE EXISTS ("
            " SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted"
            " AND d.datname = current_database() AND l.objid = s.instance_id::oid)"
        )
        return rows[0] if rows else None

    def wait_new_owner(self, database, instance_id, old_pid, limit, connections=None):
        """Wait for another owner whose link is up; return its pid and role.

        ``connections``: how many there were before the old one was disturbed, when
        it may have ended already.
        """
        started = time.monotonic()
        if connections is None:
            connections = self.ha.total_connections

        def taken_over():
            owner = self.owner(database)
            return owner and owner[0] != old_pid and owner

        owner = wait_until(taken_over, limit, "a new owner")
        remaining = limit - (time.monotonic() - started)
        wait_until(
            lambda: self.ha.total_connections > connections, remaining, "a connection"
        )
        self.wait_state(database, instance_id, "connected")
        return owner

    def leak_options(self):
        """Options for a server whose cron workers can be made to leak memory."""
        self.leaks = Path(self.enterContext(tempfile.TemporaryDirectory()))
        return self.loading("oha_memory_leak")

    def server(self, *arguments, **options):
        env = {"OHA_LEAK_FOLDER": str(self.leaks)} if self.leaks else {}
        return super().server(*arguments, env=env, **options)

    def let_leak(self, server, database, pid):
        """Make a cron worker pass its memory limit with its next unit of work."""
        count = server.log.count("virtual memory limit")
        (self.leaks / str(pid)).touch()
        self.poll_jobs(database)
        server.wait_log("virtual memory limit", 30, count + 1)
        # A cron worker that is to end sleeps first, up to a minute.
        self.poll_jobs(database)

    def poll_jobs(self, database):
        """Let Odoo's cron look for jobs now, instead of within a minute."""
        run_as_admin("SELECT pg_notify('cron_trigger', %s)", (database.name,))

    def assertLinkAgrees(self, database):
        state = (
            "on" if self.states_in_odoo(database)["light.kitchen"] == "off" else "off"
        )
        self.ha.set_state("light.kitchen", state)
        wait_until(
            lambda: self.states_in_odoo(database) == {"light.kitchen": state},
            30,
            "the changed state",
        )

    def assertEndsSoon(self, server, limit=15):
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        server.wait(30)
        self.assertLess(time.monotonic() - started, limit, server.log[-3000:])


@tagged("post_install", "-at_install")
class TestPrefork(PreforkCase):
    def start(self, *arguments):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        server = self.server("-d", database.name, "--workers=2", *arguments)
        self.wait_state(database, instance_id, "connected", START_LIMIT_S)
        return database, instance_id, server

    def test_a_cron_worker_owns_the_link_and_nobody_else_connects(self):
        database, instance_id, server = self.start()
        pid, role = self.owner(database)
        self.assertEqual(role, "cron")
        self.assertIn(pid, server.workers("WorkerCron"))
        self.assertLinkAgrees(database)
        # An HTTP worker sees what the cron worker writes, again and again; and that
        # is longer than it waits before it would step in.
        key = f"odoo_ha_addon.ws_heartbeat_{database.name}_instance_{instance_id}"

        def heartbeat():
            name = "ir.config_parameter"
            return server.execute(database.name, name, "get_param", key) or ""

        for _beat in range(2):
            seen = heartbeat()
            wait_until(lambda seen=seen: heartbeat() > seen, 30, "a heartbeat")
        self.assertEqual(self.ha.total_connections, 1)
        self.assertEndsSoon(server)
        wait_until(lambda: not self.ha.connections)
        self.assertEqual(self.ha.most_connections, 1)
        self.assertNotIn(1006, self.ha.close_codes)

    def test_killed_owner_is_replaced(self):
        database, instance_id, server = self.start()
        pid, _role = self.owner(database)
        os.kill(pid, signal.SIGKILL)
        self.wait_new_owner(database, instance_id, pid, TAKEOVER_LIMIT_S)
        self.assertLinkAgrees(database)
        self.assertEqual(self.ha.most_connections, 1)
        events = database.sql(
            "SELECT kind, params ->> 'pid' FROM ha_connection_event"
            " WHERE kind = 'takeover'"
        )
        self.assertEqual(events, [("takeover", str(pid))])

    def test_recycled_owner_hands_over(self):
        database, instance_id, server = self.start()
        pid, _role = self.owner(database)
        os.kill(pid, signal.SIGINT)  # as the master asks a worker to end
        self.wait_new_owner(database, instance_id, pid, HANDOVER_LIMIT_S)
        wait_until(lambda: not psutil.pid_exists(pid), 30, "the worker's end")
        self.assertLinkAgrees(database)
        self.assertEqual(self.ha.most_connections, 1)
        self.assertNotIn(1006, self.ha.close_codes)
        self.assertIn("exiting", server.log)

    def test_memory_limit_recycles_the_owner(self):
        database, instance_id, server = self.start(*self.leak_options())
        for _time in range(2):
            pid, role = self.owner(database)
            self.assertEqual(role, "cron")
            connections = self.ha.total_connections
            self.let_leak(server, database, pid)
            self.wait_new_owner(
                database, instance_id, pid, HANDOVER_LIMIT_S, connections
            )
            wait_until(lambda pid=pid: not psutil.pid_exists(pid), 30, "its end")
            self.assertLinkAgrees(database)
            wait_until(lambda: len(server.workers("WorkerCron")) == 2, 30)
        # Nobody but the owners had to go, and each closed its WebSocket properly.
        self.assertEqual(server.log.count("virtual memory limit"), 2)
        self.assertEqual(self.ha.total_connections, 3)
        self.assertEqual(self.ha.most_connections, 1)
        self.assertNotIn(1006, self.ha.close_codes)
        self.assertNotIn("MemoryError", server.log)

    def test_without_cron_workers_an_http_worker_steps_in(self):
        database, instance_id, server = self.start("--max-cron-threads=0")
        pid, role = self.owner(database)
        self.assertEqual(role, "http")
        os.kill(pid, signal.SIGKILL)
        self.wait_new_owner(database, instance_id, pid, TAKEOVER_LIMIT_S)
        self.assertEqual(self.ha.most_connections, 1)

    def test_one_cron_worker_killed(self):
        database, instance_id, server = self.start("--max-cron-threads=1")
        pid, role = self.owner(database)
        self.assertEqual(role, "cron")
        os.kill(pid, signal.SIGKILL)
        self.wait_new_owner(database, instance_id, pid, TAKEOVER_LIMIT_S)
        self.assertLinkAgrees(database)

    def test_limit_request_recycles_an_owning_http_worker(self):
        database, instance_id, server = self.start(
            "--max-cron-threads=0", "--limit-request=10"
        )
        pid, _role = self.owner(database)
        for _attempt in range(60):
            if not psutil.pid_exists(pid):
                break
            server.execute(database.name, "res.users", "search_count", [])
        wait_until(lambda: not psutil.pid_exists(pid), 30, "the worker's end")
        self.wait_state(database, instance_id, "connected")
        self.assertLinkAgrees(database)
        self.assertEqual(self.ha.most_connections, 1)

    def test_stops_in_time_with_fifty_instances(self):
        database = self.database()
        hole = BlackHole(self)
        for number in range(30):
            self.add_instance(database, self.ha, f"Healthy {number}")
        for number in range(10):
            self.add_instance(database, hole, f"Mute {number}")
            self.add_instance(database, hole, f"TLS {number}", api_url=hole.tls_url)
        server = self.server("-d", database.name, "--workers=2")
        wait_until(lambda: len(self.ha.connections) == 30)
        wait_until(
            lambda: (
                database.value(
                    "SELECT count(*) FROM ha_instance_status WHERE state = 'connected'"
                )
                == 30
            )
        )
        self.assertEndsSoon(server)
        wait_until(lambda: not self.ha.connections)
        self.assertNotIn(1006, self.ha.close_codes)
        self.assertNotIn("does not end", server.log)

    def test_second_signal_still_forces_the_end(self):
        database, instance_id, server = self.start()
        with self.blocked_writer(database, self.ha):
            server.signal(signal.SIGTERM)
            server.wait_log("Stopping workers gracefully")
            server.signal(signal.SIGTERM)
            server.wait(10)
        self.assertIn("Forced shutdown.", server.log)

    def assertReloads(self, server, database, instance_id, reload):
        """The master executes itself anew, and its new workers take over."""
        self.addCleanup(self.kill_family_of, server)
        master, connections = server.process.pid, self.ha.total_connections
        old, _role = self.owner(database)
        reload()
        wait_until(
            lambda: self.ha.total_connections > connections, 30, "a new connection"
        )
        self.wait_state(database, instance_id, "connected")
        self.assertLinkAgrees(database)
        wait_until(lambda: not psutil.pid_exists(old), 30, "the old worker's end")
        self.assertEqual(server.process.pid, master)
        self.assertIsNone(server.process.poll())
        self.assertEqual(len(self.ha.connections), 1)
        self.assertEqual(self.ha.most_connections, 1)
        self.assertNotIn(1006, self.ha.close_codes)

    def test_reload_on_sighup(self):
        database, instance_id, server = self.start()
        self.assertReloads(
            server, database, instance_id, lambda: server.signal(signal.SIGHUP)
        )

    def test_reload_by_changed_code(self):
        options, change = self.watched_code()
        database, instance_id, server = self.start(*options)
        server.wait_log("AutoReload watcher running")
        self.assertReloads(server, database, instance_id, change)
        self.assertIn("autoreload activated", server.log)

    def kill_family_of(self, server):
        """After a reload the master is another process, in the same session."""
        session = os.getsid(server.process.pid) if server.process.poll() is None else 0
        for process in psutil.process_iter(["pid"]):
            try:
                if session and os.getsid(process.pid) == session:
                    process.kill()
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
