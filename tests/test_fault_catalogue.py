"""Every fault is told truly, and alike, wherever somebody looks.

One server runs one instance per fault. For each, the form, the status function,
the log and ``ha_doctor`` must name the same state, cause and remedy.
"""

import json
import re
import socket
import threading

from odoo.tests import tagged

from .common import LifecycleCase, free_port, wait_until
from .fake_ha import FakeHomeAssistant

STATUS_SCRIPT = """
import json
from odoo.addons.odoo_ha_addon.models.common.websocket_thread_manager import (
    get_websocket_service_status)
ids = env['ha.instance'].with_context(active_test=False).search([]).ids
result = {i: get_websocket_service_status(env, i) for i in ids}
print('RESULT', json.dumps(result, default=str))
"""


class OtherServer:
    """A web server that is no Home Assistant."""

    def __init__(self, test):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        test.addCleanup(self._listener.close)

    def _serve(self):
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                body = b"<html>It works!</html>"
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close"
                    b"\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                )


@tagged("post_install", "-at_install")
class TestFaultCatalogue(LifecycleCase):
    maxDiff = None

    def fake(self, **switches):
        tls = switches.pop("tls", None)
        ha = FakeHomeAssistant(tls=tls)
        for name, value in switches.items():
            setattr(ha, name, value)
        return self.enterContext(ha)

    def catalogue(self):
        """(state, cause, values of the instance), with real peers behind them."""
        good = self.fake()
        tls = self.fake(tls="good")
        mute = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.addCleanup(mute.close)
        url, token = good.url, good.token

        def wrong(cause, **values):
            return ("unconfigured", cause, {"api_url": url, **values})

        def waiting(cause, peer_url):
            return ("waiting", cause, {"api_url": peer_url})

        local = "127.0.0.1"
        return [
            ("connected", None, {"api_url": url}),
            wrong("url_empty", api_url=None),
            wrong("url_blank", api_url="   "),
            wrong("url_scheme", api_url="ha.local:8123"),
            wrong("url_host", api_url="http://"),
            wrong("url_malformed", api_url="http://ha.local:99999"),
            wrong("url_credentials", api_url="http://me:secret@ha.local"),
            wrong("token_empty", api_token_stored=None),
            wrong("token_blank", api_token_stored="  "),
            wrong("token_short", api_token_stored="short"),
            wrong("token_characters", api_token_stored="with space in the middle"),
            wrong("token_unreadable", api_token_stored="fernet:gAAAA"),
            waiting("dns", "http://no-such-host.invalid"),
            waiting("refused", f"http://{local}:{free_port()}"),
            waiting("timeout", f"http://{local}:{mute.getsockname()[1]}"),
            waiting("tls_certificate", tls.url),
            waiting("tls_handshake", url.replace("http:", "https:")),
            waiting("https_required", tls.url.replace("https:", "http:")),
            waiting("redirect", self.fake(redirect_to="https://else.where/").url),
            waiting("not_home_assistant", f"http://{local}:{OtherServer(self).port}"),
            waiting("server_error", self.fake(http_status=503).url),
            ("auth_failed", "token_rejected", {"api_token_stored": token[::-1]}),
            ("auth_failed", "banned", {"api_url": self.fake(banned=True).url}),
            ("syncing", "starting", {"api_url": self.fake(state="STARTING").url}),
            ("stopped", "inactive", {"active": False}),
            ("stopped", "database_copied", {"confirmed_database_uuid": "other"}),
        ]

    def test_all_views_agree(self):
        database = self.database()
        peers = self.catalogue()
        token = FakeHomeAssistant().token
        base = self.enterContext(FakeHomeAssistant())
        expected = {}
        for number, (state, cause, values) in enumerate(peers):
            name = f"{number} {cause}"
            id_ = self.add_instance(database, base, name, **values)
            expected[id_] = (state, cause)
        stopped = self.add_instance(database, base, "stop_requested")
        database.sql(
            "UPDATE ha_instance_status SET stop_requested = TRUE"
            " WHERE instance_id = %s",
            (stopped,),
        )
        expected[stopped] = ("stopped", "stop_requested")
        self.assertGreaterEqual(len(expected), 20)

        server = self.server("-d", database.name)
        server.wait_http()

        def form():
            rows = server.execute(
                database.name,
                "ha.instance",
                "read",
                list(expected),
                ["connection_state", "connection_message", "connection_remedy"],
            )
            return {row["id"]: row for row in rows}

        wait_until(
            lambda: (
                {i: r["connection_state"] for i, r in form().items()}
                == {i: state for i, (state, _cause) in expected.items()}
            ),
            60,
            f"all states: {expected} {form()}",
        )
        shell = self.run_odoo("shell", "-d", database.name, script=STATUS_SCRIPT)
        status = json.loads(re.search("^RESULT (.*)$", shell.stdout, re.M)[1])
        doctor = self.run_odoo("ha_doctor", "-d", database.name, "--json")
        self.assertEqual(doctor.returncode, 1, doctor.stderr)
        report = json.loads(doctor.stdout)
        examined = {found["id"]: found for found in report["instances"]}
        shown = form()
        log = server.log
        for instance_id, (state, cause) in expected.items():
            with self.subTest(cause=cause, state=state):
                found, told = status[str(instance_id)], shown[instance_id]
                self.assertEqual((found["state"], found["cause"]), (state, cause))
                diagnosis = examined[instance_id]
                self.assertEqual(
                    (diagnosis["state"], diagnosis["cause"]), (state, cause)
                )
                self.assertEqual(told["connection_message"] or "", found["message"])
                self.assertEqual(told["connection_remedy"] or "", found["remedy"])
                self.assertEqual(found["message"], diagnosis["message"])
                healthy = state == "connected" or cause in (
                    "inactive",
                    "stop_requested",
                )
                self.assertEqual(diagnosis["healthy"], healthy)
                if cause:
                    self.assertTrue(found["message"] and found["remedy"], cause)
                if state in ("unconfigured", "waiting", "auth_failed"):
                    lines = [
                        line
                        for line in log.splitlines()
                        if line.endswith(f"instance_id={instance_id} ")
                        and (" ERROR " in line or " WARNING " in line)
                    ]
                    self.assertEqual(len(lines), 1, lines)
        for secret in (token, token[::-1], "me:secret"):
            self.assertNotIn(secret, log)
        self.nobody_supervises(database, server, expected)

    def nobody_supervises(self, database, server, expected):
        """After the server's end, nothing claims to be connected."""
        server.stop()
        doctor = self.run_odoo("ha_doctor", "-d", database.name, "--json")
        report = json.loads(doctor.stdout)
        self.assertEqual(report["supervisors"], [])
        for found in report["instances"]:
            if expected[found["id"]][0] in ("connected", "waiting", "syncing"):
                self.assertEqual(found["state"], "unsupervised")
                self.assertFalse(found["healthy"])

    def test_a_healthy_database(self):
        database = self.database()
        ha = self.enterContext(FakeHomeAssistant())
        ha.add_entity("light.kitchen", "on", registry_id="r1")
        instance_id = self.add_instance(database, ha)
        server = self.server("-d", database.name)
        self.wait_state(database, instance_id, "connected")
        wait_until(
            lambda: database.value("SELECT change_count FROM ha_instance_status")
        )
        doctor = self.run_odoo("ha_doctor", "-d", database.name)
        self.assertEqual(doctor.returncode, 0, doctor.stdout + doctor.stderr)
        for text in (
            f"server {server.process.pid}",
            "[ok]",
            "answers this machine: yes",
            "entities: 1",
            "changes: 1 received, 0 of them coalesced",
            "waiting to be written: 0 states, 0 of history",
            f"HomeAssistantWebSocket-{database.name}-Instance-{instance_id}",
        ):
            self.assertIn(text, doctor.stdout)
        self.assertNotIn(ha.token, doctor.stdout + doctor.stderr)
