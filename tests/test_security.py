"""Who may do what, seen from outside: through RPC, with hostile arguments."""

import inspect

from odoo.exceptions import UserError
from odoo.tests import tagged

from ..models.ha_instance import TOKEN_MASK
from .instance_case import TOKEN, URL
from .rpc_case import RpcCase, RpcError

HISTORY = ("ha.entity.history", "ha.entity.statistics", "ha.history.gap")
READABLE = (
    *("ha.instance", "ha.floor", "ha.area", "ha.label", "ha.device", "ha.entity"),
    *HISTORY,
)
MANAGERS_ONLY = ("ha.instance.status", "ha.connection.event")
INTERNAL = ("ha.entity.state", "ha.live.watch")
MODELS = (*READABLE, *MANAGERS_ONLY, *INTERNAL, "ha.service.call")
# Every method that clients may call: each must stand hostile arguments.
PUBLIC_METHODS = {
    "ha.instance": {
        "action_test_connection",
        "action_restart_websocket",
        "action_sync",
        "action_confirm_database",
        "action_view_entities",
        "action_view_devices",
        "action_view_areas",
        "watch_live",
    },
    "ha.area": {"action_view_entities"},
    "ha.device": {"action_view_entities"},
    "ha.entity": {
        "call_service",
        "action_control",
        "get_history_chart",
        "get_state_texts",
    },
    "ha.service.call": {"action_call"},
}
STANDARD_METHODS = {"create", "write", "unlink", "init"}


@tagged("post_install", "-at_install")
class TestAccess(RpcCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.instance = cls.make_instance()
        ids = {"instance_id": cls.instance.id, "name": "X"}
        cls.area = cls.env["ha.area"].create({**ids, "ha_area_id": "x"})
        cls.env["ha.floor"].create({**ids, "ha_floor_id": "x"})
        cls.env["ha.label"].create({**ids, "ha_label_id": "x"})
        cls.env["ha.device"].create({**ids, "ha_device_id": "x"})
        cls.entity = cls.make_entity(cls.instance, "light.x", area_id=cls.area.id)
        cls.make_history(cls.entity)

    @classmethod
    def make_history(cls, entity):
        """A row of each kind about an entity; return pairs of model and ids."""
        ids, time = {"entity_id": entity.id}, "2025-01-01 12:00:00"
        gap = {
            "instance_id": entity.instance_id.id,
            "reason": "disconnect",
            "state": "missing",
            "date_from": time,
            "missing": {str(entity.id): 1735732800},
        }
        rows = [
            {**ids, "state": "off", "last_changed": time, "source": "live"},
            {**ids, "date": time, "mean": 4711.0},
            gap,
        ]
        return [
            (model, cls.env[model].create(values).ids)
            for model, values in zip(HISTORY, rows, strict=True)
        ]

    def test_nobody_without_a_group_sees_anything(self):
        for who in ("stranger", "portal"):
            self.login(who)
            for model in MODELS:
                with self.subTest(who=who, model=model):
                    self.assertRefused(self.rpc, model, "search_read", [], ["id"])
                    self.assertRefused(self.rpc, model, "search_count", [])
            ids = self.entity.ids
            self.assertRefused(self.rpc, "ha.entity", "read", ids, ["state"])
            self.assertRefused(self.rpc, "ha.entity", "call_service", ids, "toggle")
            self.assertRefused(self.chart, ids)
            self.assertRefused(
                self.rpc,
                "ha.entity",
                "action_control",
                ids,
                context={"ha_service": "toggle"},
            )
            ids = self.instance.ids
            for method in PUBLIC_METHODS["ha.instance"]:
                if method.startswith("action_") and "view" not in method:
                    self.assertRefused(self.rpc, "ha.instance", method, ids)
            self.assertRefused(self.rpc, "ha.instance", "watch_live")

    def chart(self, ids):
        since = "2025-01-01 00:00:00"
        return self.rpc("ha.entity", "get_history_chart", ids, since, False)

    def test_without_login_nothing_answers(self):
        self.authenticate(None, None)
        with self.assertRaises(RpcError):
            self.rpc("ha.entity", "search_read", [], ["state"])

    def test_user_sees_records_but_not_the_log(self):
        self.login("user")
        for model in READABLE:
            with self.subTest(model=model):
                self.assertTrue(self.rpc(model, "search_read", [], ["display_name"]))
        rows = self.rpc("ha.entity", "search_read", [], ["state", "area_id"])
        self.assertIn("off", [row["state"] for row in rows])
        for model in (*MANAGERS_ONLY, *INTERNAL):
            with self.subTest(model=model):
                self.assertRefused(self.rpc, model, "search_read", [], ["id"])

    def test_user_sees_no_counters(self):
        names = ["change_count", "dropped_count"]
        self.login("user")
        self.assertRefused(self.rpc, "ha.instance", "read", self.instance.ids, names)
        self.login("manager")
        [row] = self.rpc("ha.instance", "read", self.instance.ids, names)
        self.assertEqual(row["change_count"], 0)

    def test_history_of_another_company_is_not_seen(self):
        company = self.env["res.company"].create({"name": "Other"})
        foreign = self.make_instance(name="Foreign", company_id=company.id)
        other = self.make_entity(foreign, "sensor.salary", "4711")
        rows = self.make_history(other)
        for who in ("user", "manager"):
            self.login(who)
            for model, ids in rows:
                with self.subTest(who=who, model=model):
                    domain = [("id", "in", ids)]
                    args = (domain, ["instance_id"], ["__count"])
                    self.assertEqual(self.rpc(model, "search_count", domain), 0)
                    self.assertEqual(self.rpc(model, "formatted_read_group", *args), [])
                    self.assertRefused(self.rpc, model, "read", ids, ["display_name"])
            self.assertRefused(self.chart, other.ids)
            self.assertRefused(self.chart, [self.entity.id, other.id])
            [chart] = self.chart(self.entity.ids)
            self.assertEqual([point[1] for point in chart["points"]], ["off"])

    def test_user_changes_nothing(self):
        self.login("user")
        for model in READABLE:
            ids = self.env[model].search([]).ids
            with self.subTest(model=model):
                self.assertRefused(self.rpc, model, "write", ids, {"name": "Y"})
                self.assertRefused(self.rpc, model, "unlink", ids)
                self.assertRefused(self.rpc, model, "create", {"name": "Y"})
        ids = self.instance.ids
        for method in (
            "action_test_connection",
            "action_restart_websocket",
            "action_sync",
            "action_confirm_database",
        ):
            with self.subTest(method=method):
                self.assertRefused(self.rpc, "ha.instance", method, ids)

    def test_user_may_control(self):
        """The instance is not connected: that answer comes after the checks."""
        self.login("user")
        message = self.assertRefused(
            self.rpc,
            "ha.entity",
            "call_service",
            self.entity.ids,
            "turn_on",
            error="UserError",
        )
        self.assertIn("not connected", message)

    def test_manager_configures(self):
        self.login("manager")
        [id_] = self.rpc("ha.instance", "create", [{"name": "New", "api_url": URL}])
        self.rpc("ha.instance", "write", [id_], {"api_token": TOKEN})
        [row] = self.rpc("ha.instance", "read", [id_], ["config_issue", "api_token"])
        self.assertFalse(row["config_issue"])
        self.assertEqual(row["api_token"], TOKEN_MASK)
        self.assertTrue(self.rpc("ha.connection.event", "search_count", []))
        self.rpc("ha.entity", "write", self.entity.ids, {"custom_name": "Mine"})
        self.rpc("ha.instance", "unlink", [id_])

    def test_administrator_who_installed_is_a_manager(self):
        admin = self.users["admin"]
        self.assertTrue(admin.has_group("odoo_ha_addon.group_ha_manager"))

    def test_present_states_are_written_by_nobody(self):
        self.login("admin")
        for model in ("ha.entity.state", "ha.instance.status"):
            ids = [self.entity.id]
            self.assertRefused(self.rpc, model, "write", ids, {"state": "on"})
            self.assertRefused(self.rpc, model, "create", {})
            self.assertRefused(self.rpc, model, "unlink", ids)
        self.assertRefused(
            self.rpc, "ha.connection.event", "unlink", self.instance.event_ids.ids
        )

    def test_record_cannot_be_made_to_show_anothers_state(self):
        """Not even by a manager: the other may belong to another company."""
        company = self.env["res.company"].create({"name": "Other"})
        foreign = self.make_instance(name="Foreign", company_id=company.id)
        other = self.make_entity(foreign, "sensor.salary", "4711")
        self.login("manager")
        self.assertRefused(self.rpc, "ha.entity", "read", other.ids, ["state"])
        self.assertRefused(
            self.rpc, "ha.entity", "write", self.entity.ids, {"live_id": other.id}
        )
        [row] = self.rpc("ha.entity", "read", self.entity.ids, ["state"])
        self.assertEqual(row["state"], "off")

    def test_what_home_assistant_delivers_is_not_changed_here(self):
        self.login("manager")
        own = {
            "ha.entity": {
                *("active", "custom_name", "record_history"),
                *("history_deadband", "history_interval"),
            },
            **dict.fromkeys(
                ("ha.area", "ha.device", "ha.floor", "ha.label"), {"active"}
            ),
        }
        for model, writable in own.items():
            fields = self.rpc(model, "fields_get", [], ["readonly", "store"])
            found = {name for name, field in fields.items() if not field["readonly"]}
            self.assertEqual(found, writable, model)
        for values in (
            {"ha_entity_id": "lock.front"},
            {"instance_id": self.make_instance(name="Other").id},
            {"state": "on"},
            {"name": "X"},
            {"area_id": False},
        ):
            with self.subTest(values=values):
                self.assertRefused(
                    self.rpc, "ha.entity", "write", self.entity.ids, values
                )
        values = {"custom_name": "Mine", "record_history": "never", "active": False}
        self.rpc("ha.entity", "write", self.entity.ids, values)
        self.rpc("ha.area", "action_archive", self.area.ids)

    def test_clients_can_call_only_what_is_meant_for_them(self):
        for name in MODELS:
            model = self.env[name]
            found = set()
            for cls in type(model).mro():
                if not cls.__module__.startswith("odoo.addons.odoo_ha_addon"):
                    continue
                found |= {
                    key
                    for key, value in vars(cls).items()
                    if inspect.isfunction(value)
                    and not key.startswith("_")
                    and not getattr(value, "_api_private", False)
                }
            self.assertEqual(
                found - STANDARD_METHODS, PUBLIC_METHODS.get(name, set()), name
            )

    def test_private_methods_are_refused(self):
        self.login("admin")
        for model, method in (
            ("ha.instance", "_get_token"),
            ("ha.instance", "_link_config"),
            ("ha.instance", "_entered_token"),
            ("ha.instance", "_cron_supervise"),
            ("ha.instance", "init"),
            ("ha.entity", "_check_service"),
            ("ha.entity", "init"),
        ):
            with self.subTest(method=method):
                ids = self.instance.ids
                self.assertRefused(self.rpc, model, method, ids)
                self.assertRefused(self.json_rpc, "admin", model, method, ids)


@tagged("post_install", "-at_install")
class TestHostileCalls(RpcCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.entity = cls.make_entity(cls.make_instance(), "light.x")

    def call(self, *args, **kwargs):
        return self.rpc("ha.entity", "call_service", self.entity.ids, *args, **kwargs)

    def test_names_that_are_none_are_refused_by_name(self):
        self.login("user")
        for service in (
            *("turn_on/../../config", "turn on", "TURN_ON", "turn_on\n", "", "tür"),
            *({"a": 1}, ["turn_on"], None, False, 1, 1.5, "x" * 100_000),
        ):
            with self.subTest(service=str(service)[:40]):
                message = self.assertRefused(self.call, service, error="UserError")
                self.assertIn("not the name of a service", message)
                self.assertLess(len(message), 500)
        for domain in ("light/..", "Light", {"a": 1}, ["light"], 5):
            with self.subTest(domain=domain):
                message = self.assertRefused(
                    self.call, "turn_on", domain=domain, error="UserError"
                )
                self.assertIn("not the name of a service", message)

    def test_services_that_a_user_must_not_call(self):
        self.login("user")
        for domain, service in (
            ("homeassistant", "restart"),
            ("homeassistant", "stop"),
            ("homeassistant", "reload_all"),
            (None, "reload"),
            (None, "no_such_service"),
            ("light", "set_default"),
        ):
            with self.subTest(domain=domain, service=service):
                message = self.assertRefused(self.call, service, domain=domain)
                self.assertIn("cannot be called", message)
        for domain in ("lock", "shell_command", "script", "hassio"):
            with self.subTest(domain=domain):
                message = self.assertRefused(
                    self.call, "turn_on", domain=domain, error="UserError"
                )
                self.assertIn("controlled by services of light", message)

    def test_data_cannot_name_another_target(self):
        self.login("user")
        for key in ("entity_id", "device_id", "area_id", "label_id", "floor_id"):
            with self.subTest(key=key):
                message = self.assertRefused(
                    self.call, "turn_on", {key: "lock.front"}, error="UserError"
                )
                self.assertIn(f"Remove {key}", message)

    def test_data_that_is_none_is_refused(self):
        self.login("user")
        for data in ("entity_id: lock.x", ["entity_id"], [["a", 1]], 5, True):
            with self.subTest(data=data):
                message = self.assertRefused(
                    self.call, "turn_on", data, error="UserError"
                )
                self.assertIn("names with values", message)

    def test_huge_data_is_refused(self):
        self.login("user")
        message = self.assertRefused(
            self.call, "turn_on", {"blob": "x" * 5_000_000}, error="UserError"
        )
        self.assertIn("too large", message)

    def test_data_that_is_no_json_is_refused(self):
        entity = self.entity.with_user(self.users["user"])
        for value in (float("nan"), float("inf"), object(), {1, 2}):
            with self.subTest(value=value), self.assertRaises(UserError):
                entity.call_service("turn_on", {"brightness": value})

    def test_several_entities_or_none_are_refused(self):
        self.login("user")
        other = self.make_entity(self.entity.instance_id, "light.y")
        for ids in ([], [self.entity.id, other.id]):
            self.assertRefused(
                self.rpc, "ha.entity", "call_service", ids, "toggle", error="ValueError"
            )

    def test_entity_that_is_gone(self):
        self.login("user")
        self.assertRefused(
            self.rpc,
            "ha.entity",
            "call_service",
            [2**30],
            "toggle",
            error=("MissingError", "AccessError"),
        )

    def test_button_without_a_service_is_refused(self):
        self.login("user")
        for context in ({}, {"ha_service": {"a": 1}}, {"ha_service": "../x"}):
            self.assertRefused(
                self.rpc,
                "ha.entity",
                "action_control",
                self.entity.ids,
                context=context,
                error="UserError",
            )

    def test_dialog_is_no_way_around(self):
        self.login("user")
        [id_] = self.rpc(
            "ha.service.call",
            "create",
            [{"entity_id": self.entity.id, "service": "restart"}],
        )
        self.assertRefused(
            self.rpc,
            "ha.service.call",
            "action_call",
            [id_],
            error=("AccessError", "UserError"),
        )
