"""Which entities have their history recorded, and how people change that."""

from odoo.exceptions import ValidationError
from odoo.tests import tagged

from ..models.common import websocket_thread_manager
from ..models.common.history import history_policy
from ..models.common.supervision.ownership import CHANNEL
from .instance_case import InstanceCase


class PolicyCase(InstanceCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.instance = cls.make_instance()
        cls.light = cls.make_entity(cls.instance, "light.a")
        cls.power = cls.make_entity(
            cls.instance,
            "sensor.power",
            state_class="measurement",
            device_class="power",
        )
        cls.energy = cls.make_entity(
            cls.instance,
            "sensor.energy",
            state_class="total_increasing",
            device_class="energy",
        )
        cls.text = cls.make_entity(cls.instance, "sensor.text")
        cls.all = cls.light | cls.power | cls.energy | cls.text

    def assertRecorded(self, entities):
        self.assertEqual(self.all.filtered("is_recorded"), entities)

    def gaps(self):
        return self.env["ha.history.gap"].search(
            [("instance_id", "=", self.instance.id)], order="id"
        )


@tagged("post_install", "-at_install")
class TestPolicy(PolicyCase):
    def test_default_records_devices_and_measurements(self):
        self.assertRecorded(self.light | self.power | self.energy)

    def test_modes(self):
        self.instance.history_mode = "all"
        self.assertRecorded(self.all)
        self.instance.history_mode = "none"
        self.assertRecorded(self.env["ha.entity"])
        self.text.record_history = "always"
        self.assertRecorded(self.text)

    def test_one_match_of_the_lists_is_enough(self):
        self.instance.write(
            {
                "history_domains": "Switch; light",
                "history_state_classes": False,
                "history_device_classes": "energy",
            }
        )
        self.assertRecorded(self.light | self.energy)
        self.instance.history_state_classes = "measurement"
        self.assertRecorded(self.light | self.power | self.energy)
        self.instance.write(
            {
                "history_domains": False,
                "history_state_classes": "",
                "history_device_classes": False,
            }
        )
        self.assertRecorded(self.env["ha.entity"])

    def test_what_is_left_out_comes_before_what_is_recorded(self):
        for mode in ("all", "some"):
            for name, words, out in (
                ("history_excluded_domains", "light", self.light),
                ("history_excluded_state_classes", "measurement", self.power),
                ("history_excluded_device_classes", "energy", self.energy),
            ):
                with self.subTest(mode=mode, name=name):
                    self.instance.write({"history_mode": mode, name: words})
                    present = self.all if mode == "all" else self.all - self.text
                    self.assertRecorded(present - out)
                    self.instance.write({name: False})

    def test_an_entitys_own_choice_comes_first(self):
        self.instance.history_excluded_domains = "sensor"
        self.power.record_history = "always"
        self.light.record_history = "never"
        self.assertRecorded(self.power)
        self.instance.history_mode = "all"
        self.assertRecorded(self.power)
        (self.power | self.light).record_history = "default"
        self.assertRecorded(self.light)

    def test_entities_of_other_instances_are_left_alone(self):
        other = self.make_instance(name="Other")
        entity = self.make_entity(other, "light.a")
        self.instance.history_mode = "none"
        self.assertTrue(entity.is_recorded)
        self.assertFalse(self.light.is_recorded)

    def test_only_what_differs_is_written(self):
        query = "SELECT id, xmin, ctid FROM ha_entity WHERE id = ANY(%s) ORDER BY id"
        self.env.flush_all()
        self.env.cr.execute(query, (self.all.ids,))
        before = self.env.cr.fetchall()
        self.assertEqual(
            history_policy.update_recorded(self.env.cr, self.instance.id), []
        )
        self.env.cr.execute(query, (self.all.ids,))
        self.assertEqual(self.env.cr.fetchall(), before)

    def test_sql_on_a_bare_cursor(self):
        """As the owner calls it: entities that SQL inserted, and only some."""
        self.env.cr.execute(
            "INSERT INTO ha_entity (instance_id, ha_entity_id, domain, state_class)"
            " VALUES (%(i)s, 'light.new', 'light', NULL),"
            " (%(i)s, 'sensor.new', 'sensor', 'total'), (%(i)s, 'x.new', NULL, NULL)"
            " RETURNING id",
            {"i": self.instance.id},
        )
        light, sensor, nothing = [row[0] for row in self.env.cr.fetchall()]
        # Odoo's cursor wraps psycopg2's.
        cr = self.env.cr._obj
        update = history_policy.update_recorded
        self.assertEqual(update(cr, self.instance.id, []), [])
        self.assertEqual(update(cr, self.instance.id, [sensor, nothing]), [sensor])
        self.assertEqual(update(cr, self.instance.id), [light])
        self.assertEqual(update(cr, 2**31 - 1), [])

    def test_backfill_is_asked_for_what_a_person_adds(self):
        self.assertFalse(self.gaps(), "nothing was added yet")
        self.text.record_history = "always"
        [gap] = self.gaps()
        self.assertEqual(
            (gap.reason, gap.state, gap.entity_ids, gap.passes, gap.row_count),
            ("policy", "pending", self.text.ids, 0, 0),
        )
        self.assertEqual((gap.date_to - gap.date_from).days, 10)
        self.assertFalse(gap.missing_count)
        self.text.record_history = "never"
        self.text.history_deadband = 1
        self.assertEqual(self.gaps(), gap, "nothing was added")
        self.instance.history_mode = "none"
        self.instance.history_mode = "all"
        self.assertEqual(
            (self.gaps() - gap).entity_ids, (self.all - self.text).sorted("id").ids
        )

    def spy_on_notifications(self):
        """A list of the notifications that this transaction sends."""
        sent = []
        execute = type(self.env.cr).execute

        def spy(cursor, query, params=None, **options):
            if "pg_notify" in str(query):
                sent.append(str(query))
            return execute(cursor, query, params, **options)

        self.patch(type(self.env.cr), "execute", spy)
        return sent

    def test_owners_are_told(self):
        sent = self.spy_on_notifications()
        for record, values in (
            (self.instance, {"history_mode": "all"}),
            (self.instance, {"history_excluded_device_classes": "energy"}),
            (self.light, {"record_history": "never"}),
            (self.light, {"history_deadband": 0.5}),
            (self.light, {"history_interval": 60}),
        ):
            sent.clear()
            record.write(values)
            self.assertIn("'recording'", "".join(sent), values)
        sent.clear()
        self.light.custom_name = "Mine"
        self.instance.history_retention_days = 5
        self.assertNotIn("'recording'", "".join(sent))

    def test_notification_follows_the_commit(self):
        listener, sender = self.connect(), self.connect()
        sender.autocommit = False
        with listener.cursor() as ears, sender.cursor() as mouth:
            ears.execute(f'LISTEN "{CHANNEL}"')
            for end, heard in ((sender.rollback, []), (sender.commit, ["recording"])):
                websocket_thread_manager.notify_recording(mouth)
                end()
                ears.execute("SELECT 1")
                listener.poll()
                payloads = [notice.payload for notice in listener.notifies]
                listener.notifies.clear()
                self.assertEqual([p for p in payloads if p == "recording"], heard)


@tagged("post_install", "-at_install")
class TestPolicyValues(PolicyCase):
    def assertRefused(self, record, values, *words):
        with self.assertRaises(ValidationError) as caught:
            record.write(values)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertLess(len(str(caught.exception)), 500)

    def test_lists_hold_names_only(self):
        self.assertRefused(
            self.instance,
            {"history_domains": "light, sensor.power"},
            "Recorded Domains",
            "sensor.power",
        )
        self.assertRefused(
            self.instance,
            {"history_excluded_device_classes": "übel " * 10_000},
            "Left Out Device Classes",
        )
        self.assertRefused(
            self.instance,
            {"history_state_classes": "measurement, totals"},
            "Recorded State Classes",
            "totals",
            "total_increasing",
        )
        self.assertRefused(self.instance, {"history_domains": {"a": 1}}, "Recorded")
        with self.assertRaises(ValidationError):
            self.make_instance(history_excluded_state_classes="power")
        self.assertRecorded(self.light | self.power | self.energy)

    def test_numbers_out_of_range(self):
        for value in (-1, 2**31, 10**30, "x", [1], float("nan")):
            with self.subTest(value=value):
                name = "history_retention_days"
                self.assertRefused(self.instance, {name: value}, "Keep History", "0")
                name = "history_interval"
                self.assertRefused(self.light, {name: value}, "Minimum Interval", "0")
        for value in (-0.1, float("inf"), float("nan"), "x", 1e300, [1]):
            with self.subTest(value=value):
                name = "history_deadband"
                self.assertRefused(self.light, {name: value}, "Deadband", "0")
        with self.assertRaises(ValidationError):
            self.make_instance(history_retention_days=2**40)
        self.instance.history_retention_days = 0
        self.light.write({"history_deadband": 0.25, "history_interval": 3600})
