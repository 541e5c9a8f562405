"""Every fault is told truly, and alike, wherever somebody looks.

One server runs one instance per fault. For each, the form, the status function,
the log and ``ha_doctor`` must name the same state, cause and remedy.
"""

import json
import re
import signal
import socket
import threading
import time
from dataclasses import dataclass

from odoo.tests import tagged

from ..ha_client.buffer import MAX_HISTORY
from .common import LifecycleCase, free_port, wait_until
from .fake_ha import FakeHomeAssistant

FORM_FIELDS = ["connection_state", "connection_message", "connection_remedy", "owner"]
SHELL_SCRIPT = f"""
import json
from odoo.addons.odoo_ha_addon.models.common.websocket_thread_manager import (
    get_websocket_service_status)
instances = env['ha.instance'].with_context(active_test=False).search([])
result = {{
    'form': {{row['id']: row for row in instances.read({FORM_FIELDS!r})}},
    'status': {{i: get_websocket_service_status(env, i) for i in instances.ids}},
}}
print('RESULT', json.dumps(result, default=str))
"""
AGREEMENT_LIMIT_S = 90
COUNTING = ("backlog", "overflow")  # the seconds pass between two looks


@dataclass
class Told:
    """What one instance's form, status function and ``ha_doctor`` say of it."""

    form: dict
    status: dict
    doctor: dict


class CatalogueCase(LifecycleCase):
    maxDiff = None

    def look(self, database):
        """What all places say, by instance id; and ``ha_doctor``'s whole report."""
        shell = self.run_odoo("shell", "-d", database.name, script=SHELL_SCRIPT)
        found = re.search("^RESULT (.*)$", shell.stdout, re.M)
        self.assertTrue(found, shell.stdout + shell.stderr)
        seen = json.loads(found[1])
        doctor = self.run_odoo("ha_doctor", "-d", database.name, "--json")
        self.assertTrue(doctor.stdout, doctor.stderr)
        report = json.loads(doctor.stdout)
        self.assertEqual(doctor.returncode, 0 if report["healthy"] else 1)
        told = {
            row["id"]: Told(
                seen["form"][str(row["id"])], seen["status"][str(row["id"])], row
            )
            for row in report["instances"]
        }
        return told, report

    def assertTold(self, told, state, cause, healthy=False):
        """Every place tells this state and cause, in the same words, with a remedy."""
        form, status, doctor = told.form, told.status, told.doctor
        self.assertEqual(form["connection_state"], state)
        for place in (status, doctor):
            self.assertEqual((place["state"], place["cause"]), (state, cause))
            if cause in COUNTING:
                place["message"] = re.sub("[0-9]+", "#", place["message"])
                form["connection_message"] = re.sub(
                    "[0-9]+", "#", form["connection_message"]
                )
            self.assertEqual(form["connection_message"] or "", place["message"])
            self.assertEqual(form["connection_remedy"] or "", place["remedy"])
        self.assertEqual(doctor["healthy"], healthy)
        self.assertEqual(status["owner"], doctor["owner"])
        owner = status["owner"]
        shown = owner and f"server process {owner['pid']} on {owner['host']}"
        self.assertEqual(form["owner"] or None, shown)
        self.assertEqual(doctor["owner_name"], shown)
        if cause:
            self.assertTrue(status["message"] and status["remedy"], cause)

    def wait_told(self, database, instance_id, state, cause):
        """Look again until a condition that comes and goes is seen everywhere."""
        deadline = time.monotonic() + AGREEMENT_LIMIT_S
        while True:
            told = self.look(database)[0][instance_id]
            try:
                self.assertTold(told, state, cause)
                return told
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def lines_about(self, server, instance_id, *levels):
        """Lines of the log about an instance."""
        return [
            line
            for line in server.log.splitlines()
            if line.endswith(f"instance_id={instance_id} ")
            and any(f" {level} " in line for level in levels)
        ]


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
class TestFaultCatalogue(CatalogueCase):
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
        own = {"name": "Odoo's own address", "api_url": server.url, "api_token": token}
        [own_id] = server.execute(database.name, "ha.instance", "create", [own])
        expected[own_id] = ("waiting", "not_home_assistant")

        def form():
            rows = server.execute(
                database.name,
                "ha.instance",
                "read",
                list(expected),
                FORM_FIELDS,
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
        everything, _report = self.look(database)
        shown = form()
        log = server.log
        for instance_id, (state, cause) in expected.items():
            with self.subTest(cause=cause, state=state):
                told = everything[instance_id]
                for name, value in shown[instance_id].items():
                    self.assertEqual(told.form[name], value, "the server's own view")
                healthy = state == "connected" or cause in (
                    "inactive",
                    "stop_requested",
                )
                self.assertTold(told, state, cause, healthy)
                if state in ("unconfigured", "waiting", "auth_failed"):
                    lines = self.lines_about(server, instance_id, "ERROR", "WARNING")
                    self.assertEqual(len(lines), 1, lines)
        for secret in (token, token[::-1], "me:secret"):
            self.assertNotIn(secret, log)
        self.nobody_supervises(database, server, expected)

    def nobody_supervises(self, database, server, expected):
        """After the server's end, nothing claims to be connected."""
        server.signal(signal.SIGTERM)
        server.wait()
        everything, report = self.look(database)
        self.assertEqual(report["supervisors"], [])
        for instance_id, (state, _cause) in expected.items():
            if state in ("connected", "waiting", "syncing"):
                self.assertTold(everything[instance_id], "unsupervised", "unsupervised")
                last = self.lines_about(server, instance_id, "INFO")[-1]
                self.assertIn("(server_stopped)", last)

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
            f"owner: server process {server.process.pid} on {socket.gethostname()}\n",
            "[ok]",
            "answers this machine: yes",
            "entities: 1",
            "changes: 1 received, 0 of them coalesced",
            "waiting to be written: 0 states, 0 of history",
            f"HomeAssistantWebSocket-{database.name}-Instance-{instance_id}",
        ):
            self.assertIn(text, doctor.stdout)
        self.assertNotIn(ha.token, doctor.stdout + doctor.stderr)


@tagged("post_install", "-at_install")
class TestFaultsOfProcesses(CatalogueCase):
    """What befalls the process that holds a link, or the one that looks."""

    def setUp(self):
        super().setUp()
        self.db = self.database()
        self.ha = self.enterContext(FakeHomeAssistant())
        self.ha.add_entity("light.kitchen", "off", registry_id="r1")
        self.id = self.add_instance(self.db, self.ha, history_mode="all")

    def start(self, *arguments):
        server = self.server("-d", self.db.name, *arguments)
        self.wait_state(self.db, self.id, "connected")
        return server

    def test_another_host_owns_it(self):
        url = f"http://127.0.0.1:{free_port()}"
        lost = self.add_instance(self.db, self.ha, "Lost", api_url=url)
        other = self.start(*self.loading("oha_other_host"))
        self.wait_state(self.db, lost, "waiting")
        here = self.server("-d", self.db.name)
        self.assertEqual(self.ha.most_connections, 1)
        for id_ in (self.id, lost):
            here.wait_log(
                f"INFO .*WebSocket already running for {self.db.name} instance {id_} .*"
                f"host, another-host .*{other.process.pid}.* instance_id={id_}"
            )
        here.wait_http()
        everything, report = self.look(self.db)
        self.assertTold(everything[self.id], "connected", None, healthy=True)
        self.assertTold(everything[lost], "waiting", "refused")
        for id_ in (self.id, lost):
            owner = everything[id_].status["owner"]
            self.assertEqual(owner["host"], "another-host")
            self.assertEqual(owner["pid"], other.process.pid)
            # Once: it is no news that it goes on.
            self.assertEqual(len(self.lines_about(here, id_, "INFO")), 1)
        self.assertEqual(len(report["supervisors"]), 2)
        text = self.run_odoo("ha_doctor", "-d", self.db.name).stdout
        self.assertEqual(text.count("on another-host, another host than this one"), 2)

    def test_thread_dead(self):
        self.ha.add_entity("sensor.poison", "1", registry_id="r9")
        server = self.server("-d", self.db.name, *self.loading("oha_fault_injection"))
        self.wait_state(self.db, self.id, "waiting")
        told = self.wait_told(self.db, self.id, "waiting", "crashed")
        self.assertIn("a bug, made for the test", told.status["message"])
        self.assertIn("server log", told.status["remedy"])
        lines = self.lines_about(server, self.id, "ERROR")
        self.assertIn("WebSocket thread of instance My HA crashed", lines[0])
        self.assertIn("ZeroDivisionError: a bug, made for the test", server.log)

    def test_queue_overflows(self):
        """Odoo shows old states, and has to fetch history that found no room."""
        server = self.start(*self.loading("oha_short_waits"))
        lock = self.db.connect()
        self.addCleanup(lock.close)
        with lock.cursor() as cr:
            cr.execute("LOCK ha_entity_state IN SHARE MODE")
        for begin in range(0, MAX_HISTORY + 2000, 1000):
            numbers = range(begin, begin + 1000)
            self.ha.set_states([("light.kitchen", f"round {n}") for n in numbers])
            time.sleep(0.1)  # who is late would ask for less, and drop nothing
        told = self.wait_told(self.db, self.id, "syncing", "overflow")
        self.assertIn("found no room", told.status["message"])
        self.assertIn("fetches that history", told.status["remedy"])
        self.assertGreater(told.doctor["diagnostics"]["pending_history"], 0)
        lock.rollback()
        # What was lost is known as a gap, until it is fetched.
        gap = "SELECT 1 FROM ha_history_gap WHERE reason = 'overload' AND state = %s"
        wait_until(lambda: self.db.value(gap, ("pending",)))
        self.wait_state(self.db, self.id, "connected")
        # Counts come with the next heartbeat.
        count = "SELECT {} FROM ha_instance_status"
        wait_until(lambda: self.db.value(count.format("dropped_count")))
        doctor = self.look(self.db)[1]["instances"][0]
        self.assertGreater(doctor["traffic"]["dropped"], 0)
        self.assertGreaterEqual(doctor["gaps"]["pending"], 1)
        unfinished = "SELECT 1 FROM ha_history_gap WHERE state IN ('open', 'pending')"
        wait_until(lambda: not self.db.value(unfinished), what="complete history")
        self.assertTrue(self.db.value(gap, ("filled",)))
        wait_until(lambda: self.db.value(count.format("backfilled_count")))
        doctor = self.look(self.db)[1]["instances"][0]
        self.assertGreater(doctor["traffic"]["backfilled"], 0)
        self.assertEqual(doctor["gaps"], {"pending": 0, "incomplete": 0})
        lines = self.lines_about(server, self.id, "WARNING")
        self.assertEqual(sum("found no room" in line for line in lines), 1, lines)
        self.assertFalse([line for line in lines if "is down" in line])
