"""The condition of instances: state, heartbeat, connection log, activities, company."""

from cryptography.fernet import Fernet

from odoo.exceptions import AccessError
from odoo.tests import tagged

from ..models.common.ingest import heartbeat
from ..models.common.supervision.instance_config import read_instances
from ..models.ha_instance import TOKEN_MASK
from .instance_case import MANAGER, TOKEN, USER, InstanceCase

STATES = (
    *("unconfigured", "stopped", "unsupervised", "connecting", "syncing"),
    *("connected", "waiting", "auth_failed"),
)


@tagged("post_install", "-at_install")
class TestConnectionState(InstanceCase):
    def assertState(self, instance, state, message=""):
        """The field and the search say the same."""
        self.env.flush_all()
        self.env.invalidate_all()
        self.assertEqual(instance.connection_state, state)
        self.assertIn(message, instance.connection_message or "")
        Instance = self.env["ha.instance"].with_context(active_test=False)
        for other in STATES:
            found = instance in Instance.search([("connection_state", "=", other)])
            self.assertEqual(found, other == state, other)
            found = instance in Instance.search([("connection_state", "!=", other)])
            self.assertEqual(found, other != state, other)
        self.assertIn(
            instance, Instance.search([("connection_state", "in", [state, "x"])])
        )

    def refuse(self, instance):
        """Home Assistant refused exactly this configuration."""
        self.env.flush_all()

        def execute(query):
            self.env.cr.execute(query)
            return self.env.cr.fetchall()

        configs = {config.id: config for config in read_instances(execute)}
        self.set_status(
            instance,
            state="auth_failed",
            cause="token_rejected",
            auth_fingerprint=configs[instance.id].verdict_fingerprint,
        )

    def test_incomplete_instance_is_unconfigured_whatever_its_row_says(self):
        instance = self.make_instance(api_url=False)
        self.assertState(instance, "unconfigured", "API URL is empty")
        self.make_connected(instance)
        self.assertState(instance, "unconfigured", "API URL is empty")

    def test_nobody_keeps_it_connected(self):
        instance = self.make_instance()
        self.assertState(instance, "unsupervised", "No Odoo process")
        # What a process that was killed left behind is not the truth.
        self.set_status(instance, state="connected", since=10)
        self.beat(instance)
        self.assertState(instance, "unsupervised", "No Odoo process")
        self.assertFalse(instance.owner)

    def test_archived_instance_is_stopped(self):
        instance = self.make_instance(active=False)
        self.make_connected(instance)
        self.assertState(instance, "stopped", "archived")

    def test_stop_request_stops_until_unarchived(self):
        instance = self.make_instance()
        self.make_connected(instance)
        self.set_status(instance, since=100, stop_requested=True)
        self.assertState(instance, "stopped", "stopped from odoo shell")
        instance.active = False
        instance.active = True
        self.assertState(instance, "connected")

    def test_connected_needs_lease_and_fresh_heartbeat(self):
        instance = self.make_instance()
        lease = self.make_connected(instance)
        self.assertState(instance, "connected")
        self.assertEqual(instance.owner, "cron worker 4711 on host")
        self.assertEqual(instance.ha_version, "2025.4.4")
        self.assertEqual(instance.location_name, "Fake Home")
        self.assertTrue(instance.connected_since)
        self.assertTrue(instance.last_heartbeat)
        self.release_lease(lease)
        self.assertState(instance, "unsupervised")
        self.assertFalse(instance.connected_since)

    def test_lease_of_another_instance_does_not_count(self):
        instance, other = self.make_instance(), self.make_instance(name="Other")
        self.make_connected(other)
        self.set_status(instance, state="connected", since=100)
        self.beat(instance)
        self.assertState(instance, "unsupervised")
        self.assertState(other, "connected")

    def test_old_heartbeat_means_waiting(self):
        instance = self.make_instance()
        self.make_connected(instance)
        self.beat(instance, age=20)
        self.assertState(instance, "connected")
        self.beat(instance, age=45)
        self.assertState(instance, "waiting", "no heartbeat for 4")
        # A link that came up a moment ago has not beaten yet.
        self.set_status(instance, since=3)
        self.assertState(instance, "connected")

    def test_owner_reports_what_it_is_doing(self):
        instance = self.make_instance()
        self.hold_lease(instance)
        for state in ("connecting", "syncing", "waiting"):
            self.set_status(instance, state=state)
            self.assertState(instance, state)
        self.set_status(
            instance,
            state="waiting",
            cause="refused",
            params='{"host": "ha.example", "port": 8123}',
        )
        self.assertState(instance, "waiting", "ha.example refused the connection")
        self.assertIn("8123", instance.connection_remedy)

    def test_new_owner_is_connecting_until_it_reports(self):
        instance = self.make_instance()
        self.hold_lease(instance)
        self.assertState(instance, "connecting")
        self.set_status(instance, state="stopped", cause="server_stopped")
        self.assertState(instance, "connecting")

    def test_refused_token_stays_refused_until_the_configuration_changes(self):
        instance = self.make_instance()
        self.refuse(instance)
        self.assertState(instance, "auth_failed", "rejected the API Token")
        instance.name = "Renamed"
        self.assertState(instance, "auth_failed")
        instance.api_token = "another-token-0123456789"
        self.assertState(instance, "unsupervised")
        instance.api_token = TOKEN
        self.assertState(instance, "auth_failed")

    def test_unconfirmed_copy_of_a_database_stays_stopped(self):
        instance = self.make_instance()
        self.assertFalse(instance.is_unconfirmed_copy)
        self.env["ir.config_parameter"].set_param("database.uuid", "another")
        self.assertState(instance, "stopped", "This database is a copy")
        self.assertTrue(instance.is_unconfirmed_copy)
        instance.action_confirm_database()
        self.assertState(instance, "unsupervised")
        self.assertFalse(instance.is_unconfirmed_copy)

    def test_raw_copy_of_a_database_is_told_by_name_and_oid(self):
        instance = self.make_instance()
        secret = instance.sudo()
        name, oid = secret.confirmed_database_name, secret.confirmed_database_oid
        self.assertEqual(name, self.env.cr.dbname)
        for values, is_copy in (
            ({"confirmed_database_name": "another"}, False),  # renamed
            ({"confirmed_database_oid": "1"}, True),
            ({"confirmed_database_name": name}, False),  # on another server
        ):
            secret.write(values)
            self.env.flush_all()
            self.env.invalidate_all()
            self.assertEqual(instance.is_unconfirmed_copy, is_copy, values)
        secret.write({"confirmed_database_name": False, "confirmed_database_oid": oid})
        self.env.invalidate_all()
        self.assertFalse(instance.is_unconfirmed_copy)

    def test_key_that_is_gone_makes_it_unconfigured(self):
        with self.server_key(Fernet.generate_key().decode()):
            instance = self.make_instance()
            self.assertState(instance, "unsupervised")
        self.assertState(instance, "unconfigured", "encrypted with a key")

    def test_state_is_shown_before_the_first_save(self):
        new = self.env["ha.instance"].new({"name": "New"})
        self.assertEqual(new.connection_state, "unconfigured")
        new.update({"api_url": "http://ha.example", "api_token": TOKEN})
        self.assertEqual(new.connection_state, "stopped")

    def test_counts_leave_out_what_is_gone(self):
        instance = self.make_instance()
        self.make_entity(instance, "light.a")
        self.make_entity(instance, "light.b", removed_in_ha=True)
        self.make_entity(self.make_instance(name="Other"), "light.a")
        self.assertEqual(instance.entity_count, 1)


@tagged("post_install", "-at_install")
class TestHeartbeat(InstanceCase):
    def test_parameter_is_read_past_the_cache(self):
        instance = self.make_instance()
        get_param = self.env["ir.config_parameter"].sudo().get_param
        key = heartbeat.key(self.env.cr.dbname, instance.id)
        self.assertFalse(get_param(key))
        self.beat(instance, age=100)
        first = get_param(key)
        self.assertRegex(first, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
        self.beat(instance)
        self.assertGreater(get_param(key), first)

    def test_other_parameters_stay_cached(self):
        parameter = self.env["ir.config_parameter"].sudo()
        parameter.set_param("odoo_ha_addon_other", "1")
        self.assertEqual(parameter.get_param("odoo_ha_addon_other"), "1")
        with self.assertQueryCount(0):
            parameter.get_param("odoo_ha_addon_other")

    def test_heartbeat_goes_with_its_instance(self):
        instance, other = self.make_instance(), self.make_instance(name="Other")
        for each in (instance, other):
            self.beat(each)
        instance.unlink()
        self.env.cr.execute(
            "SELECT key FROM ir_config_parameter WHERE starts_with(key, %s)",
            (heartbeat.PREFIX,),
        )
        self.assertEqual(
            [key for (key,) in self.env.cr.fetchall()],
            [heartbeat.key(self.env.cr.dbname, other.id)],
        )


@tagged("post_install", "-at_install")
class TestConnectionLog(InstanceCase):
    def setUp(self):
        super().setUp()
        self.manager = self.make_user("ada", MANAGER, name="Ada Lovelace")

    def last_event(self, instance):
        return instance.event_ids.sorted("id")[-1]

    def test_creation_and_changes_say_who_and_which_fields(self):
        Instance = self.env["ha.instance"].with_user(self.manager)
        instance = Instance.create({"name": "New", "api_token": TOKEN})
        self.assertEqual(len(instance.event_ids), 1)
        self.assertIn("Ada Lovelace created", instance.event_ids.detail)
        instance.write({"api_url": "http://a.example", "verify_ssl": False})
        event = self.last_event(instance)
        self.assertEqual(event.kind, "configuration")
        for text in ("Ada Lovelace", "API URL", "Verify TLS Certificate"):
            self.assertIn(text, event.detail)
        instance.active = False
        self.assertIn("Active", self.last_event(instance).detail)

    def test_token_never_gets_into_the_log(self):
        instance = self.make_instance()
        instance.api_token = "another-token-0123456789"
        self.assertIn("API Token", self.last_event(instance).detail)
        self.env.flush_all()
        self.env.cr.execute("SELECT e.*::text FROM ha_connection_event e")
        rows = str(self.env.cr.fetchall())
        self.assertNotIn(TOKEN, rows)
        self.assertNotIn("another-token", rows)
        messages = instance.message_ids.mapped(
            lambda message: f"{message.body}{message.tracking_value_ids.ids}"
        )
        self.assertNotIn("token-0123456789", str(messages))

    def test_what_does_not_concern_the_connection_leaves_no_event(self):
        instance = self.make_instance()
        before = len(instance.event_ids)
        instance.write({"sequence": 3, "api_token": TOKEN_MASK})
        self.assertEqual(len(instance.event_ids), before)

    def test_events_are_kept_for_some_time_only(self):
        instance = self.make_instance()
        Event = self.env["ha.connection.event"]
        old, new = Event.create(
            [
                {"instance_id": instance.id, "kind": "start", "date": "2020-01-01"},
                {"instance_id": instance.id, "kind": "start"},
            ]
        )
        Event._gc_events()
        self.assertFalse(old.exists())
        self.assertTrue(new.exists())


@tagged("post_install", "-at_install")
class TestAttention(InstanceCase):
    def setUp(self):
        super().setUp()
        self.managers = self.env.ref("odoo_ha_addon.group_ha_manager").all_user_ids
        self.managers |= self.make_user("ada", MANAGER)
        self.managers |= self.make_user("bob", MANAGER)
        self.make_user("eve", USER)
        self.people = self.managers.filtered("active")

    def test_every_manager_gets_one_activity_and_loses_it_when_all_is_well(self):
        instance = self.make_instance(api_url=False)
        instance._update_attention()
        self.assertEqual(instance.activity_ids.user_id, self.people)
        self.assertEqual(len(instance.activity_ids), len(self.people))
        self.assertIn("API URL is empty", instance.activity_ids[0].summary)
        instance._update_attention()
        self.assertEqual(len(instance.activity_ids), len(self.people))
        instance.api_url = "http://ha.example"
        self.make_connected(instance)
        instance._update_attention()
        self.assertFalse(instance.activity_ids)

    def test_activity_tells_the_present_cause_in_its_users_language(self):
        self.env["res.lang"]._activate_lang("zh_TW")
        self.people[0].lang = "zh_TW"
        instance = self.make_instance(api_url=False)
        instance._update_attention()
        activities = instance.activity_ids
        instance.api_url = "ha.example"
        instance._update_attention()
        self.assertEqual(instance.activity_ids, activities)
        for activity in activities:
            told = instance.with_context(lang=activity.user_id.lang)
            self.assertEqual(activity.summary, told.connection_message)
            self.assertIn(told.connection_remedy, activity.note)
        self.assertIn("does not start with", activities[-1].summary)

    def test_peoples_own_activities_stay(self):
        instance = self.make_instance(api_url=False)
        own = instance.activity_schedule("mail.mail_activity_data_todo")
        instance._update_attention()
        instance.api_url = "http://ha.example"
        self.make_connected(instance)
        instance._update_attention()
        self.assertEqual(instance.activity_ids, own)

    def test_short_outage_needs_nobody_and_a_long_one_does(self):
        instance = self.make_instance()
        self.hold_lease(instance)
        self.set_status(instance, state="waiting", cause="refused")
        self.beat(instance, age=60)
        instance._update_attention()
        self.assertFalse(instance.activity_ids)
        self.beat(instance, age=3600)
        self.env.invalidate_all()
        instance._update_attention()
        self.assertEqual(instance.activity_ids.user_id, self.people)

    def test_stopped_on_purpose_needs_nobody(self):
        instance = self.make_instance()
        self.set_status(instance, stop_requested=True)
        instance._update_attention()
        self.assertFalse(instance.activity_ids)

    def test_scheduled_action_looks_at_every_instance(self):
        instance = self.make_instance(api_token=False)
        cron = self.env.ref("odoo_ha_addon.ir_cron_ha_supervision")
        cron.ir_actions_server_id.run()
        self.assertEqual(instance.activity_ids.user_id, self.people)


@tagged("post_install", "-at_install")
class TestCompany(InstanceCase):
    def setUp(self):
        super().setUp()
        self.company_a, self.company_b = self.env["res.company"].create(
            [{"name": "A"}, {"name": "B"}]
        )
        self.user_a = self.make_user(
            "user-a",
            USER,
            company_id=self.company_a.id,
            company_ids=[(6, 0, self.company_a.ids)],
        )
        self.both = self.make_user(
            "both",
            MANAGER,
            company_id=self.company_a.id,
            company_ids=[(6, 0, (self.company_a + self.company_b).ids)],
        )
        self.in_a = self.make_instance(name="In A", company_id=self.company_a.id)
        self.in_b = self.make_instance(name="In B", company_id=self.company_b.id)
        self.shared = self.make_instance(name="Shared", company_id=False)
        self.entities = {
            instance: self.make_entity(instance, "light.a")
            for instance in (self.in_a, self.in_b, self.shared)
        }

    def names(self, user, model="ha.instance", field="name", companies=None):
        Model = self.env[model].with_user(user)
        if companies:
            Model = Model.with_context(allowed_company_ids=companies.ids)
        ours = self.in_a + self.in_b + self.shared
        key = "id" if model == "ha.instance" else "instance_id"
        return set(Model.search([(key, "in", ours.ids)]).mapped(field))

    def test_instances_and_all_that_belongs_to_them_follow_the_company(self):
        self.assertEqual(self.names(self.user_a), {"In A", "Shared"})
        self.assertEqual(
            self.names(self.user_a, "ha.entity", "instance_id.name"),
            {"In A", "Shared"},
        )
        with self.assertRaises(AccessError):
            self.entities[self.in_b].with_user(self.user_a).read(["state"])
        with self.assertRaises(AccessError):
            self.entities[self.in_b].with_user(self.user_a).call_service("toggle")

    def test_chosen_companies_decide(self):
        both = self.company_a + self.company_b
        for model, field in (
            ("ha.instance", "name"),
            ("ha.entity", "instance_id.name"),
            ("ha.connection.event", "instance_id.name"),
            ("ha.instance.status", "instance_id.name"),
        ):
            with self.subTest(model=model):
                self.assertEqual(
                    self.names(self.both, model, field, companies=both),
                    {"In A", "In B", "Shared"},
                )
                self.assertEqual(
                    self.names(self.both, model, field, companies=self.company_b),
                    {"In B", "Shared"},
                )

    def test_new_instance_belongs_to_the_current_company(self):
        created = self.env["ha.instance"].with_user(self.both).create({"name": "New"})
        self.assertEqual(created.company_id, self.company_a)
