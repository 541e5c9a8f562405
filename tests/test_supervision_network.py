"""What a network and an administrator do to the link with a real Home Assistant.

``dev/stress --away MINUTES`` lets Home Assistant be away for longer.
"""

import logging
import os
import time

import psutil

from odoo.tests import tagged

from .common import LifecycleCase, start_home_assistant, wait_until
from .stopping_proxy import StoppingProxy

# 40 s are promised for a half-open connection, with a margin for a busy machine.
HALF_OPEN_LIMIT_S = 60
AWAY_S = float(os.environ.get("ODOO_HA_AWAY_S", "5"))
QUIET_S = 8  # several attempts, if there were any
_logger = logging.getLogger(__name__)
FORM_FIELDS = ["connection_state", "connection_message", "connection_remedy"]


@tagged("post_install", "-at_install")
class TestRealHomeAssistantFaults(LifecycleCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ha = start_home_assistant(cls)

    def connect(self, **values):
        self.db = self.database()
        self.id = self.add_instance(self.db, self.ha, **values)
        self.odoo = self.server("-d", self.db.name)
        self.wait_state(self.db, self.id, "connected")
        self.assertAgrees()

    def assertAgrees(self):
        """What has no state at Home Assistant is unavailable in Odoo."""

        def agrees():
            rows = self.ha.api("GET", "/api/states")
            theirs = {row["entity_id"]: row["state"] for row in rows}
            ours = self.states_in_odoo(self.db)
            return ours == {**dict.fromkeys(ours, "unavailable"), **theirs}

        wait_until(agrees, 30, "agreement with Home Assistant")

    def lines_with(self, text):
        return [line for line in self.odoo.log.splitlines() if text in line]

    def form(self):
        self.odoo.wait_http()
        [shown] = self.odoo.execute(
            self.db.name, "ha.instance", "read", [self.id], FORM_FIELDS
        )
        return shown

    def connections_at_home_assistant(self):
        return [
            connection
            for connection in psutil.Process(self.ha.pid).net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED
            and connection.laddr.port == self.ha.port
        ]

    def test_half_open_connection(self):
        proxy = self.enterContext(StoppingProxy(self.ha.port))
        self.connect(api_url=proxy.url)
        for number, recover in enumerate((proxy.forward_new, proxy.resume), 1):
            with self.subTest(recover=recover.__name__):
                proxy.stop()
                self.ha.set_state("sensor.missed", f"round {number}")
                self.assertShown("waiting", "no_answer", HALF_OPEN_LIMIT_S)
                shown = self.form()
                self.assertEqual(shown["connection_state"], "waiting")
                self.assertIn("no sign of life", shown["connection_message"])
                self.assertTrue(shown["connection_remedy"])
                # Attempts that nobody answers are no other news.
                self.assertShown("waiting", "timeout", HALF_OPEN_LIMIT_S)
                self.assertEqual(len(self.lines_with("is down")), number)
                recover()
                self.wait_state(self.db, self.id, "connected", 90)
                self.assertAgrees()
                self.assertEqual(len(self.lines_with("failed attempts")), number)
        # What was held back came late, and changed nothing any more.
        self.ha.set_state("sensor.missed", "afterwards")
        self.assertAgrees()
        wait_until(
            lambda: len(self.connections_at_home_assistant()) == 1,
            what="the end of the abandoned connections",
        )
        self.assertNotIn("Traceback", self.odoo.log)

    def test_home_assistant_is_away(self):
        self.connect()
        self.ha.set_state("sensor.lost_at_restart", "1")
        self.assertAgrees()
        self.ha.stop()
        stopped = time.monotonic()
        self.assertShown("waiting", "refused", 25)
        since = self.db.value("SELECT connected_since FROM ha_instance_status")
        self.assertIsNone(since)
        condition = "SELECT state, cause FROM ha_instance_status"
        while time.monotonic() - stopped < AWAY_S:
            self.assertEqual(self.db.sql(condition), [("waiting", "refused")])
            time.sleep(0.5)
        self.ha.start()
        started = time.monotonic()
        # It waits for a minute at most between two attempts.
        self.wait_state(self.db, self.id, "connected", 90)
        _logger.info(
            "away for %.0f s, connected %.1f s after its return",
            started - stopped,
            time.monotonic() - started,
        )
        self.assertAgrees()
        # Not one line per attempt, nor for each time that Home Assistant hangs up again
        # while it starts.
        told = [line for line in self.lines_with(" WARNING ") if "instance_id=" in line]
        self.assertTrue(0 < len(told) < 5, told)
        self.assertEqual(len(self.lines_with("is down")), 1)
        self.assertEqual(len(self.lines_with("failed attempts")), 1)
        self.assertFalse(self.lines_with(" ERROR "))
        disconnects = "SELECT count(*) FROM ha_connection_event WHERE kind = %s"
        self.assertEqual(self.db.value(disconnects, ("disconnect",)), 1)
        self.assertEqual(len(self.connections_at_home_assistant()), 1)

    def make_token(self, name):
        return self.ha.command(
            "auth/long_lived_access_token", client_name=name, lifespan=30
        )

    def refused_logins(self):
        return self.ha.log_file.read_text().count("invalid authentication")

    def test_token_revoked_while_connected(self):
        token = self.make_token("Odoo")
        self.connect(api_token_stored=token)
        refused = self.refused_logins()
        # As its owner does in the profile, over a connection of their own.
        tokens = self.ha.command("auth/refresh_tokens")
        [ours] = [row["id"] for row in tokens if row["client_name"] == "Odoo"]
        self.ha.command("auth/delete_refresh_token", refresh_token_id=ours)
        self.assertShown("auth_failed", "token_rejected", 25)
        time.sleep(QUIET_S)
        self.assertEqual(self.refused_logins(), refused + 1, "it was tried again")
        shown = self.form()
        self.assertEqual(shown["connection_state"], "auth_failed")
        self.assertIn("rejected the API Token", shown["connection_message"])
        self.assertIn("Create a new", shown["connection_remedy"])
        self.assertEqual(len(self.lines_with("refuses instance My HA")), 1)
        self.assertFalse(self.connections_at_home_assistant())
        # Nor does a restart of the server try it again.
        self.odoo.stop()
        self.odoo = self.server("-d", self.db.name)
        self.odoo.wait_log("Found 1 active instance")
        time.sleep(QUIET_S)
        self.assertEqual(self.refused_logins(), refused + 1, "it was tried again")
        self.assertEqual(self.form()["connection_state"], "auth_failed")
        self.ha.set_state("sensor.meanwhile", "1")
        new = self.make_token("Odoo, the second")
        values = {"api_token": new}
        self.odoo.execute(self.db.name, "ha.instance", "write", [self.id], values)
        self.wait_state(self.db, self.id, "connected")
        self.assertAgrees()
        self.assertEqual(self.refused_logins(), refused + 1)
        self.assertEqual(len(self.connections_at_home_assistant()), 1)
        for secret in (token, new):
            self.assertNotIn(secret, self.odoo.log)
