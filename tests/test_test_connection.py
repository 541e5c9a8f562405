"""Test Connection, against real sockets: the true cause and what to do about it."""

import time
from unittest.mock import patch

from odoo.tests import tagged

from ..models.common import hass_rest_api
from .fake_ha import FakeHomeAssistant
from .instance_case import TOKEN, InstanceCase
from .raw_server import (
    RawServer,
    answering,
    black_hole,
    hang_up,
    http_answer,
    mute,
    trickle,
    unused_port,
)

LIMIT_S = 10
SLACK_S = 3  # for a busy machine


class ConnectionCase(InstanceCase):
    def setUp(self):
        super().setUp()
        self.instance = self.make_instance()

    def fake(self, **options):
        return self.enterContext(FakeHomeAssistant(token=TOKEN, **options))

    def try_it(self, url, token=TOKEN, **values):
        """Press the button; return the notification."""
        self.instance.write({"api_url": url, "api_token": token, **values})
        started = time.monotonic()
        action = self.instance.action_test_connection()
        self.assertLess(time.monotonic() - started, LIMIT_S + SLACK_S)
        self.assertEqual(action["tag"], "display_notification")
        self.assertNotIn(TOKEN, str(action))
        return action["params"]

    def assertFails(self, url, *texts, **values):
        shown = self.try_it(url, **values)
        self.assertEqual(shown["type"], "danger", shown["message"])
        self.assertTrue(shown["sticky"])
        for text in texts:
            self.assertIn(text, shown["message"])
        return shown["message"]

    def assertWorks(self, url, *texts, **values):
        shown = self.try_it(url, **values)
        self.assertEqual(shown["type"], "success", shown["message"])
        for text in texts:
            self.assertIn(text, shown["message"])
        return shown["message"]


@tagged("post_install", "-at_install")
class TestSuccess(ConnectionCase):
    def test_version_location_entities_and_round_trip_are_shown(self):
        ha = self.fake()
        ha.location_name = "Castle"
        ha.version = "2025.4.4"
        for number in range(7):
            ha.add_entity(f"light.l{number}", "on")
        message = self.assertWorks(ha.url, "2025.4.4", "Castle", "7 entities")
        self.assertRegex(message, r"\d+(\.\d+)? ms")
        self.assertEqual(ha.failed_logins, 0)
        ha.wait_for(lambda: not ha.connections)
        self.assertEqual(ha.close_codes, [1000])

    def test_home_assistant_under_a_path_works(self):
        ha = self.fake(prefix="/ha")
        for url in (ha.url, f"{ha.url}/", f"{ha.url}/api/", f" {ha.url} "):
            with self.subTest(url=url):
                self.assertWorks(url)
        self.assertTrue(all(" /ha/api/" in line for line in ha.requests))
        self.assertFails(ha.url.removesuffix("/ha"), "Another web server")

    def test_home_assistant_that_starts_is_said_to(self):
        ha = self.fake(state="STARTING")
        self.assertWorks(ha.url, "still starting", "Odoo waits")

    def test_home_assistant_in_recovery_mode_is_not_taken_for_running(self):
        ha = self.fake()
        ha.recovery_mode = True
        self.assertWorks(ha.url, "still starting")

    def test_archived_instance_can_be_tried(self):
        ha = self.fake()
        self.assertWorks(ha.url, active=False)

    def test_trusted_certificate_works(self):
        ha = self.fake(tls="good")
        with patch.dict("os.environ", {"REQUESTS_CA_BUNDLE": ha.ca_file}):
            self.assertWorks(ha.url)

    def test_certificate_is_not_looked_at_when_switched_off(self):
        for kind in ("good", "expired", "wrong-host"):
            with self.subTest(kind=kind):
                self.assertWorks(self.fake(tls=kind).url, verify_ssl=False)


@tagged("post_install", "-at_install")
class TestConfigurationProblems(ConnectionCase):
    def test_every_problem_is_named_and_nothing_is_tried(self):
        ha = self.fake()
        self.assertFails(ha.url, "API Token is blank", "Create a long-lived", token=" ")
        self.assertFails(ha.url, "API Token is empty", token=False)
        self.assertFails(ha.url, "too short", token="short")
        self.assertFails(False, "API URL is empty")
        self.assertFails("ha.local", "http:// or https://")
        message = self.assertFails(" ", "API URL is blank", token=" ")
        self.assertIn("API Token is blank", message)
        self.assertEqual(ha.requests, [])


@tagged("post_install", "-at_install")
class TestCauses(ConnectionCase):
    def test_name_that_does_not_resolve(self):
        self.assertFails(
            "http://no-such-host.invalid:8123",
            "no-such-host.invalid cannot be resolved",
            "Check the spelling",
        )

    def test_refused_connection(self):
        port = unused_port()
        self.assertFails(
            f"http://127.0.0.1:{port}", f"refused the connection on port {port}", "8123"
        )

    def test_connection_that_nobody_accepts(self):
        with black_hole() as port, patch.object(hass_rest_api, "TEST_TIMEOUT_S", 2):
            self.assertFails(
                f"http://127.0.0.1:{port}", "did not accept the connection", "firewall"
            )

    def test_server_that_never_answers(self):
        with (
            RawServer(mute) as server,
            patch.object(hass_rest_api, "TEST_TIMEOUT_S", 2),
        ):
            self.assertFails(server.url, "did not answer in time", "overloaded")
            self.assertFails(
                server.url.replace("http", "https"), "did not answer in time"
            )

    def test_server_that_never_ends_its_answer_takes_ten_seconds_at_most(self):
        with RawServer(trickle) as server:
            self.assertFails(server.url, "did not answer in time")

    def test_websocket_that_never_answers(self):
        ha = self.fake()
        ha.silent = True
        with patch.object(hass_rest_api, "TEST_TIMEOUT_S", 2):
            self.assertFails(ha.url, "did not answer in time")

    def test_certificates_that_are_not_trusted(self):
        for kind, text in (
            ("expired", "not trusted"),
            ("wrong-host", "not trusted"),
            ("good", "not trusted"),
        ):
            ha = self.fake(tls=kind)
            with self.subTest(kind=kind):
                self.assertFails(ha.url, text, "Verify TLS Certificate")
                self.assertEqual(ha.requests, [])  # no token was sent

    def test_certificate_of_another_host_is_said_to_be_one(self):
        ha = self.fake(tls="wrong-host")
        with patch.dict("os.environ", {"REQUESTS_CA_BUNDLE": ha.ca_file}):
            self.assertFails(ha.url, "127.0.0.1 is not trusted", "match")
        ha = self.fake(tls="expired")
        with patch.dict("os.environ", {"REQUESTS_CA_BUNDLE": ha.ca_file}):
            self.assertFails(ha.url, "expired")

    def test_https_to_a_server_without_tls(self):
        ha = self.fake()
        self.assertFails(
            ha.url.replace("http", "https"), "does not speak TLS", "http://"
        )

    def test_http_to_a_server_with_tls(self):
        ha = self.fake(tls="good")
        self.assertFails(ha.url.replace("https", "http"), "speaks TLS only", "https://")

    def test_redirect_is_shown_and_not_followed(self):
        other, ha = self.fake(), self.fake()
        ha.redirect_to = f"{other.url}/elsewhere"
        self.assertFails(
            ha.url, f"redirects to {other.url}/elsewhere", "address that it redirects"
        )
        self.assertEqual(other.requests, [])

    def test_redirect_shows_no_credentials(self):
        ha = self.fake()
        ha.redirect_to = "http://admin:hunter2@elsewhere.example/?token=hunter2"
        self.assertNotIn("hunter2", self.assertFails(ha.url, "redirects to"))

    def test_another_web_server(self):
        for script in (
            http_answer(200, b"<html>It works!</html>"),
            http_answer(404, b"<h1>Not Found</h1>"),
            http_answer(200, b'{"version": "1"', "Content-Type: application/json\r\n"),
            answering(b"SSH-2.0-OpenSSH_9.2\r\n"),
            answering(b"220 mail ESMTP\r\n"),
        ):
            with RawServer(script) as server:
                self.assertFails(
                    server.url,
                    "Another web server than Home Assistant",
                    "host and port",
                )

    def test_server_that_hangs_up(self):
        with RawServer(hang_up) as server:
            self.assertFails(server.url, "connection was lost")

    def test_answer_without_end_is_not_read_to_the_end(self):
        def flood(sock):
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                sock.sendall(b"x" * 65536)

        with RawServer(flood) as server:
            self.assertFails(server.url)

    def test_wrong_token_costs_one_failed_login(self):
        ha = self.fake()
        self.assertFails(
            ha.url,
            "rejected the API Token",
            "Create a new long-lived access token",
            token="wrong-token-0123456789",
        )
        self.assertEqual(ha.failed_logins, 1)

    def test_banned_address(self):
        ha = self.fake()
        ha.banned = True
        self.assertFails(ha.url, "refuses this server's address", "ip_bans.yaml")

    def test_websocket_blocked_by_a_proxy(self):
        for status in (400, 403, 404, 426, 502):
            ha = self.fake()
            ha.upgrade_status = status
            with self.subTest(status=status):
                self.assertFails(
                    ha.url, "blocks its WebSocket", "Upgrade and Connection"
                )

    def test_proxy_without_home_assistant_behind_it(self):
        ha = self.fake()
        for status in (500, 502, 503, 504):
            ha.http_status = status
            with self.subTest(status=status):
                self.assertFails(ha.url, f"HTTP {status}", "Home Assistant is running")

    def test_proxy_that_wants_a_login_of_its_own(self):
        script = http_answer(401, b"", 'WWW-Authenticate: Basic realm="x"\r\n')
        with RawServer(script) as server:
            self.assertFails(server.url, "asks for a login of its own")

    def test_home_assistant_that_does_not_trust_its_proxy(self):
        with RawServer(http_answer(400, b"400: Bad Request")) as server:
            self.assertFails(server.url, "does not trust the reverse proxy")


@tagged("post_install", "-at_install")
class TestAfterwards(ConnectionCase):
    def requests(self):
        self.env.cr.execute(
            "SELECT request_seq FROM ha_instance_status WHERE instance_id = %s",
            (self.instance.id,),
        )
        return self.env.cr.fetchone()[0]

    def press(self, url):
        """The button; it leaves its request through a cursor of its own."""
        self.instance.api_url = url
        with self.enter_registry_test_mode():
            self.instance.action_test_connection()

    def test_link_that_waits_is_connected_at_once(self):
        ha = self.fake()
        self.hold_lease(self.instance)
        self.set_status(self.instance, state="waiting", cause="refused")
        self.press(ha.url)
        self.assertEqual(self.requests(), 1)

    def test_link_that_works_is_left_alone(self):
        ha = self.fake()
        self.make_connected(self.instance)
        self.press(ha.url)
        self.assertEqual(self.requests(), 0)

    def test_failure_asks_for_nothing(self):
        self.hold_lease(self.instance)
        self.set_status(self.instance, state="waiting", cause="refused")
        self.press(f"http://127.0.0.1:{unused_port()}")
        self.assertEqual(self.requests(), 0)
