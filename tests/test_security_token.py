"""The access token is readable by nobody: not through RPC, export, search or logs."""

import json

from odoo.tests import tagged

from ..models.ha_instance import TOKEN_MASK
from .instance_case import TOKEN, URL
from .rpc_case import RpcCase, RpcError


@tagged("post_install", "-at_install")
class TestTokenSecrecy(RpcCase):
    """The token is readable by nobody, the administrator included."""

    SECRET = "api_token_stored"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.instance = cls.make_instance()
        cls.entity = cls.make_entity(cls.instance, "light.x")

    def reads(self):
        """Every way to read a field that clients have, as (method, args, kwargs)."""
        ids, secret = self.instance.ids, self.SECRET
        guess = [[secret, "=like", f"{TOKEN[:3]}%"]]
        return [
            ("read", (ids, [secret]), {}),
            ("search_read", ([], ["name", secret]), {}),
            ("web_read", (ids, {secret: {}}), {}),
            ("web_search_read", ([], {secret: {}}), {}),
            ("web_save", (ids, {"name": "X"}, {secret: {}}), {}),
            ("web_name_search", ("", {secret: {}}), {}),
            ("onchange", (ids, {}, [], {secret: {}}), {}),
            ("export_data", (ids, ["id", secret]), {}),
            ("read_group", ([], [secret], [secret]), {}),
            ("formatted_read_group", ([], [secret]), {}),
            ("formatted_read_group", ([], [], [f"{secret}:array_agg"]), {}),
            ("formatted_read_group", ([], [], [f"{secret}:max"]), {}),
            ("web_read_group", ([], [secret]), {}),
            ("formatted_read_grouping_sets", ([], [[secret]]), {}),
            ("search", (guess,), {}),
            ("search_count", (guess,), {}),
            ("search_read", (guess, ["name"]), {}),
            ("name_search", ("", guess), {}),
            ("web_search_read", (guess, {"name": {}}), {}),
            ("search", ([],), {"order": secret}),
            ("search_read", ([], ["name"]), {"order": f"{secret} desc"}),
            ("web_search_read", ([], {"name": {}}), {"order": secret}),
            ("read_progress_bar", ([], secret, {"field": secret, "colors": {}}), {}),
            ("search_panel_select_range", (secret,), {}),
            ("write", (ids, {secret: "x"}), {}),
            ("create", ([{"name": "X", secret: "x"}],), {}),
            ("default_get", ([secret],), {}),
            ("read", (ids, ["confirmed_database_uuid"]), {}),
            ("write", (ids, {"confirmed_database_uuid": "x"}), {}),
        ]

    def test_no_method_reveals_finds_groups_sorts_or_writes_it(self):
        for who in ("manager", "admin", "user"):
            self.login(who)
            for method, args, kwargs in self.reads():
                with self.subTest(who=who, method=method, args=args, kwargs=kwargs):
                    self.assertNothing(method, args, kwargs)

    def assertNothing(self, method, args, kwargs):
        """Refused, or an answer that holds nothing of the token."""
        try:
            answer = self.rpc("ha.instance", method, *args, **kwargs)
        except RpcError as error:
            self.assertNotIn(TOKEN, str(error))
            allowed = ("AccessError", "UserError", "ValueError", "ValidationError")
            self.assertIn(error.name, (*allowed, "NotImplementedError"))
            return
        # Only methods that leave a field out which they may not show.
        self.assertIn(method, ("default_get", "onchange"))
        self.assertNotIn(TOKEN, json.dumps(answer))
        self.assertNotIn(self.SECRET, json.dumps(answer))

    def test_way_through_other_models_is_closed_as_well(self):
        self.login("admin")
        path = f"instance_id.{self.SECRET}"
        for model in ("ha.entity", "ha.connection.event", "ha.instance.status"):
            for method, args, kwargs in (
                ("search", ([[path, "=like", "a%"]],), {}),
                ("search", ([["instance_id", "any", [[self.SECRET, "!=", 0]]]],), {}),
                ("formatted_read_group", ([], [path]), {}),
                ("export_data", ([], [f"instance_id/{self.SECRET}"]), {}),
                (
                    "web_search_read",
                    ([], {"instance_id": {"fields": {self.SECRET: {}}}}),
                    {},
                ),
            ):
                with self.subTest(model=model, method=method, args=args):
                    if method == "export_data":
                        ids = self.env[model].search([]).ids
                        args = (ids, *args[1:])
                    with self.assertRaises(RpcError) as caught:
                        self.rpc(model, method, *args, **kwargs)
                    self.assertNotIn(TOKEN, str(caught.exception))

    def test_fields_are_not_even_listed(self):
        for who in ("manager", "admin"):
            self.login(who)
            fields = self.rpc("ha.instance", "fields_get")
            self.assertNotIn(self.SECRET, fields)
            for name in ("uuid", "name", "oid"):
                self.assertNotIn(f"confirmed_database_{name}", fields)
            self.assertIn("api_token", fields)
            self.assertFalse(fields["api_token"].get("searchable"))
            self.assertFalse(fields["api_token"].get("sortable"))

    def test_mask_is_all_that_ordinary_ways_show(self):
        self.login("admin")
        ids = self.instance.ids
        for answer in (
            self.rpc("ha.instance", "read", ids),
            self.rpc("ha.instance", "copy_data", ids),
            self.rpc("ha.instance", "web_read", ids, {"api_token": {}}),
            self.rpc("ha.instance", "export_data", ids, ["id", "api_token"]),
            self.rpc("ha.instance", "search_read", [], ["api_token"]),
            self.json_rpc("admin", "ha.instance", "read", ids),
            self.json_rpc("manager", "ha.instance", "search_read", [], []),
        ):
            self.assertNotIn(TOKEN, json.dumps(answer))
        [row] = self.rpc("ha.instance", "read", ids, ["api_token"])
        self.assertEqual(row["api_token"], TOKEN_MASK)

    def test_saving_does_not_send_the_token_back(self):
        self.login("manager")
        values = {"name": "Saved", "api_url": URL, "api_token": TOKEN}
        spec = {"name": {}, "api_token": {}, "config_issue": {}}
        [created] = self.rpc("ha.instance", "web_save", [], values, spec)
        self.assertEqual(created["api_token"], TOKEN_MASK)
        new = {"api_token": "second-token-0123456789"}
        [saved] = self.rpc("ha.instance", "web_save", [created["id"]], new, spec)
        self.assertEqual(saved["api_token"], TOKEN_MASK)
        self.assertFalse(saved["config_issue"])

    def test_logs_of_all_that_hold_no_token(self):
        with self.captured_logs() as lines:
            self.login("manager")
            values = {"name": "Logged", "api_url": URL, "api_token": TOKEN}
            [id_] = self.rpc("ha.instance", "create", [values])
            for changed in (
                {"api_token": f"{TOKEN}-2"},
                {"api_url": "http://127.0.0.1:1", "api_token": f"{TOKEN}-3"},
                {"active": False},
            ):
                self.rpc("ha.instance", "write", [id_], changed)
            self.rpc("ha.instance", "action_test_connection", [id_])
            for method, args, kwargs in self.reads():
                self.assertNothing(method, args, kwargs)
            with self.assertRaises(RpcError):
                self.rpc("ha.instance", "write", [id_], {"api_token": f"{TOKEN}\0"})
        log = "\n".join(lines)
        self.assertIn("Test of instance Logged failed", log)
        self.assertIn("werkzeug", log)
        self.assertNotIn(TOKEN, log)
