"""Charts, lists and groups of history: what people read of it, and who may."""

from datetime import datetime, timedelta

from odoo.exceptions import AccessError, UserError
from odoo.tests import tagged

from ..models.common.entity_text import SECRET_TEXT
from ..models.common.history import history_sql
from .instance_case import USER, InstanceCase

NOON = datetime(2026, 3, 1, 12)
FORMAT = "%Y-%m-%d %H:%M:%S"


def ms(moment):
    return int((moment - datetime(1970, 1, 1)) / timedelta(milliseconds=1))


class ReadingCase(InstanceCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.instance = cls.make_instance()
        cls.sensor = cls.make_entity(
            cls.instance, "sensor.a", state_class="measurement", unit="°C"
        )
        cls.light = cls.make_entity(cls.instance, "light.a")
        cls.user = cls.make_user("ha-reader", USER)

    def add_rows(self, entity, *rows):
        """Rows of history: seconds after noon, and a state."""
        self.env.flush_all()
        self.env.cr.execute(
            """
            INSERT INTO ha_entity_history
                   (entity_id, state, value, is_numeric, last_changed, source)
            SELECT %s, state, CASE WHEN state ~ '^[0-9.-]+$' THEN state::float8 END,
                   state ~ '^[0-9.-]+$', %s + seconds * interval '1 second', 'live'
              FROM unnest(%s::float8[], %s::text[]) AS x(seconds, state)
            """,
            (
                entity.id,
                NOON,
                [seconds for seconds, _state in rows],
                [str(state) for _seconds, state in rows],
            ),
        )

    def add_series(self, entity, count, step=60, value="20 + n %% 7"):
        """So many numbers, one every ``step`` seconds from noon."""
        self.env.flush_all()
        self.env.cr.execute(
            f"""
            INSERT INTO ha_entity_history
                   (entity_id, state, value, is_numeric, last_changed, source)
            SELECT %s, v::text, v, TRUE, %s + n * %s * interval '1 second', 'live'
              FROM generate_series(0, %s - 1) n CROSS JOIN LATERAL (SELECT {value}) x(v)
            """,
            (entity.id, NOON, step, count),
        )

    def add_gap(self, since, until, **values):
        """A gap from and until so many seconds after noon."""
        return self.env["ha.history.gap"].create(
            {
                "instance_id": self.instance.id,
                "reason": "disconnect",
                "state": "missing",
                "date_from": NOON + timedelta(seconds=since),
                "date_to": until and NOON + timedelta(seconds=until),
                **values,
            }
        )

    def chart(self, entity, since=0, until=3600, points=1000):
        """One entity's chart from and until so many seconds after noon."""
        times = [(NOON + timedelta(seconds=s)).strftime(FORMAT) for s in (since, until)]
        [chart] = entity.with_user(self.user).get_history_chart(*times, points)
        return chart

    def assertPoints(self, chart, *expected):
        """The points are these: seconds after noon, and what follows."""
        found = [((at - ms(NOON)) / 1000, *rest) for at, *rest in chart["points"]]
        self.assertEqual(found, list(expected))


@tagged("post_install", "-at_install")
class TestChart(ReadingCase):
    def test_all_rows_when_they_are_few(self):
        self.add_rows(self.sensor, (0.123456, 20.5), (60, 21), (3600, 22), (3601, 9))
        chart = self.chart(self.sensor)
        self.assertPoints(chart, (0.123, 20.5), (60, 21), (3600, 22))
        self.assertEqual(
            {key: chart[key] for key in chart.keys() - {"points"}},
            {
                "id": self.sensor.id,
                "name": self.sensor.display_name,
                "unit": "°C",
                "kind": "number",
                "is_reduced": False,
                "gaps": [],
            },
        )

    def test_the_state_that_held_before_comes_first(self):
        self.add_rows(self.sensor, (-90000, 19), (-60, 20), (60, 21))
        self.assertPoints(self.chart(self.sensor), (0, 20), (60, 21))
        self.assertPoints(self.chart(self.sensor, since=61), (61, 21))
        self.assertPoints(self.chart(self.sensor, since=60), (60, 21))
        self.assertPoints(self.chart(self.sensor, since=-99999, until=-99000))

    def test_the_line_breaks_where_there_is_no_number(self):
        self.add_rows(
            self.sensor,
            *((-1, "unknown"), (1, 20), (2, "unavailable"), (3, "unknown"), (4, 21)),
        )
        self.assertPoints(
            self.chart(self.sensor), (0, None), (1, 20), (2, None), (3, None), (4, 21)
        )

    def test_extremes_are_kept(self):
        self.add_series(self.sensor, 30000)
        peaks = {4711.5: 99.5, 25000.5: -40.25, 29999.5: 70.0}
        self.add_rows(self.sensor, *((60 * n, v) for n, v in peaks.items()))
        chart = self.chart(self.sensor, until=60 * 30001)
        points = dict(map(tuple, chart["points"]))
        for number, value in peaks.items():
            self.assertEqual(points[ms(NOON) + number * 60000], value)
        self.assertTrue(chart["is_reduced"])
        self.assertLessEqual(len(points), 1000)
        self.assertGreater(len(points), 900)
        self.assertEqual(list(points), sorted(points))
        self.assertEqual(chart["points"][0][0], ms(NOON), "the first row of all")
        self.assertIn(chart["points"][0][1], (20, 26))

    def test_a_break_survives_reduction(self):
        """Also the one that begins a bucket, ends it, or is all that there is."""
        self.add_series(self.sensor, 3000, step=1)
        self.add_rows(self.sensor, (1500.2, "unavailable"))
        self.add_rows(
            self.sensor, *((2000 + n / 1000 + 0.1, "unknown") for n in range(9))
        )
        self.add_rows(self.sensor, (3000, "unavailable"), (9000, 5), (9001, 6))
        chart = self.chart(self.sensor, until=10000, points=100)
        self.assertTrue(chart["is_reduced"])
        self.assertLessEqual(len(chart["points"]), 100)
        values = {at - ms(NOON): value for at, value in chart["points"]}
        self.assertEqual(
            [at for at, value in values.items() if value is None][0], 1500200
        )
        # While it was away for long, nothing is drawn.
        latest = max(at for at in values if at < 9000000)
        self.assertEqual((latest, values[latest]), (3000000, None))
        self.assertEqual(list(values.items())[-1], (9001000, 6))

    def test_what_held_on_is_shown_through_a_silence(self):
        self.add_series(self.sensor, 2000, step=1, value="n %% 100")
        self.add_rows(self.sensor, (2000, 42), (90000, 1))
        chart = self.chart(self.sensor, until=90001, points=50)
        self.assertEqual(
            chart["points"][-2:], [[ms(NOON) + 2000000, 42], [ms(NOON) + 90000000, 1]]
        )

    def test_breaks_everywhere_stay_within_the_points(self):
        self.add_series(self.sensor, 2000, step=2)
        self.add_rows(self.sensor, *((2 * n + 1, "unavailable") for n in range(2000)))
        for points in (10, 99, 1000):
            chart = self.chart(self.sensor, until=5000, points=points)
            self.assertLessEqual(len(chart["points"]), points)
            values = [value for _at, value in chart["points"]]
            self.assertGreaterEqual(values.count(None), points // 5)
            self.assertLessEqual({20, 26}, set(values))

    def test_texts(self):
        self.add_rows(self.light, (-60, "off"), (60, "on"), (120, "unavailable"))
        chart = self.chart(self.light)
        self.assertEqual((chart["kind"], chart["unit"]), ("text", False))
        self.assertPoints(
            chart,
            *((0, "off", "Off"), (60, "on", "On")),
            (120, "unavailable", "Unavailable"),
        )

    def test_rare_texts_survive_reduction(self):
        self.add_rows(
            self.light, *((n, ("on", "off", "auto", "eco")[n % 4]) for n in range(2000))
        )
        self.add_rows(self.light, (777.5, "alarm"), (5000, "off"))
        chart = self.chart(self.light, until=5001, points=40)
        self.assertTrue(chart["is_reduced"])
        self.assertLessEqual(len(chart["points"]), 40)
        self.assertIn([ms(NOON) + 777500, "alarm", "Alarm"], chart["points"])
        self.assertEqual(
            chart["points"][-2:],
            [
                [ms(NOON) + 1999000, "eco", "Eco"],
                [ms(NOON) + 5000000, "off", "Off"],
            ],
        )

    def test_what_is_drawn_as_a_number(self):
        plain = self.make_entity(self.instance, "sensor.plain", state="unavailable")
        self.assertEqual(self.chart(plain)["kind"], "text")
        self.add_rows(plain, (1, 5), (2, "unavailable"))
        self.assertEqual(self.chart(plain)["kind"], "number")
        chosen = self.make_entity(self.instance, "input_select.speed", state="3")
        self.add_rows(chosen, (1, "2"), (2, "3"))
        self.assertEqual(self.chart(chosen)["kind"], "text")
        self.assertPoints(self.chart(chosen), (1, "2", "2"), (2, "3", "3"))

    def test_passwords_are_hidden(self):
        secret = self.make_entity(
            self.instance, "text.code", state="new", attributes={"mode": "password"}
        )
        self.add_rows(secret, (1, "old"), (2, "unavailable"))
        self.assertPoints(
            self.chart(secret),
            (1, SECRET_TEXT, SECRET_TEXT),
            (2, "unavailable", "Unavailable"),
        )

    def test_several_entities_in_their_order(self):
        self.add_rows(self.light, (1, "on"))
        self.add_rows(self.sensor, (2, 5))
        both = (self.light | self.sensor).with_user(self.user)
        args = ("2026-03-01 12:00:00", False)
        for entities in (both, both.browse(both.ids[::-1])):
            charts = entities.get_history_chart(*args)
            self.assertEqual([chart["id"] for chart in charts], entities.ids)
        self.assertEqual(both.browse().get_history_chart(*args), [])


@tagged("post_install", "-at_install")
class TestChartGaps(ReadingCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sensor.record_history = "always"
        cls.light.record_history = "never"
        cls.env["ha.history.gap"].search([]).unlink()

    def assertGaps(self, entity, *expected, **range_):
        """Seconds after noon from and until, and the state."""
        found = [
            [*((at and (at - ms(NOON)) / 1000) for at in gap[:2]), gap[2]]
            for gap in self.chart(entity, **range_)["gaps"]
        ]
        self.assertEqual(found, [list(gap) for gap in expected])

    def test_clipped_to_the_range(self):
        self.add_gap(-100, 100, missing={self.sensor.id: ms(NOON) / 1000 + 50})
        self.add_gap(500, 9000, state="pending")
        self.add_gap(-100, -1, state="pending")
        self.add_gap(3600, 4000, state="pending")
        self.add_gap(200, 300, state="filled")
        self.assertGaps(
            self.sensor, (0, 50, "missing"), (500, 3600, "pending"), until=3600
        )
        self.assertGaps(self.sensor, (600, 700, "pending"), since=600, until=700)

    def test_a_gap_that_goes_on(self):
        self.add_gap(100, False, state="open")
        self.assertGaps(self.sensor, (100, 3600, "open"))
        [chart] = self.sensor.get_history_chart("2026-03-01 12:00:00", False)
        self.assertEqual(chart["gaps"], [[ms(NOON) + 100000, None, "open"]])
        self.assertGaps(self.light)

    def test_before_the_first_connection(self):
        self.add_gap(0, False, state="open", reason="first", date_from=False)
        self.assertGaps(self.sensor, (0, 3600, "open"))

    def test_only_what_it_is_about(self):
        other = self.make_entity(self.instance, "sensor.b", record_history="always")
        self.add_gap(0, 10, missing={other.id: ms(NOON) / 1000 + 10})
        self.add_gap(20, 30, state="pending", entity_ids=other.ids)
        self.add_gap(40, 50, cause="no_history")
        self.assertGaps(self.sensor, (40, 50, "missing"))
        self.assertGaps(
            other, (0, 10, "missing"), (20, 30, "pending"), (40, 50, "missing")
        )

    def test_what_is_fetched_already(self):
        gap = self.add_gap(0, 600, state="pending", cursor={"after": self.sensor.id})
        self.assertGaps(self.sensor, (540, 600, "pending"))
        gap.write({"passes": 1, "cursor": False})
        self.assertGaps(self.sensor, (540, 600, "pending"))
        gap.missing = {self.sensor.id: ms(NOON) / 1000 + 600}
        self.assertGaps(self.sensor, (0, 600, "pending"))


@tagged("post_install", "-at_install")
class TestChartAccess(ReadingCase):
    RANGE = ("2026-03-01 12:00:00", "2026-03-01 13:00:00")

    def refuses(self, *args, entities=None, error=UserError):
        entities = self.sensor if entities is None else entities
        with self.assertRaises(error) as caught:
            entities.with_user(self.user).get_history_chart(*args)
        return str(caught.exception)

    def test_hostile_arguments(self):
        hour = self.RANGE[1]
        for wrong in (None, 5, "", "yesterday", "2026-03-01", [], {}, True, "'; --"):
            self.assertIn("date_from", self.refuses(wrong, hour))
        for wrong in (5, "now()", "2026-03-01", [1], {"a": 1}, True, "9" * 99):
            self.assertIn("date_to", self.refuses(self.RANGE[0], wrong))
        self.assertIn("date_from", self.refuses(hour, hour))
        self.assertIn("date_from", self.refuses(hour, self.RANGE[0]))
        self.assertIn("date_from", self.refuses("9999-12-31 23:59:59", False))
        for wrong in (None, 9, 5001, -1, "100", 100.0, True, [], float("nan")):
            self.assertIn("points", self.refuses(*self.RANGE, wrong))
        many = self.env["ha.entity"].concat(
            *(self.make_entity(self.instance, f"sensor.x{n}") for n in range(11))
        )
        self.assertIn("10", self.refuses(*self.RANGE, entities=many))
        self.assertEqual(len(many[:10].get_history_chart(*self.RANGE)), 10)

    def test_extreme_ranges(self):
        self.add_series(self.sensor, 100)
        for points in (10, 5000):
            [chart] = self.sensor.get_history_chart(
                "0001-01-01 00:00:00", "9999-12-31 23:59:59", points
            )
            self.assertEqual(chart["is_reduced"], points == 10)
            self.assertEqual(chart["points"][0][0], ms(NOON))

    def test_who_may_not(self):
        self.add_series(self.sensor, 3)
        stranger = self.make_user("ha-stranger", "base.group_user")
        company = self.env["res.company"].create({"name": "Elsewhere"})
        foreign = self.make_user(
            "ha-foreign", USER, company_id=company.id, company_ids=company.ids
        )
        for user in (stranger, foreign):
            with self.assertRaises(AccessError):
                self.sensor.with_user(user).get_history_chart(*self.RANGE)
        self.instance.company_id = False
        self.assertTrue(self.sensor.with_user(foreign).get_history_chart(*self.RANGE))

    def test_rules_of_the_history_count(self):
        """Not only those of the entity."""
        self.add_series(self.sensor, 3)
        self.env["ir.rule"].create(
            {
                "name": "only lights",
                "model_id": self.env["ir.model"]._get_id("ha.entity.history"),
                "domain_force": "[('entity_id.domain', '=', 'light')]",
            }
        )
        self.refuses(*self.RANGE, error=AccessError)
        self.refuses("2026-05-01 12:00:00", False, error=AccessError)
        self.assertTrue(self.light.with_user(self.user).get_history_chart(*self.RANGE))

    def test_unknown_entities(self):
        gone = self.make_entity(self.instance, "sensor.gone")
        gone.unlink()
        with self.assertRaises(UserError):
            gone.with_user(self.user).get_history_chart(*self.RANGE)


@tagged("post_install", "-at_install")
class TestGroups(ReadingCase):
    """What lists, graphs and pivots ask for."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        create = cls.env["ha.area"].create
        cls.area = create(
            {"instance_id": cls.instance.id, "ha_area_id": "k", "name": "Kitchen"}
        )
        cls.device = cls.env["ha.device"].create(
            {"instance_id": cls.instance.id, "ha_device_id": "d", "name": "Meter"}
        )
        (cls.sensor | cls.light).sudo().area_id = cls.area
        cls.sensor.sudo().write({"device_id": cls.device.id, "device_class": "energy"})

    def read_group(self, model, *args):
        return self.env[model].with_user(self.user)._read_group(*args)

    def test_history_by_what_the_entity_belongs_to(self):
        self.add_series(self.sensor, 10, step=14400)
        self.add_rows(self.light, (0, "on"), (1, "off"))
        mine = [("instance_id", "=", self.instance.id)]
        for field, groups in {
            "instance_id": [(self.instance, 12)],
            "area_id": [(self.area, 12)],
            "device_id": [(self.device, 10), (self.device.browse(), 2)],
            "domain": [("light", 2), ("sensor", 10)],
            "device_class": [("energy", 10), (False, 2)],
            "unit": [("°C", 10), (False, 2)],
        }.items():
            with self.subTest(field=field):
                found = self.read_group("ha.entity.history", mine, [field], ["__count"])
                self.assertEqual(found, groups)
        days = self.read_group(
            "ha.entity.history",
            [("area_id.name", "=", "Kitchen"), ("domain", "=", "sensor")],
            ["last_changed:day", "area_id"],
            ["value:avg"],
        )
        self.assertEqual(
            [(day.day, area) for day, area, _v in days],
            [(1, self.area), (2, self.area), (3, self.area)],
        )
        info = self.env["ha.entity.history"].fields_get(list(("area_id", "unit")))
        for description in info.values():
            self.assertTrue(description["groupable"] and description["sortable"])

    def test_energy_per_area_and_month(self):
        self.env.flush_all()
        self.env.cr.execute(
            """
            INSERT INTO ha_entity_statistics (entity_id, date, sum, change)
            SELECT %s, %s + n * interval '1 hour', n, 0.5
              FROM generate_series(0, 999) n
            """,
            (self.sensor.id, NOON),
        )
        found = self.read_group(
            "ha.entity.statistics",
            [("device_class", "=", "energy")],
            ["area_id", "date:month"],
            ["change:sum"],
        )
        self.assertEqual(
            [(area, month.month, change) for area, month, change in found],
            [(self.area, 3, 366.0), (self.area, 4, 134.0)],
        )


@tagged("post_install", "-at_install")
class TestBigIds(ReadingCase):
    """Both tables live longer than 2^31 rows."""

    FIRST = 2**31 + 5

    def move_sequences(self):
        for table in ("ha_entity_history", "ha_entity_statistics"):
            sequence = f"{table}_id_seq"
            self.env.cr.execute("SELECT nextval(%s)", (sequence,))
            # A rollback does not move it back.
            self.addCleanup(self.set_sequence, sequence, *self.env.cr.fetchone())
            self.set_sequence(sequence, self.FIRST)

    def set_sequence(self, sequence, last):
        self.env.cr.execute("SELECT setval(%s, %s)", (sequence, last))

    def test_beyond_31_bits(self):
        self.move_sequences()
        # History as ingest writes it.
        row = history_sql.Row(self.sensor.id, "20.5", 20.5, NOON.timestamp())
        again = row._replace(at=row.at + 60, state="21", value=21.0)
        self.env.flush_all()
        self.assertEqual(history_sql.insert_rows(self.env.cr, [row, again], "live"), 2)
        self.env.cr.execute(
            "INSERT INTO ha_entity_statistics (entity_id, date, mean)"
            " VALUES (%(id)s, %(at)s, 1), (%(id)s, %(at)s + interval '1 hour', 3)",
            {"id": self.sensor.id, "at": NOON},
        )
        self.assertEqual(len(self.chart(self.sensor, since=-86400)["points"]), 2)
        for name, number in (
            ("ha.entity.history", "value"),
            ("ha.entity.statistics", "mean"),
        ):
            with self.subTest(model=name):
                model = self.env[name].with_user(self.user)
                mine = [("entity_id", "=", self.sensor.id)]
                records = model.search(mine, order="id")
                self.assertEqual(records.ids, [self.FIRST + 1, self.FIRST + 2])
                first, second = records
                self.assertEqual(model.search([("id", "=", first.id)]), first)
                self.assertEqual(
                    model.search([("id", "in", records.ids)]), records[::-1]
                )
                self.assertEqual(model.search([("id", ">", first.id), *mine]), second)
                self.env.invalidate_all()
                browsed = model.browse(first.id)
                self.assertEqual(browsed.exists(), browsed)
                self.assertEqual(browsed.display_name, self.sensor.display_name)
                answer = model.web_search_read(
                    mine, {"entity_id": {"fields": {}}, number: {}}, limit=80
                )
                self.assertEqual(
                    sorted(line["id"] for line in answer["records"]), records.ids
                )
                [read] = browsed.web_read({number: {}, "area_id": {"fields": {}}})
                self.assertEqual((read["id"], bool(read[number])), (first.id, True))
                [(entity, ids, count)] = model._read_group(
                    mine, ["entity_id"], ["id:array_agg", "__count"]
                )
                self.assertEqual(
                    (entity.id, sorted(ids), count), (self.sensor.id, records.ids, 2)
                )
                with self.assertRaises(AccessError):
                    first.unlink()
                records.sudo().browse(first.id).unlink()
                self.assertEqual(model.search(mine), second)
                self.assertFalse(browsed.exists())
        self.sensor.unlink()
        self.assertFalse(self.env["ha.entity.history"].search([("id", ">", 2**31)]))
