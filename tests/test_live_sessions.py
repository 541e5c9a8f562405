"""Who gets what over Odoo's own bus: real sessions on a real server."""

import contextlib
import json
import time

from odoo.tests import tagged

from ..models.common.ingest.live_bus import MAX_CHANGES, MIN_INTERVAL_S
from .bus_client import BusClient
from .common import Database, LifecycleCase, OdooServer, run_as_admin, wait_until
from .fake_ha import FakeHomeAssistant
from .live_browser import login

LIGHT = "light.l1"
COUNT = MAX_CHANGES + 100
USER = "odoo_ha_addon.group_ha_user"


@tagged("post_install", "-at_install")
class TestLiveSessions(LifecycleCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ha = cls.enterClassContext(FakeHomeAssistant())
        cls.lights = [f"light.l{number}" for number in range(1, COUNT + 1)]
        for name in cls.lights:
            cls.ha.add_entity(name, "off")
        cls.db = Database()
        cls.addClassCleanup(cls.db.drop)
        cls.instance_id = cls.add_instance(cls, cls.db, cls.ha)
        cls.odoo = OdooServer("-d", cls.db.name)
        cls.addClassCleanup(cls.odoo.stop)
        cls.odoo.start()
        cls.odoo.wait_http()
        cls.channel = f"ha_instance:{cls.instance_id}"
        company = cls.call("res.company", "create", {"name": "Other"})
        cls.users = {
            "reader": cls.make_user("reader", USER),
            "member": cls.make_user("member", USER),
            "stranger": cls.make_user("stranger"),
            "other": cls.make_user("other", USER, company=company),
        }
        cls.company_id = cls.call("res.users", "read", [2], ["company_id"])[0][
            "company_id"
        ][0]
        cls.other_company_id = company
        cls.call(
            "ha.instance", "write", [cls.instance_id], {"company_id": cls.company_id}
        )
        wait_until(
            lambda: len(cls.states_in_odoo(cls, cls.db)) == COUNT, what="the entities"
        )
        cls.light_id = cls.db.value(
            "SELECT id FROM ha_entity WHERE ha_entity_id = %s", (LIGHT,)
        )
        cls.value = 0

    @classmethod
    def call(cls, model, method, *args, login="admin"):
        return cls.odoo.execute(cls.db.name, model, method, *args, login=login)

    @classmethod
    def group_id(cls, name):
        module, _dot, name = name.partition(".")
        return cls.db.value(
            "SELECT res_id FROM ir_model_data WHERE module = %s AND name = %s",
            (module, name),
        )

    @classmethod
    def make_user(cls, name, *groups, company=None):
        groups = [cls.group_id(group) for group in ("base.group_user", *groups)]
        values = {
            "name": name,
            "login": name,
            "password": name,
            "group_ids": [(6, 0, groups)],
        }
        if company:
            values |= {"company_id": company, "company_ids": [(6, 0, [company])]}
        return cls.call("res.users", "create", values)

    def session(self, name, subscribe=True):
        """A session that asks for the instance's channel by its name."""
        cookie = name and login(self.odoo, self.db, name)
        client = BusClient(self.odoo, cookie)
        self.addCleanup(client.close)
        return client.subscribe(self.channel) if subscribe else client

    def watch(self, name="reader"):
        self.call("ha.instance", "watch_live", login=name)

    def change(self):
        """Another state in Home Assistant; returns it."""
        type(self).value += 1
        state = f"s{self.value}"
        self.ha.set_state(LIGHT, state)
        return state

    def see(self, client, state):
        client.wait_for(lambda: any(c.get("state") == state for c in client.changes()))

    def catch_up(self, *clients):
        """Wait until these have everything that was sent to them before."""
        type(self).value += 1
        kind = f"marker{self.value}"
        message = json.dumps({"type": kind, "payload": {}})
        channel = json.dumps([self.db.name, "broadcast"], separators=(",", ":"))
        self.db.sql(
            "INSERT INTO bus_bus (channel, message, create_date)"
            " VALUES (%s, %s, now() AT TIME ZONE 'UTC')",
            (channel, message),
        )
        run_as_admin("SELECT pg_notify('imbus', %s)", (f"[{channel}]",))
        for client in clients:
            client.wait_for(
                lambda client=client: any(
                    item["message"]["type"] == kind for item in list(client.received)
                )
            )

    def rows(self):
        return self.db.value(
            "SELECT count(*) FROM bus_bus WHERE channel LIKE '%%ha.instance%%'"
        )

    def set_groups(self, name, *groups):
        groups = [self.group_id(group) for group in ("base.group_user", *groups)]
        user_id = self.users[name]
        self.call("res.users", "write", [user_id], {"group_ids": [(6, 0, groups)]})

    def test_only_those_who_may_read_get_changes(self):
        reader = self.session("reader")
        others = [self.session(name) for name in ("stranger", "other", None)]
        self.catch_up(reader, *others)
        self.watch()
        self.see(reader, self.change())
        self.catch_up(*others)
        self.assertEqual([client.ours for client in others], [0, 0, 0])

    def test_one_session_of_many_channels_gets_only_its_own(self):
        """Names that are none of ours, or of no instance, do no harm."""
        client = self.session("reader", subscribe=False)
        names = ["ha_instance:0", "ha_instance:999", "ha_instance:x", "ha.instance"]
        client.subscribe(*names, f"{self.channel} ")
        self.catch_up(client)
        self.watch()
        other = self.session("reader")
        self.see(other, self.change())
        self.catch_up(client)
        self.assertEqual(client.ours, 0)

    def test_access_that_is_taken_away_and_given_back(self):
        reader, member = self.session("reader"), self.session("member")
        self.catch_up(reader, member)
        self.watch()
        state = self.change()
        self.see(reader, state)
        self.see(member, state)

        self.set_groups("member")
        self.addCleanup(self.set_groups, "member", USER)
        before = member.ours
        self.see(reader, self.change())
        self.catch_up(member)
        self.assertEqual(member.ours, before, "it got what it may not read")
        member.subscribe(self.channel)
        self.see(reader, self.change())
        self.catch_up(member)
        self.assertEqual(member.ours, before, "it asked again and got it")

        self.set_groups("member", USER)
        member.subscribe(self.channel)
        self.catch_up(member)
        self.see(member, self.change())

    def test_an_instance_that_moves_to_another_company(self):
        reader, other = self.session("reader"), self.session("other")
        self.catch_up(reader, other)
        self.watch()
        self.see(reader, self.change())

        def move(company_id):
            values = {"company_id": company_id}
            self.call("ha.instance", "write", [self.instance_id], values)

        move(self.other_company_id)
        self.addCleanup(move, self.company_id)
        other.subscribe(self.channel)
        self.catch_up(reader, other)
        before = reader.ours
        self.watch("other")
        self.see(other, self.change())
        self.catch_up(reader)
        self.assertEqual(reader.ours, before)

    def test_nothing_is_sent_while_nobody_watches(self):
        self.db.sql("UPDATE ha_live_watch SET watched_until = '2000-01-01'")
        client = self.session("reader")
        self.catch_up(client)
        # The writer learns with its next transaction that nobody watches any more.
        self.wait_written(self.change())
        before = self.rows()
        for _ in range(3):
            self.wait_written(self.change())
        self.assertEqual(self.rows(), before)
        self.watch()
        self.see(client, self.change())

    def wait_written(self, state):
        wait_until(
            lambda: self.states_in_odoo(self.db)[LIGHT] == state, what="the state"
        )

    def test_a_restless_entity_is_told_of_four_times_a_second(self):
        client = self.session("reader")
        self.catch_up(client)
        self.watch()
        self.see(client, self.change())
        before, began = self.rows(), time.monotonic()
        while time.monotonic() < began + 2:
            last = self.change()
            time.sleep(0.02)
        self.see(client, last)
        most = (time.monotonic() - began) / MIN_INTERVAL_S + 1
        self.assertLessEqual(self.rows() - before, most)

    def test_a_flood_is_one_word(self):
        client = self.session("reader")
        self.catch_up(client)
        self.watch()
        self.see(client, self.change())
        client.wait_for(lambda: any(p.get("refetch") for p in client.payloads()))
        self.catch_up(client)
        before = len(client.payloads())
        self.ha.set_states([(name, "flood") for name in self.lights])
        client.wait_for(lambda: len(client.payloads()) > before)
        wait_until(
            lambda: set(self.states_in_odoo(self.db).values()) == {"flood"},
            what="the flood in Odoo",
        )
        self.see(client, self.change())
        payloads = client.payloads()[before:]
        self.assertEqual([bool(p.get("refetch")) for p in payloads], [True, False])

    def test_after_a_lost_notification_the_next_call_says_so(self):
        client = self.session("reader")
        self.catch_up(client)
        self.watch()
        self.see(client, self.change())
        seen = client.received[-1]["id"]
        answer = self.call("ha.instance", "watch_live", seen, login="reader")
        self.assertEqual(answer["sent_id"], seen)
        client.close()
        self.wait_written(self.change())
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.rows_after(seen), 5)
        answer = self.call("ha.instance", "watch_live", seen, login="reader")
        self.assertGreater(answer["sent_id"], seen)
        answer = self.call("ha.instance", "watch_live", seen, login="other")
        self.assertLessEqual(answer["sent_id"], seen)

    def rows_after(self, row_id):
        return self.db.value("SELECT count(*) FROM bus_bus WHERE id > %s", (row_id,))
