"""Start and stop of real Odoo servers with real threads."""

import signal
import socket
import threading
import time

import psutil

from odoo.tests import tagged

from .common import BlackHole, LifecycleCase, run_as_admin, wait_until
from .fake_ha import FakeHomeAssistant
from .raw_server import black_hole

# The promise is 3 s; a machine that is busy with other tests gets more. Without
# the right code there is no end at all.
STOP_LIMIT_S = 8


@tagged("post_install", "-at_install")
class TestOneProcess(LifecycleCase):
    def setUp(self):
        super().setUp()
        self.ha = FakeHomeAssistant()
        self.ha.add_entity("light.kitchen", "off", registry_id="r1")
        self.enterContext(self.ha)

    def assertEndsSoon(self, server, signal_number=signal.SIGTERM):
        started = time.monotonic()
        server.signal(signal_number)
        code = server.wait(20)
        elapsed = time.monotonic() - started
        self.assertLess(elapsed, STOP_LIMIT_S, server.log[-3000:])
        return code

    def test_link_comes_up_without_a_visitor_and_ends_with_a_close_frame(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                server = self.server("-d", database.name)
                self.wait_state(database, instance_id, "connected")
                self.assertEqual(
                    self.states_in_odoo(database), {"light.kitchen": "off"}
                )
                self.assertEndsSoon(server, number)
                self.assertEqual(self.link_state(database, instance_id), "stopped")
                wait_until(lambda: not self.ha.connections)
        self.assertEqual(self.ha.most_connections, 1)
        self.assertNotIn(1006, self.ha.close_codes)
        self.assertEqual(len(self.ha.close_codes), 2)

    def test_log_names_what_happens(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        broken = self.add_instance(
            database, self.ha, "Guest HA", api_url=None, api_token_stored="short"
        )
        scheme = self.add_instance(database, self.ha, api_url="192.168.1.10:8123")
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        for line in (
            "INFO .*\\[post_load_hook\\] Supervision .* is armed",
            "INFO .*\\[start_websocket_service\\] Found 3 active instance\\(s\\)",
            f"INFO .*Instance {instance_id} \\(My HA\\) configuration OK\\. Starting"
            f" WebSocket service\\.\\.\\. instance_id={instance_id}",
            f"ERROR .*\\[CRITICAL\\] Instance {broken} \\(Guest HA\\): API URL is"
            " empty! Cannot start WebSocket service\\. Please configure the instance\\."
            f" instance_id={broken}",
            f"ERROR .*\\[CRITICAL\\] Instance {broken} \\(Guest HA\\): Token too short"
            " \\(len=5\\)!",
            "Invalid URL format: 192.168.1.10:8123 URL must start with http:// or"
            f" https://\\. Cannot start WebSocket service\\. .* instance_id={scheme}",
            f"INFO .*WebSocket thread started for {database.name} instance"
            f" {instance_id} \\(My HA\\) with URL: {self.ha.url}"
            f" instance_id={instance_id}",
        ):
            server.wait_log(line, 10)
        self.assertEqual(server.log.count("[post_load_hook]"), 1)
        self.assertNotIn(self.ha.token, server.log)

    def test_no_instance_is_said_once(self):
        database = self.database()
        server = self.server("-d", database.name)
        server.wait_log(
            f"INFO .*No active HA instances found for database {database.name}"
        )
        self.assertEndsSoon(server)

    def test_stops_in_time_whatever_the_links_are_doing(self):
        """60 instances: healthy, refused, lost, mute, in a TLS handshake."""
        database = self.database()
        hole = BlackHole(self)
        ids = [
            self.add_instance(database, self.ha, f"Healthy {number}")
            for number in range(20)
        ]
        refused = socket.create_server(("127.0.0.1", 0))
        port = refused.getsockname()[1]
        refused.close()
        lost = self.enterContext(black_hole())  # not even a TCP handshake
        for number in range(10):
            self.add_instance(
                database, self.ha, f"Off {number}", api_url=f"http://127.0.0.1:{port}"
            )
            self.add_instance(
                database, self.ha, f"Lost {number}", api_url=f"http://127.0.0.1:{lost}"
            )
            self.add_instance(database, hole, f"Mute {number}")
            self.add_instance(database, hole, f"TLS {number}", api_url=hole.tls_url)
        server = self.server("-d", database.name)
        for instance_id in ids:
            self.wait_state(database, instance_id, "connected")
        server.wait_log("Link of instance Off 9 is down")
        self.assertEndsSoon(server)
        self.assertNotIn("does not end", server.log)
        self.assertEqual(len(self.ha.close_codes), 20)
        self.assertNotIn(1006, self.ha.close_codes)

    def test_stops_in_time_while_a_table_is_locked(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        connection = database.connect()
        self.addCleanup(connection.close)
        with connection.cursor() as cr:
            cr.execute("LOCK ha_entity_state IN ACCESS EXCLUSIVE MODE")
        self.ha.set_state("light.kitchen", "on")
        server.wait_log("waits for the database")
        self.ha.set_state("light.kitchen", "off")
        self.assertEndsSoon(server)
        wait_until(lambda: not self.ha.connections)
        self.assertNotIn(1006, self.ha.close_codes)

    def test_second_signal_still_forces_the_end(self):
        """Odoo's own handlers stay in place."""
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        with self.blocked_writer(database, self.ha):
            server.signal(signal.SIGTERM)
            server.wait_log("Initiating shutdown")
            server.signal(signal.SIGTERM)
            server.wait(10)
        self.assertIn("Forced shutdown.", server.log)

    def test_stops_during_preload_and_installation(self):
        """There Odoo calls no on_stop and holds the lock of its registries."""
        for arguments in (("-u", "base"), ("-i", "contacts"), ()):
            with self.subTest(arguments=arguments):
                database = self.database()
                instance_id = self.add_instance(database, self.ha)
                server = self.server("-d", database.name, *arguments)
                server.wait_log("\\[post_load_hook\\]")
                if not arguments:
                    # The last moment of a preload: threads run, requests do not.
                    server.wait_log("WebSocket thread started")
                self.assertEndsSoon(server)
                self.assertNotEqual(self.link_state(database, instance_id), "connected")

    def test_commands_start_no_thread(self):
        database = self.database()
        self.add_instance(database, self.ha)
        script = (
            "import threading\nprint('THREADS', [t.name for t in threading.enumerate()"
            " if 'Assistant' in t.name or 'WebSocket' in t.name])\n"
        )
        shell = self.run_odoo("shell", "-d", database.name, script=script)
        self.assertIn("THREADS []", shell.stdout)
        self.assertEqual(shell.returncode, 0)
        copy = f"{database.name}_copy"
        self.addCleanup(run_as_admin, f'DROP DATABASE IF EXISTS "{copy}"')
        for command in (
            ["-d", database.name, "--stop-after-init"],
            ["module", "upgrade", "-d", database.name, "odoo_ha_addon"],
            ["db", "duplicate", database.name, copy],
            ["neutralize", "-d", copy],
            ["ha_doctor", "-d", copy],
        ):
            with self.subTest(command=command):
                done = self.run_odoo(*command)
                # What the doctor finds is an instance that nobody supervises.
                expected = 1 if command[0] == "ha_doctor" else 0
                self.assertEqual(done.returncode, expected, done.stderr)
                self.assertNotIn("WebSocket thread started", done.stderr)
        self.assertEqual(self.ha.total_connections, 0)

    def test_killed_server_leaves_nothing_that_keeps_the_next_from_working(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        server.process.kill()
        server.wait()
        self.ha.set_state("light.kitchen", "on")
        database.sql("UPDATE ha_instance_status SET state = 'waiting'")
        self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        wait_until(lambda: self.states_in_odoo(database) == {"light.kitchen": "on"})
        self.assertEqual(database.value("SELECT epoch FROM ha_instance_status"), 2)

    def test_last_changes_are_written_before_the_end(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        for number in range(30):
            self.ha.set_state("light.kitchen", str(number))
        time.sleep(0.02)  # received, but not yet due to be written
        self.assertEndsSoon(server)
        self.assertEqual(self.states_in_odoo(database), {"light.kitchen": "29"})

    def assertReloads(self, server, database, instance_id, reload):
        pid = server.process.pid
        connections = self.ha.total_connections
        reload()
        wait_until(lambda: self.ha.total_connections > connections, 30, "a connection")
        self.wait_state(database, instance_id, "connected")
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.process.pid, pid)
        self.assertEqual(self.ha.most_connections, 1)
        self.assertNotIn(1006, self.ha.close_codes)
        self.assertEqual(server.log.count("[post_load_hook]"), 2)
        self.assertEndsSoon(server)

    def test_reload_by_signal(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        self.assertReloads(
            server, database, instance_id, lambda: server.signal(signal.SIGHUP)
        )

    def test_reload_by_changed_code(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        options, change = self.watched_code()
        server = self.server("-d", database.name, *options)
        self.wait_state(database, instance_id, "connected")
        server.wait_log("AutoReload watcher running")
        self.assertReloads(server, database, instance_id, change)

    def test_threads_are_as_documented(self):
        database = self.database()
        instance_id = self.add_instance(database, self.ha)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        # SIGQUIT makes Odoo write all threads into the log.
        server.signal(signal.SIGQUIT)
        server.wait_log("WebSocketMonitor")
        server.wait_log(
            f"HomeAssistantWebSocket-{database.name}-Instance-{instance_id}"
        )
        self.assertGreater(psutil.Process(server.process.pid).num_threads(), 3)
        self.assertEndsSoon(server)
        names = {thread.name for thread in threading.enumerate()}
        self.assertNotIn("WebSocketMonitor", names)
