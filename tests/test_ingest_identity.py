"""Renamed entities keep their record; values that no table takes do no harm."""

import math

from odoo.tests import tagged

from ..ha_client.buffer import Batch, LinkBuffer
from ..ha_client.catalog import Registries
from ..ha_client.model import Area, Device, RegistryEntity
from ..ha_client.recording import Change
from ..models.common.history.link_history import LinkHistory
from .test_ingest import T0, TABLES, IngestCase, state, world


def entries(**names):
    """Registry entries by registry id."""
    return Registries(
        entities=tuple(
            RegistryEntity(registry_id, f"light.{name}")
            for registry_id, name in names.items()
        )
    )


@tagged("post_install", "-at_install")
class TestRenames(IngestCase):
    def setUp(self):
        super().setUp()
        self.show(a="on", b="off")
        self.sync(entries(r1="a", r2="b"))
        self.a, self.b = self.entity("light.a"), self.entity("light.b")
        self.a.custom_name = "Mine"

    def show(self, **states):
        self.world = world(
            *(state(f"light.{name}", value) for name, value in states.items())
        )

    def ids(self):
        self.env.invalidate_all()
        return {self.a.ha_entity_id: self.a.state, self.b.ha_entity_id: self.b.state}

    def count(self, table):
        self.env.cr.execute(f"SELECT count(*) FROM {table}")
        return self.env.cr.fetchone()[0]

    def test_states_go_with_their_entities(self):
        """However an entity is deleted, no row of its state is left over."""
        before = self.count("ha_entity_state")
        self.a.unlink()
        self.assertEqual(self.count("ha_entity_state"), before - 1)
        self.instance.unlink()
        self.assertEqual(self.count("ha_entity_state"), before - 2)

    def test_renamed_entity_keeps_its_record(self):
        self.show(new="on", b="off")
        self.sync(entries(r1="new", r2="b"))
        self.assertEqual(self.ids(), {"light.new": "on", "light.b": "off"})
        self.assertEqual(self.a.custom_name, "Mine")
        self.assertEqual(self.names(), {"light.new", "light.b"})
        self.assertFalse(self.a.removed_in_ha)

    def test_what_happened_under_the_old_name_is_recorded(self):
        self.instance.history_mode = "all"
        history = LinkHistory(self.instance.id, LinkBuffer())

        def record(registries, *changes):
            batch = Batch(
                full=True,
                registries=registries,
                world=self.world,
                history=[Change(*change) for change in changes],
            )
            self.apply(batch)
            history.after_states(self.env.cr, batch)
            history.committed()

        record(entries(r1="a", r2="b"), ("light.a", "on", T0))
        self.show(new="off", b="off")
        record(
            entries(r1="new", r2="b"),
            ("light.a", "off", T0 + 1),
            ("light.a", "on", T0 + 2),
            ("light.new", "off", T0 + 3),
        )
        self.env.cr.execute(
            "SELECT state FROM ha_entity_history WHERE entity_id = %s"
            " ORDER BY last_changed",
            (self.a.id,),
        )
        states = [state for (state,) in self.env.cr.fetchall()]
        self.assertEqual(states, ["on", "off", "on", "off"])

    def test_rename_changes_the_domain_too(self):
        self.world = world(state("switch.a", "on"), state("light.b"))
        self.sync(Registries(entities=(RegistryEntity("r1", "switch.a"),)))
        self.assertEqual((self.a.ha_entity_id, self.a.domain), ("switch.a", "switch"))

    def test_swapped_names_swap_their_records(self):
        self.show(a="off", b="on")
        self.sync(entries(r1="b", r2="a"))
        self.assertEqual(self.ids(), {"light.b": "on", "light.a": "off"})
        self.assertEqual(self.a.ha_entity_id, "light.b")
        self.assertEqual(self.names(), {"light.a", "light.b"})

    def test_chain_of_renames(self):
        self.show(b="on", c="off")
        self.sync(entries(r1="b", r2="c"))
        self.assertEqual(self.a.ha_entity_id, "light.b")
        self.assertEqual(self.b.ha_entity_id, "light.c")

    def test_record_made_for_the_new_name_gives_way(self):
        """The diff with the new name can come before the registry's news."""
        before = self.count("ha_entity"), self.count("ha_entity_state")
        self.show(a="on", b="off", new="on")
        self.sync(entries(r1="a", r2="b"))
        self.assertTrue(self.entity("light.new"))
        self.show(new="on", b="off")
        self.sync(entries(r1="new", r2="b"))
        self.assertEqual(self.entity("light.new"), self.a)
        self.assertEqual(self.names(), {"light.new", "light.b"})
        self.assertEqual(
            (self.count("ha_entity"), self.count("ha_entity_state")), before
        )

    def test_name_taken_over_from_an_entity_that_is_gone(self):
        self.show(b="on")
        self.sync(entries(r1="b"))
        self.assertEqual(self.a.ha_entity_id, "light.b")
        self.assertFalse(self.a.removed_in_ha)
        self.assertTrue(self.b.removed_in_ha)

    def test_entity_that_gets_a_registry_entry_keeps_its_record(self):
        self.show(a="on", b="off", plain="on")
        self.sync(entries(r1="a", r2="b"))
        plain = self.entity("light.plain")
        self.sync(entries(r1="a", r2="b", r3="plain"))
        self.assertEqual(self.entity("light.plain"), plain)
        self.assertEqual(plain.registry_id, "r3")


@tagged("post_install", "-at_install")
class TestDeletion(IngestCase):
    def rows(self):
        """How many rows each of our tables has."""
        found = {}
        self.env.flush_all()
        for table in TABLES:
            self.env.cr.execute(f"SELECT count(*) FROM {table}")
            found[table] = self.env.cr.fetchone()[0]
        return found

    def test_instance_takes_everything_with_it(self):
        before = self.rows()
        self.sync()
        self.assertTrue(all(self.rows()[table] > before[table] for table in TABLES))
        self.instance.unlink()
        self.assertEqual(self.rows(), before)


@tagged("post_install", "-at_install")
class TestBadValues(IngestCase):
    def test_no_value_stops_the_others(self):
        bad = {
            "nul": state("sensor.nul", "a\0b", text="x\0y", **{"k\0": 1}),
            "nan": state("sensor.nan", "nan", value=math.nan, deep=[{"x": math.inf}]),
            "huge": state("sensor.huge", "1e400", big=10**300),
            "large": state("sensor.large", "on", blob="x" * 100_000),
            "future": state("sensor.future", "on", 1.2e12),
            "never": state("sensor.never", "on", math.nan),
            "past": state("sensor.past", "on", -1e12),
            "lone": state("sensor.lone", "a\ud800b", text="\udfff", **{"\ud800": 1}),
            "emoji": state("sensor.emoji", "😀", text="naïve 😀 \\u0000"),
            "long": state("sensor.long", "x" * 300),
        }
        self.world = world(*bad.values(), state("light.good", "on"))
        for write in (self.sync, lambda: self.change(*self.world.values())):
            write()
            self.assertEqual(self.entity("light.good").state, "on")
            states = {name: self.entity(f"sensor.{name}").state for name in bad}
            self.assertEqual(states["nul"], "ab")
            self.assertEqual(states["lone"], "a?b")
            self.assertEqual(states["emoji"], "😀")
            self.assertEqual(len(states["long"]), 300)
        attributes = self.entity("sensor.nan").attributes
        self.assertEqual(attributes, {"value": None, "deep": [{"x": None}]})
        self.assertEqual(self.entity("sensor.nul").attributes, {"text": "xy", "k": 1})
        self.assertEqual(
            self.entity("sensor.emoji").attributes["text"], "naïve 😀 \\u0000"
        )
        self.assertEqual(len(self.entity("sensor.large").attributes["blob"]), 100_000)
        for name in ("future", "never", "past"):
            self.assertFalse(self.entity(f"sensor.{name}").last_changed, name)
        self.assertFalse(self.entity("sensor.huge").is_numeric)

    def test_bad_texts_in_the_registries(self):
        self.world = world(state("light.a", "on", friendly_name="Li\0ght\ud800"))
        self.sync(
            Registries(
                areas=(Area("a1", "Ki\0tchen\ud800"),),
                devices=(Device("d1", "La\0mp", area_id="a1"),),
                entities=(RegistryEntity("r1", "light.a", device_id="d1"),),
            )
        )
        light = self.entity("light.a")
        self.assertEqual(light.name, "Light?")
        self.assertEqual(light.area_id.name, "Kitchen?")
        self.assertEqual(light.device_id.name, "Lamp")

    def test_references_to_what_does_not_exist_are_empty(self):
        self.world = world(state("light.a", "on"))
        self.sync(
            Registries(
                areas=(Area("a1", "Area", floor_id="no-floor"),),
                devices=(Device("d1", "Device", area_id="no-area"),),
                entities=(
                    RegistryEntity(
                        "r1",
                        "light.a",
                        device_id="no-device",
                        area_id="no-area",
                        labels=("no-label",),
                    ),
                ),
            )
        )
        light = self.entity("light.a")
        self.assertFalse(light.area_id or light.device_id or light.label_ids)

    def test_attribute_change_alone_keeps_the_time_of_the_change(self):
        self.world = world(state("light.a", "on"))
        self.sync()
        self.apply(Batch(states=world(state("light.a", "on", T0, T0 + 5, level=3))))
        self.assertEqual(self.entity("light.a").attributes, {"level": 3})
        self.assertEqual(
            self.raw("light.a", "last_changed::text"), "2023-11-14 22:13:20.123456"
        )
