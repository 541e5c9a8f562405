"""Which history is forgotten, and that the rest stays."""

import time
from datetime import datetime, timedelta
from unittest.mock import patch

from odoo.tests import tagged

from ..models.common.history import history_retention
from .instance_case import InstanceCase

DAYS = 30


@tagged("post_install", "-at_install")
class TestRetention(InstanceCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Of other tests' databases, nothing is to be forgotten here.
        cls.env["ha.instance"].search([]).history_retention_days = 0
        cls.now = datetime.now()
        cls.instance = cls.make_instance(history_retention_days=DAYS)
        cls.sensor = cls.make_entity(cls.instance, "sensor.a")
        cls.light = cls.make_entity(cls.instance, "light.a")

    def add_rows(self, entity, *days, table="ha_entity_history"):
        """One row so many days ago each."""
        self.env.flush_all()
        columns, value = {
            "ha_entity_history": ("last_changed, state, source", "d::text, 'live'"),
            "ha_entity_statistics": ("date, mean", "d"),
        }[table]
        self.env.cr.execute(
            f"INSERT INTO {table} (entity_id, {columns}) SELECT %s,"
            f" %s - d * interval '1 day', {value} FROM unnest(%s::float8[]) d",
            (entity.id, self.now, list(days)),
        )

    def days(self, entity, table="ha_entity_history", column="last_changed"):
        """How many days ago the rows of an entity are, oldest first."""
        self.env.cr.execute(
            f"SELECT extract(epoch FROM %s - {column})::float8 / 86400 FROM {table}"
            f" WHERE entity_id = %s ORDER BY {column}",
            (self.now, entity.id),
        )
        return [round(row[0], 3) for row in self.env.cr.fetchall()]

    def forget(self):
        """Run the scheduled action."""
        with self.enter_registry_test_mode():
            self.env.ref(
                "odoo_ha_addon.ir_cron_ha_forget_history"
            ).method_direct_trigger()

    def test_only_what_is_older_goes(self):
        self.add_rows(self.sensor, 400, 31.5, 30.5, 29.5, 1, 0)
        self.add_rows(self.light, 200, 100)
        with self.captured_logs() as lines:
            self.forget()
        self.assertEqual(
            self.days(self.sensor), [30.5, 29.5, 1, 0], "with what held 30 days ago"
        )
        self.assertEqual(self.days(self.light), [100], "it holds until today")
        [line] = [line for line in lines if "Deleted" in line]
        self.assertIn("Deleted 3 rows", line)
        self.assertIn(f"instance_id={self.instance.id}", line)
        with self.captured_logs() as lines:
            self.forget()
        self.assertNotIn("Deleted", "".join(lines))

    def test_for_ever(self):
        self.instance.history_retention_days = 0
        self.add_rows(self.sensor, 4000, 3000, 10)
        self.forget()
        self.assertEqual(self.days(self.sensor), [4000, 3000, 10])

    def test_each_instance_has_its_own(self):
        other = self.make_instance(name="Other", history_retention_days=300)
        other.active = False
        entity = self.make_entity(other, "sensor.a")
        for each in (entity, self.sensor):
            self.add_rows(each, 500, 400, 200, 100, 1)
        self.forget()
        self.assertEqual(self.days(self.sensor), [100, 1])
        self.assertEqual(self.days(entity), [400, 200, 100, 1])

    def test_statistics_stay(self):
        self.add_rows(self.sensor, 1000, 500, 1, table="ha_entity_statistics")
        self.add_rows(self.sensor, 1000, 500, 1)
        self.forget()
        self.assertEqual(self.days(self.sensor), [500, 1])
        self.assertEqual(
            self.days(self.sensor, "ha_entity_statistics", "date"), [1000, 500, 1]
        )

    def test_many_batches(self):
        dense = [100 + n / 5000 for n in range(1000)]
        sparse = [40 + 3 * n for n in range(500)]
        self.add_rows(self.sensor, *dense, 20)
        self.add_rows(self.light, *sparse)
        with patch.object(history_retention, "BATCH", 90):
            limit = self.now - timedelta(days=DAYS)
            counts = list(
                history_retention.delete_old_rows(self.env.cr, self.instance.id, limit)
            )
        self.assertEqual(sum(counts), 999 + 499)
        self.assertLess(max(counts), 2 * 90)
        self.assertEqual(self.days(self.sensor), [100, 20])
        self.assertEqual(self.days(self.light), [40])

    def test_the_rest_follows_in_the_next_run(self):
        self.add_rows(self.sensor, *(n / 10 + 0.05 for n in range(250, 1000)))
        job = self.env.ref("odoo_ha_addon.ir_cron_ha_forget_history")
        progress = self.env["ir.cron.progress"].create({"cron_id": job.id})
        with (
            patch.object(history_retention, "BATCH", 100),
            self.enter_registry_test_mode(),
            self.env.registry.cursor() as cr,
        ):
            history = self.env(cr=cr)["ha.entity.history"].with_context(
                cron_id=job.id,
                ir_cron_progress_id=progress.id,
                cron_end_time=time.monotonic() - 1,
            )
            history._cron_forget()
        self.assertEqual(progress.remaining, 1)
        self.assertIn(progress.done, range(100, 200))
        left = self.days(self.sensor)
        self.assertEqual(len(left), 750 - progress.done)
        self.forget()
        self.assertEqual(self.days(self.sensor)[0], 30.05)

    def test_gaps(self):
        def add(state, days_from, days_to, **values):
            return self.env["ha.history.gap"].create(
                {
                    "instance_id": self.instance.id,
                    "reason": "disconnect",
                    "state": state,
                    "date_from": self.now - timedelta(days=days_from),
                    "date_to": days_to is not None
                    and self.now - timedelta(days=days_to),
                    **values,
                }
            )

        old = add("missing", 90, 31) | add("filled", 90, 80)
        kept = add("missing", 90, 29) | add("pending", 90, 80) | add("open", 90, None)
        self.forget()
        self.assertEqual((old | kept).exists(), kept)
        self.instance.history_retention_days = 0
        kept |= add("missing", 200, 190)
        filled = add("filled", 200, 91) | add("filled", 200, 89)
        self.forget()
        self.env["ha.history.gap"]._gc_filled()
        self.assertEqual((kept | filled).exists(), kept | filled[1])
