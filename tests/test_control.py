"""Control: from a button in Odoo to the device in Home Assistant, and its answer."""

import threading
import time
from unittest.mock import patch

from lxml import etree

from odoo.exceptions import AccessError, UserError
from odoo.tests import tagged
from odoo.tools.safe_eval import safe_eval

from ..models import ha_entity
from .fake_ha import FakeHomeAssistant
from .instance_case import TOKEN, USER, InstanceCase
from .raw_server import RawServer, unused_port

LIMIT_S = 15  # generous; only a hang fails it
# What the issue asks buttons for.
BUTTONS = {
    "switch": {"turn_on", "turn_off", "toggle"},
    "light": {"turn_on", "turn_off", "toggle"},
    "fan": {"turn_on", "turn_off", "toggle"},
    "input_boolean": {"turn_on", "turn_off", "toggle"},
    "siren": {"turn_on", "turn_off", "toggle"},
    "automation": {"turn_on", "turn_off", "toggle"},
    "button": {"press"},
    "input_button": {"press"},
    "scene": {"turn_on"},
    "script": {"turn_on"},
    "cover": {"open_cover", "stop_cover", "close_cover"},
    "valve": {"open_valve", "stop_valve", "close_valve"},
    "lock": {"lock", "unlock"},
}


class ControlCase(InstanceCase):
    def setUp(self):
        super().setUp()
        # A call looks at the link's condition through a cursor of its own.
        self.enterContext(self.enter_registry_test_mode())
        # Nobody brings the fake's states back here.
        self.enterContext(patch.object(ha_entity, "NEWS_PATIENCE_S", 0.1))
        self.ha = self.enterContext(FakeHomeAssistant(token=TOKEN))
        self.ha.add_entity("light.kitchen", "off")
        self.instance = self.make_instance(api_url=self.ha.url)
        self.make_connected(self.instance)
        user = self.make_user("controller", USER)
        self.light = self.make_entity(self.instance, "light.kitchen").with_user(user)

    def entity(self, entity_id, **attributes):
        entity = self.make_entity(self.instance, entity_id, attributes=attributes)
        return entity.with_env(self.light.env)

    def last_call(self):
        call = dict(self.ha.service_calls[-1])
        self.assertEqual(call.pop("over"), "websocket")
        return call

    def assertCallFails(self, entity, *args, **kwargs):
        """The message of the UserError, which comes in bounded time."""
        started = time.monotonic()
        with self.assertRaises(UserError) as caught:
            entity.call_service(*args, **kwargs)
        self.assertLess(time.monotonic() - started, LIMIT_S)
        self.assertNotIn(TOKEN, str(caught.exception))
        return str(caught.exception)


@tagged("post_install", "-at_install")
class TestCall(ControlCase):
    def test_target_is_the_record_and_data_goes_along(self):
        answer = self.light.call_service("turn_on", {"brightness": 120})
        self.assertEqual(answer, "done")
        self.assertEqual(
            self.last_call(),
            {
                "domain": "light",
                "service": "turn_on",
                "data": {"brightness": 120},
                "target": {"entity_id": "light.kitchen"},
            },
        )
        self.assertEqual(self.ha.states["light.kitchen"]["s"], "on")

    def test_domain_homeassistant_is_for_every_entity(self):
        self.light.call_service("toggle", domain="homeassistant")
        call = self.last_call()
        self.assertEqual((call["domain"], call["service"]), ("homeassistant", "toggle"))
        self.assertEqual(call["target"], {"entity_id": "light.kitchen"})

    def test_renamed_entity_is_called_by_its_present_name(self):
        self.light.sudo().ha_entity_id = "light.renamed"
        self.light.call_service("turn_on")
        self.assertEqual(self.last_call()["target"], {"entity_id": "light.renamed"})

    def test_refused_keys_never_reach_home_assistant(self):
        for key in ("entity_id", "device_id", "area_id", "label_id", "floor_id"):
            message = self.assertCallFails(self.light, "turn_on", {key: "lock.front"})
            self.assertIn(key, message)
        self.assertEqual(self.ha.total_connections, 0)

    def test_home_assistants_own_message_is_shown(self):
        self.ha.service_errors[("light", "turn_on")] = (
            "service_validation_error",
            "Brightness must be below 256",
        )
        message = self.assertCallFails(self.light, "turn_on", {"brightness": 300})
        self.assertIn("Brightness must be below 256", message)

    def test_connection_is_closed_after_each_call(self):
        for _ in range(3):
            self.light.call_service("toggle")
        self.ha.wait_for(lambda: not self.ha.connections)
        self.assertEqual(self.ha.close_codes, [1000] * 3)

    def test_link_that_is_not_up_answers_at_once(self):
        cases = (
            ({"state": "waiting", "cause": "no_answer"}, "no sign of life"),
            ({"state": "syncing"}, "not connected"),
            ({"state": "connected", "stop_requested": True}, "stopped from odoo shell"),
        )
        for columns, text in cases:
            with self.subTest(columns=columns):
                self.set_status(self.instance, since=100, **columns)
                message = self.assertCallFails(self.light, "turn_on")
                self.assertIn("My HA is not connected to Home Assistant", message)
                self.assertIn(text, message)
        self.assertEqual(self.ha.total_connections, 0)

    def test_dead_link_is_noticed_by_its_heartbeat(self):
        self.beat(self.instance, age=60)
        message = self.assertCallFails(self.light, "turn_on")
        self.assertIn("no heartbeat for 6", message)

    def test_archived_and_unowned_instances_answer_at_once(self):
        self.instance.active = False
        self.assertIn("archived", self.assertCallFails(self.light, "turn_on"))
        orphan = self.make_instance(api_url=self.ha.url)
        self.set_status(orphan, since=10, state="connected")
        self.beat(orphan)
        entity = self.make_entity(orphan, "light.kitchen")
        self.assertIn("No Odoo process", self.assertCallFails(entity, "turn_on"))
        self.assertEqual(self.ha.total_connections, 0)

    def test_home_assistant_that_has_gone_away_meanwhile(self):
        self.instance.api_url = f"http://127.0.0.1:{unused_port()}"
        self.make_connected_again()
        message = self.assertCallFails(self.light, "turn_on")
        self.assertIn("refused the connection", message)

    def test_mute_home_assistant_is_given_up_soon(self):
        self.ha.silent = True
        self.assertIn("in time", self.assertCallFails(self.light, "turn_on"))

    def test_slow_service_is_reported_as_running(self):
        self.ha.service_delay = 60
        started = time.monotonic()
        self.assertEqual(self.light.call_service("turn_on"), "running")
        self.assertLess(time.monotonic() - started, LIMIT_S)
        self.assertEqual(len(self.ha.service_calls), 1)

    def test_connection_that_breaks_during_the_call_is_not_tried_again(self):
        self.ha.service_delay = 60
        timer = self.drop_when_called()
        message = self.assertCallFails(self.light, "turn_on")
        timer.join(10)
        self.assertIn("may or may not have run", message)
        self.assertEqual(len(self.ha.service_calls), 1)

    def drop_when_called(self):
        def drop():
            self.ha.wait_for(lambda: self.ha.service_calls)
            self.ha.drop_connections()

        thread = threading.Thread(target=drop, daemon=True)
        thread.start()
        return thread

    def test_peer_that_is_no_home_assistant_gets_no_service_call(self):
        received = []

        def listen(sock):
            received.append(sock.recv(65536))
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

        with RawServer(listen) as server:
            self.instance.api_url = server.url
            self.make_connected_again()
            self.assertCallFails(self.light, "turn_on")
        self.assertNotIn(TOKEN.encode(), b"".join(received))

    def make_connected_again(self):
        """After a change of the configuration, as its owner would."""
        self.set_status(self.instance, since=100, state="connected")

    def test_token_that_was_revoked(self):
        self.ha.token = "a-new-token-0123456789"
        message = self.assertCallFails(self.light, "turn_on")
        self.assertIn("rejected the API Token", message)
        self.assertEqual(self.ha.failed_logins, 1)

    def test_stranger_cannot_call(self):
        stranger = self.make_user("stranger2", "base.group_user")
        with self.assertRaises(AccessError):
            self.light.with_user(stranger).call_service("turn_on")


@tagged("post_install", "-at_install")
class TestButtons(ControlCase):
    def press(self, entity, service):
        return entity.with_context(ha_service=service).action_control()

    def test_every_button_reaches_home_assistant(self):
        for domain, services in BUTTONS.items():
            entity = self.entity(f"{domain}.x")
            for service in sorted(services):
                with self.subTest(domain=domain, service=service):
                    action = self.press(entity, service)
                    self.assertEqual(action["params"]["type"], "success")
                    self.assertEqual(
                        self.last_call(),
                        {
                            "domain": domain,
                            "service": service,
                            "data": {},
                            "target": {"entity_id": f"{domain}.x"},
                        },
                    )

    def buttons(self, view_type):
        """The services that a view has a button for, by ``control``."""
        arch = self.env["ha.entity"].get_view(view_type=view_type)["arch"]
        found = {}
        for button in etree.fromstring(arch).iter("button"):
            if button.get("name") != "action_control":
                continue
            conditions = [button.get("invisible"), button.get("t-if")]
            conditions += [node.get("t-if") for node in button.iterancestors("t")]
            text = " ".join(filter(None, conditions))
            service = safe_eval(button.get("context"))["ha_service"]
            for control in set(ha_entity.CONTROLS.values()):
                if f"'{control}'" in text:
                    found.setdefault(control, set()).add(service)
        return found

    def test_form_and_kanban_have_the_buttons(self):
        form, kanban = self.buttons("form"), self.buttons("kanban")
        for domain, services in BUTTONS.items():
            with self.subTest(domain=domain):
                control = ha_entity.CONTROLS[domain]
                self.assertEqual(self.entity(f"{domain}.y").control, control)
                self.assertEqual(form[control], services)
                # A card has room for what makes sense in the present state.
                self.assertEqual(kanban[control], services - {"toggle"})

    def test_entity_without_simple_control_has_none(self):
        self.assertFalse(self.entity("sensor.x").control)

    def test_running_service_is_told_as_running(self):
        self.ha.service_delay = 60
        action = self.press(self.light, "turn_on")
        self.assertEqual(action["params"]["type"], "info")
        self.assertIn("still running", action["params"]["message"])

    def test_failure_is_an_error_with_home_assistants_words(self):
        self.ha.service_errors[("light", "toggle")] = ("home_assistant_error", "Fuse")
        with self.assertRaisesRegex(UserError, "Fuse"):
            self.press(self.light, "toggle")


@tagged("post_install", "-at_install")
class TestLockCode(ControlCase):
    CODE = "code-4711-secret"

    def setUp(self):
        super().setUp()
        self.lock = self.entity("lock.front", code_format="^\\d+$")

    def open_dialog(self, service):
        action = self.lock.with_context(ha_service=service).action_control()
        self.assertEqual(action["res_model"], "ha.service.call")
        self.assertEqual(self.ha.service_calls, [])
        return (
            self.env["ha.service.call"]
            .with_env(self.lock.env)
            .with_context(**action["context"])
        )

    def test_lock_with_a_code_asks_for_it(self):
        dialog = self.open_dialog("unlock").create({"code": self.CODE})
        self.assertEqual((dialog.entity_id, dialog.service), (self.lock, "unlock"))
        dialog.with_context(code=self.CODE).action_call()
        self.assertEqual(
            self.last_call(),
            {
                "domain": "lock",
                "service": "unlock",
                "data": {"code": self.CODE},
                "target": {"entity_id": "lock.front"},
            },
        )

    def test_code_is_stored_nowhere_and_never_logged(self):
        self.ha.service_errors[("lock", "unlock")] = ("x", "Wrong code")
        with self.captured_logs() as lines:
            dialog = self.open_dialog("unlock").create({"code": self.CODE})
            with self.assertRaisesRegex(UserError, "Wrong code"):
                dialog.with_context(code=self.CODE).action_call()
        self.assertIn("Service lock.unlock for lock.front failed", "".join(lines))
        self.assertNotIn(self.CODE, "".join(lines))
        self.env.flush_all()
        self.env.cr.execute("SELECT t::text FROM ha_service_call t")
        self.assertNotIn(self.CODE, str(self.env.cr.fetchall()))

    def test_lock_without_a_code_is_called_at_once(self):
        lock = self.entity("lock.back")
        lock.with_context(ha_service="lock").action_control()
        self.assertEqual(self.last_call()["data"], {})
