"""What a link received becomes records: set-based, exact, and nobody's edits lost."""

from dataclasses import replace

from odoo.tests import tagged

from ..ha_client.buffer import Batch
from ..ha_client.catalog import Registries
from ..ha_client.entity_filter import EntityFilter
from ..ha_client.model import (
    Area,
    Device,
    EntityState,
    Floor,
    Label,
    RegistryEntity,
)
from ..models.common.ingest.ingest_sql import write_batch
from .instance_case import InstanceCase

TABLES = (
    *("ha_floor", "ha_label", "ha_area", "ha_device", "ha_entity"),
    *("ha_entity_state", "ha_entity_label_rel"),
)
T0 = 1700000000.123456
HOME = Registries(
    floors=(Floor("ground", "Ground Floor", 0, "mdi:home"),),
    labels=(Label("night", "At Night", "indigo"), Label("vip", "Important")),
    areas=(
        Area("kitchen", "Kitchen", "ground", "mdi:stove"),
        Area("hall", "Hall"),
    ),
    devices=(
        Device("d1", "Ceiling Lamp", "Acme", "L-1", "1.2", area_id="kitchen"),
        Device("d2", "Meter", "Acme"),
    ),
    entities=(
        RegistryEntity("r1", "light.kitchen", device_id="d1", labels=("night", "vip")),
        RegistryEntity("r2", "switch.hall", area_id="hall", device_id="d1"),
        RegistryEntity(
            "r3",
            "sensor.power",
            name="Power",
            device_id="d2",
            entity_category="diagnostic",
            hidden=True,
        ),
    ),
)


def state(entity_id, value="off", at=T0, updated=None, /, **attributes):
    return EntityState(entity_id, value, attributes, at, updated or at, None)


def world(*states):
    return {item.entity_id: item for item in states}


class IngestCase(InstanceCase):
    def setUp(self):
        super().setUp()
        self.instance = self.make_instance()
        self.world = world(
            state("light.kitchen", "on", friendly_name="Kitchen Light"),
            state("switch.hall"),
            state(
                "sensor.power",
                "12.5",
                unit_of_measurement="W",
                state_class="measurement",
            ),
            state("sun.sun", "above_horizon"),
        )

    def apply(self, batch, accepts=None):
        self.env.flush_all()
        count = write_batch(
            self.env.cr, self.instance.id, batch, accepts or EntityFilter()
        )
        self.env.invalidate_all()
        return count

    def sync(self, registries=HOME, accepts=None, authoritative=True):
        batch = Batch(
            full=True,
            authoritative=authoritative,
            registries=registries,
            world=self.world,
        )
        return self.apply(batch, accepts)

    def touch(self, *entity_ids, registries=HOME, kinds=(), accepts=None):
        """Reconcile these entities, and these kinds of registries, alone."""
        batch = Batch(
            authoritative=True,
            kinds=set(kinds),
            touched=set(entity_ids),
            registries=registries,
            world={key: self.world[key] for key in self.world.keys() & entity_ids},
            states={key: self.world[key] for key in self.world.keys() & entity_ids},
        )
        return self.apply(batch, accepts)

    def change(self, *states, removed=()):
        return self.apply(Batch(states=world(*states), removed=set(removed)))

    def entity(self, entity_id):
        return self.env["ha.entity"].search(
            [("instance_id", "=", self.instance.id), ("ha_entity_id", "=", entity_id)]
        )

    def names(self, **conditions):
        domain = [("instance_id", "=", self.instance.id)]
        domain += [(name, "=", value) for name, value in conditions.items()]
        return set(self.env["ha.entity"].search(domain).mapped("ha_entity_id"))

    def versions(self):
        """Where every row's present version lies: an update moves it."""
        found = {}
        for table in TABLES:
            self.env.cr.execute(f"SELECT ctid::text, t::text FROM {table} t")
            found[table] = sorted(self.env.cr.fetchall())
        return found

    def raw(self, entity_id, column):
        self.env.cr.execute(
            f"SELECT {column} FROM ha_entity_state s JOIN ha_entity e"
            " ON e.live_id = s.id WHERE e.instance_id = %s AND e.ha_entity_id = %s",
            (self.instance.id, entity_id),
        )
        return self.env.cr.fetchone()[0]


@tagged("post_install", "-at_install")
class TestSync(IngestCase):
    def test_tokens_in_attributes_are_left_out(self):
        """A camera's state carries a token that opens its picture."""
        picture = "/api/camera_proxy/camera.door?token=abc"
        self.world = world(
            state("camera.door", access_token="abc", entity_picture=picture, fps=5),
            state("person.me", entity_picture="/local/me.png"),
        )
        self.sync()
        self.assertEqual(self.entity("camera.door").attributes, {"fps": 5})
        self.assertEqual(
            self.entity("person.me").attributes, {"entity_picture": "/local/me.png"}
        )

    def test_snapshot_becomes_records_that_refer_to_each_other(self):
        self.sync()
        light = self.entity("light.kitchen")
        self.assertRecordValues(
            light,
            [
                {
                    "name": "Kitchen Light",
                    "domain": "light",
                    "registry_id": "r1",
                    "state": "on",
                    "available": True,
                    "is_numeric": False,
                    "active": True,
                    "removed_in_ha": False,
                    "record_history": "default",
                    "hidden": False,
                    "entity_category": False,
                }
            ],
        )
        self.assertRecordValues(
            light.device_id,
            [
                {
                    "name": "Ceiling Lamp",
                    "manufacturer": "Acme",
                    "model": "L-1",
                    "sw_version": "1.2",
                }
            ],
        )
        self.assertEqual(light.area_id.name, "Kitchen")
        self.assertEqual(light.area_id.floor_id.name, "Ground Floor")
        self.assertEqual(set(light.label_ids.mapped("name")), {"At Night", "Important"})
        sensor = self.entity("sensor.power")
        self.assertRecordValues(
            sensor,
            [
                {
                    "name": "Power",
                    "unit": "W",
                    "state_class": "measurement",
                    "is_recorded": True,
                    "is_numeric": True,
                    "state_number": 12.5,
                    "hidden": True,
                    "entity_category": "diagnostic",
                }
            ],
        )
        # A third of a real installation has a state and no registry entry.
        self.assertRecordValues(
            self.entity("sun.sun"), [{"name": "sun", "registry_id": False}]
        )

    def test_area_is_the_entitys_own_else_its_devices(self):
        self.sync()
        self.assertEqual(self.entity("light.kitchen").area_id.ha_area_id, "kitchen")
        self.assertEqual(self.entity("switch.hall").area_id.ha_area_id, "hall")
        self.assertFalse(self.entity("sensor.power").area_id)

    def test_times_are_exact_to_the_microsecond(self):
        self.world["light.kitchen"] = state("light.kitchen", "on", T0, T0 + 0.000001)
        self.sync()
        changed = self.raw("light.kitchen", "last_changed::text")
        self.assertEqual(changed, "2023-11-14 22:13:20.123456")
        updated = self.raw("light.kitchen", "last_updated::text")
        self.assertEqual(updated, "2023-11-14 22:13:20.123457")
        self.change(state("light.kitchen", "off", T0 + 60.5))
        changed = self.raw("light.kitchen", "last_changed::text")
        self.assertEqual(changed, "2023-11-14 22:14:20.623456")

    def test_resync_without_a_change_writes_nothing(self):
        self.sync()
        before = self.versions()
        self.assertTrue(all(before.values()))
        self.sync()
        self.assertEqual(self.versions(), before)
        self.change(*self.world.values())
        self.assertEqual(self.versions(), before)

    def test_resync_writes_only_what_differs(self):
        self.sync()
        before = self.versions()
        self.world["light.kitchen"] = state(
            "light.kitchen", "off", T0 + 1, friendly_name="Kitchen Light"
        )
        self.sync()
        after = self.versions()
        changed = [table for table in TABLES if before[table] != after[table]]
        self.assertEqual(changed, ["ha_entity_state"])
        rows = set(after["ha_entity_state"]) - set(before["ha_entity_state"])
        self.assertEqual(len(rows), 1)

    def test_changes_in_the_registries_are_followed(self):
        self.sync()
        light = self.entity("light.kitchen")
        self.sync(
            Registries(
                floors=HOME.floors,
                labels=HOME.labels,
                areas=(Area("kitchen", "Cuisine", "ground"), HOME.areas[1]),
                devices=(
                    Device("d1", "Lamp", "Acme", "L-2", "1.3", area_id="hall"),
                    HOME.devices[1],
                ),
                entities=(
                    RegistryEntity("r1", "light.kitchen", device_id="d1", hidden=True),
                    *HOME.entities[1:],
                ),
            )
        )
        self.assertEqual(light.area_id.name, "Hall")
        self.assertEqual(light.device_id.name, "Lamp")
        self.assertEqual(light.device_id.model, "L-2")
        self.assertTrue(light.hidden)
        self.assertFalse(light.label_ids)
        kitchen = self.env["ha.area"].search([("ha_area_id", "=", "kitchen")])
        self.assertEqual(kitchen.name, "Cuisine")

    def test_single_entities_are_reconciled_alone(self):
        self.sync()
        before = self.versions()
        self.assertEqual(self.touch(*self.world, "light.never"), 0)
        self.assertEqual(self.versions(), before, "nothing has changed")
        self.world["light.new"] = state("light.new", "on", friendly_name="New")
        del self.world["sun.sun"]
        registries = replace(
            HOME,
            areas=(Area("kitchen", "Cuisine"),),
            entities=(
                RegistryEntity("r1", "light.kitchen", area_id="hall", labels=("vip",)),
                RegistryEntity("r3", "sensor.power"),
                RegistryEntity("r4", "light.new", device_id="d2", labels=("night",)),
            ),
        )
        self.touch("light.kitchen", "light.new", "sun.sun", registries=registries)
        light, new = self.entity("light.kitchen"), self.entity("light.new")
        self.assertEqual((light.area_id.name, light.device_id.id), ("Hall", False))
        self.assertEqual(light.label_ids.mapped("name"), ["Important"])
        self.assertEqual(
            (new.name, new.state, new.label_ids.name), ("New", "on", "At Night")
        )
        self.assertTrue(self.entity("sun.sun").removed_in_ha)
        # What was not touched is as it was, although the registries say otherwise.
        switch = self.entity("switch.hall")
        self.assertFalse(switch.removed_in_ha)
        self.assertEqual(switch.area_id.name, "Hall")
        self.assertEqual(light.search_count([("area_id.name", "=", "Cuisine")]), 0)
        self.touch(kinds=["area"], registries=registries)
        hall = self.env["ha.area"].search(
            [("instance_id", "=", self.instance.id), ("ha_area_id", "=", "hall")]
        )
        self.assertTrue(hall.removed_in_ha)
        self.assertTrue(self.env["ha.area"].search([("name", "=", "Cuisine")]))

    def test_single_entities_follow_the_filter(self):
        accepts = EntityFilter("some", domains=["switch"])
        self.sync(accepts=accepts)
        self.world["switch.new"] = state("switch.new")
        self.world["light.new"] = state("light.new")
        self.touch("switch.new", "light.new", "light.kitchen", accepts=accepts)
        self.assertEqual(self.names(removed_in_ha=False), {"switch.hall", "switch.new"})

    def test_what_is_recorded_by_its_state_class_is_so_at_once(self):
        measured = {"state_class": "measurement"}
        self.world["sensor.old"] = state("sensor.old", "1", **measured)
        self.sync()
        self.world["sensor.new"] = state("sensor.new", "1", **measured)
        self.touch("sensor.new")
        for entity_id in ("sensor.old", "sensor.new"):
            entity = self.entity(entity_id)
            self.assertEqual(entity.state_class, "measurement")
            self.assertTrue(entity.is_recorded, entity_id)

    def test_what_is_gone_is_marked_only_when_the_list_is_complete(self):
        self.sync()
        del self.world["sun.sun"]
        registries = Registries(
            floors=(),
            labels=HOME.labels,
            areas=HOME.areas,
            devices=HOME.devices[:1],
            entities=HOME.entities[:2],
        )
        del self.world["sensor.power"]
        self.sync(registries, authoritative=False)
        self.assertEqual(self.names(removed_in_ha=True), set())
        self.sync(registries)
        self.assertEqual(self.names(removed_in_ha=True), {"sun.sun", "sensor.power"})
        self.assertEqual(self.raw("sun.sun", "state"), "unavailable")
        meter = self.env["ha.device"].search([("ha_device_id", "=", "d2")])
        self.assertTrue(meter.removed_in_ha)
        floor = self.env["ha.floor"].search([("ha_floor_id", "=", "ground")])
        self.assertTrue(floor.removed_in_ha)

    def test_what_comes_back_is_the_same_record(self):
        self.sync()
        sun, light = self.entity("sun.sun"), self.entity("light.kitchen")
        saved = dict(self.world)
        self.world = {}
        self.sync(Registries())
        self.assertEqual(self.names(removed_in_ha=False), set())
        self.world = saved
        self.sync()
        self.assertEqual(self.entity("sun.sun"), sun)
        self.assertEqual(self.entity("light.kitchen"), light)
        self.assertEqual(self.names(removed_in_ha=True), set())
        self.assertEqual(light.state, "on")

    def test_entity_without_a_state_shows_no_old_one(self):
        self.sync()
        del self.world["light.kitchen"]
        self.sync()
        light = self.entity("light.kitchen")
        self.assertFalse(light.removed_in_ha)  # the registry still has it
        self.assertFalse(light.available)
        self.assertEqual(light.state, "unavailable")

    def test_disabled_entities_and_devices_do_not_come_in(self):
        registries = Registries(
            devices=(Device("d1", "Off", disabled=True),),
            entities=(
                RegistryEntity("r1", "light.kitchen", disabled=True),
                RegistryEntity("r9", "light.never", disabled=True),
            ),
        )
        del self.world["light.kitchen"]
        self.sync(registries)
        self.assertEqual(self.names(), {"switch.hall", "sensor.power", "sun.sun"})
        self.assertFalse(self.env["ha.device"].search([("name", "=", "Off")]))

    def test_filter_brings_in_what_was_chosen_and_takes_out_the_rest(self):
        self.sync()
        light = self.entity("light.kitchen")
        self.sync(accepts=EntityFilter("some", ["sun"], ["hall"], []))
        self.assertEqual(self.names(removed_in_ha=False), {"sun.sun", "switch.hall"})
        self.assertTrue(light.exists())
        # States of what stays outside make no record and ask for nothing.
        outside = Batch(states=world(state("fan.new", "on")))
        self.assertEqual(self.apply(outside, EntityFilter("some", ["sun"])), 0)
        self.assertFalse(self.entity("fan.new"))
        self.sync(accepts=EntityFilter("some", [], [], ["night"]))
        self.assertEqual(self.names(removed_in_ha=False), {"light.kitchen"})
        self.sync()
        self.assertEqual(self.names(removed_in_ha=True), set())

    def test_instances_do_not_touch_each_other(self):
        self.sync()
        first = self.instance
        before = {entity.id: entity.state for entity in self.entity("light.kitchen")}
        self.instance = self.make_instance(name="Other")
        self.world["light.kitchen"] = state("light.kitchen", "off", T0 + 5)
        self.sync()
        self.world = {}
        self.sync(Registries())
        self.instance = first
        light = self.entity("light.kitchen")
        self.assertEqual({light.id: light.state}, before)
        self.assertEqual(self.names(removed_in_ha=True), set())

    def test_users_own_fields_are_never_touched(self):
        self.sync()
        light = self.entity("light.kitchen")
        own = {
            "custom_name": "My Lamp",
            "active": False,
            "record_history": "never",
            "history_deadband": 0.5,
            "history_interval": 60,
        }
        light.write(own)
        self.world["light.kitchen"] = state(
            "light.kitchen", "off", T0 + 9, friendly_name="Renamed in HA"
        )
        self.sync()
        self.change(state("light.kitchen", "on", T0 + 10))
        light.invalidate_recordset()
        self.assertRecordValues(
            light, [{**own, "name": "Renamed in HA", "state": "on"}]
        )
        self.assertEqual(light.display_name, "My Lamp")


@tagged("post_install", "-at_install")
class TestChanges(IngestCase):
    def setUp(self):
        super().setUp()
        self.sync()

    def test_changed_states_are_written(self):
        self.change(
            state("light.kitchen", "off", T0 + 1, brightness=10),
            state("sensor.power", "17.25", T0 + 2),
        )
        light = self.entity("light.kitchen")
        self.assertEqual((light.state, light.attributes), ("off", {"brightness": 10}))
        self.assertEqual(self.entity("sensor.power").state_number, 17.25)

    def test_number_that_becomes_none_is_numeric_no_more(self):
        for value, numeric, number in (
            ("unavailable", False, 0.0),
            ("0", True, 0.0),
            ("-1.5e3", True, -1500.0),
            ("nan", False, 0.0),
            ("inf", False, 0.0),
            ("1_000", False, 0.0),
            ("2023-01-01", False, 0.0),
            ("", False, 0.0),
        ):
            with self.subTest(value=value):
                self.change(state("sensor.power", value, T0 + 1))
                sensor = self.entity("sensor.power")
                self.assertEqual(sensor.is_numeric, numeric)
                self.assertEqual(sensor.state_number, number)

    def test_unknown_entities_are_counted_so_that_they_get_a_record(self):
        known = state("light.kitchen", "off", T0 + 1)
        self.assertEqual(self.change(known, state("light.new", "on")), 1)
        self.assertEqual(self.entity("light.kitchen").state, "off")

    def test_record_that_a_manager_deleted_comes_back(self):
        self.entity("light.kitchen").unlink()
        self.assertEqual(self.change(state("light.kitchen", "on", T0 + 1)), 1)
        self.sync()
        self.assertEqual(self.entity("light.kitchen").state, "on")

    def test_removed_entity_is_marked_unless_the_registry_has_it(self):
        self.change(removed=["sun.sun", "light.kitchen"])
        self.assertEqual(self.names(removed_in_ha=True), {"sun.sun"})
        self.assertEqual(self.entity("light.kitchen").state, "unavailable")
