"""Who is watched, and what a browser needs to show states by itself."""

from odoo.exceptions import AccessError
from odoo.tests import tagged

from ..models.ha_live_watch import RENEW_BELOW_S, WATCH_S
from .instance_case import USER, InstanceCase


@tagged("post_install", "-at_install")
class TestLiveWatch(InstanceCase):
    def setUp(self):
        super().setUp()
        self.enterContext(self.enter_registry_test_mode())
        company = self.env["res.company"].create({"name": "Other"})
        self.ours = self.make_instance(name="Ours")
        self.theirs = self.make_instance(name="Theirs", company_id=company.id)
        self.archived = self.make_instance(name="Archived", active=False)
        self.user = self.make_user("watcher", USER)
        self.env.flush_all()

    def watch(self, user=None):
        return self.env["ha.instance"].with_user(user or self.user).watch_live()

    def remaining(self, instance):
        """For how many seconds somebody still watches."""
        self.env.cr.execute(
            "SELECT extract(epoch FROM watched_until"
            " - clock_timestamp() AT TIME ZONE 'UTC')::float8 FROM ha_live_watch"
            " WHERE instance_id = %s",
            (instance.id,),
        )
        row = self.env.cr.fetchone()
        return row and row[0]

    def test_watching_reaches_what_the_user_may_read_and_no_more(self):
        rows = {row["id"]: row for row in self.watch()["instances"]}
        self.assertIn(self.ours.id, rows)
        self.assertNotIn(self.theirs.id, rows)
        self.assertGreater(self.remaining(self.ours), RENEW_BELOW_S)
        self.assertIsNone(self.remaining(self.theirs))

    def test_an_archived_instance_is_told_of_but_not_watched(self):
        rows = {row["id"]: row for row in self.watch()["instances"]}
        self.assertFalse(rows[self.archived.id]["active"])
        self.assertIsNone(self.remaining(self.archived))

    def test_who_has_no_business_here_cannot_watch(self):
        stranger = self.make_user("stranger", "base.group_user")
        with self.assertRaises(AccessError):
            self.watch(stranger)
        self.assertIsNone(self.remaining(self.ours))

    def test_a_watch_is_renewed_when_it_has_run_for_a_while(self):
        self.watch()
        self.env.cr.execute("SELECT ctid::text FROM ha_live_watch")
        before = self.env.cr.fetchall()
        self.watch()
        self.env.cr.execute("SELECT ctid::text FROM ha_live_watch")
        self.assertEqual(self.env.cr.fetchall(), before, "written without need")
        self.env.cr.execute(
            "UPDATE ha_live_watch SET watched_until = clock_timestamp()"
            " AT TIME ZONE 'UTC' + %s * interval '1 second'",
            (RENEW_BELOW_S - 5,),
        )
        self.watch()
        self.assertGreater(self.remaining(self.ours), WATCH_S - 10)

    def test_it_tells_how_the_connection_is(self):
        lease = self.make_connected(self.ours)
        [row] = [r for r in self.watch()["instances"] if r["id"] == self.ours.id]
        self.assertEqual(row["connection_state"], "connected")
        self.release_lease(lease)
        self.env.invalidate_all()
        [row] = [r for r in self.watch()["instances"] if r["id"] == self.ours.id]
        self.assertEqual(row["connection_state"], "unsupervised")
        self.assertNotIn("api_token", row)

    def test_it_tells_of_the_last_notification_that_was_meant_for_the_user(self):
        watch = self.env["ha.instance"].with_user(self.user).watch_live
        self.env.cr.execute(
            "INSERT INTO bus_bus (channel, message) SELECT json_build_array("
            " current_database(), 'ha.instance', i.id)::text, '{}'"
            " FROM unnest(%s) AS i(id) RETURNING id",
            ([self.ours.id, self.ours.id, self.theirs.id],),
        )
        # As the bus writes a channel: without spaces.
        self.env.cr.execute("UPDATE bus_bus SET channel = replace(channel, ', ', ',')")
        self.env.cr.execute("SELECT array_agg(id ORDER BY id DESC) FROM bus_bus")
        _theirs, newest, older = self.env.cr.fetchone()[0][:3]
        self.assertEqual(watch(older)["sent_id"], newest)
        self.assertEqual(watch(newest)["sent_id"], newest)
        for value in (0, -1, 2**40, True, None, "1; --", [1], {}, 1.5):
            with self.subTest(value):
                self.assertEqual(watch(value)["sent_id"], 0)

    def test_texts_of_states_are_in_the_users_language(self):
        self.env["res.lang"]._activate_lang("zh_TW")
        self.env["ir.module.module"]._load_module_terms(["odoo_ha_addon"], ["zh_TW"])
        user = self.user.with_context(lang="zh_TW")
        model = self.env["ha.entity"].with_user(user).with_context(lang="zh_TW")
        light = self.make_entity(self.ours, "light.x", "on").with_env(model.env)
        tables = model.get_state_texts()
        self.assertEqual(tables["states"]["on"], light.state_display)
        self.assertNotEqual(tables["states"]["on"], "On")
