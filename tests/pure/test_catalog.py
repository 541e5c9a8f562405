"""Registries and states together make the entities that are recorded."""

from ha_client.catalog import Registries, build_catalog, description_changed
from ha_client.entity_filter import EntityFilter
from ha_client.model import Area, Device, EntityState, RegistryEntity

ALL = EntityFilter()


def build(entities=(), states=(), devices=(), accepts=ALL):
    registries = Registries(
        areas=(Area("kitchen", "Kitchen"),),
        devices=tuple(devices),
        entities=tuple(entities),
    )
    by_id = {item.entity_id: item for item in states}
    return {row.entity_id: row for row in build_catalog(registries, by_id, accepts)}


def state(entity_id, **attributes):
    return EntityState(entity_id, "on", attributes, 1.0, 1.0, None)


def test_state_or_enabled_entry_makes_an_entity():
    rows = build(
        entities=[
            RegistryEntity("r1", "light.both"),
            RegistryEntity("r2", "light.entry"),
            RegistryEntity("r3", "light.disabled", disabled=True),
        ],
        states=[state("light.both"), state("light.state")],
    )
    assert list(rows) == ["light.both", "light.entry", "light.state"]
    assert rows["light.state"].registry_id is None
    assert rows["light.entry"].registry_id == "r2"


def test_disabled_entry_that_still_has_a_state_is_there():
    entry = RegistryEntity("r1", "light.a", disabled=True)
    assert "light.a" in build([entry], [state("light.a")])


def test_area_is_its_own_else_its_devices():
    rows = build(
        entities=[
            RegistryEntity("r1", "light.own", device_id="d1", area_id="attic"),
            RegistryEntity("r2", "light.devices", device_id="d1"),
            RegistryEntity("r3", "light.none", device_id="d2"),
            RegistryEntity("r4", "light.lost", device_id="unknown"),
        ],
        devices=[Device("d1", "Lamp", area_id="kitchen"), Device("d2", "Other")],
    )
    areas = {entity_id: row.area_id for entity_id, row in rows.items()}
    assert areas == {
        "light.own": "attic",
        "light.devices": "kitchen",
        "light.none": None,
        "light.lost": None,
    }
    assert rows["light.lost"].device_id is None


def test_name_is_what_home_assistant_shows_else_the_best_there_is():
    rows = build(
        entities=[
            RegistryEntity("r1", "light.shown", name="Entry"),
            RegistryEntity("r2", "light.entry", name="Entry"),
        ],
        states=[
            state("light.shown", friendly_name="Device Entry"),
            state("light.entry", friendly_name=""),
            state("light.bare_one"),
            state("light.number", friendly_name=7),
        ],
    )
    names = {entity_id: row.name for entity_id, row in rows.items()}
    assert names == {
        "light.shown": "Device Entry",
        "light.entry": "Entry",
        "light.bare_one": "bare one",
        "light.number": "7",
    }


def test_attributes_describe_the_entity():
    [row] = build(
        entities=[
            RegistryEntity(
                "r1",
                "sensor.a",
                icon="mdi:entry",
                entity_category="diagnostic",
                hidden=True,
                labels=("b", "a", "b"),
            )
        ],
        states=[
            state(
                "sensor.a",
                unit_of_measurement="W",
                device_class="power",
                state_class="measurement",
                icon="",
            )
        ],
    ).values()
    assert (row.domain, row.unit, row.device_class) == ("sensor", "W", "power")
    assert row.state_class == "measurement"
    assert (row.icon, row.entity_category, row.hidden) == (
        "mdi:entry",
        "diagnostic",
        True,
    )
    assert row.labels == ("b", "a")


def test_filter_sees_entry_and_device():
    rows = build(
        entities=[
            RegistryEntity("r1", "light.in", device_id="d1"),
            RegistryEntity("r2", "light.out"),
        ],
        states=[state("light.in"), state("light.out"), state("sun.sun")],
        devices=[Device("d1", "Lamp", area_id="kitchen")],
        accepts=EntityFilter("some", ["sun"], ["kitchen"]),
    )
    assert list(rows) == ["light.in", "sun.sun"]


def test_only_describing_attributes_change_the_description():
    assert not description_changed({"brightness": 1}, {"brightness": 2, "x": 3})
    for name in (
        "friendly_name",
        "unit_of_measurement",
        "device_class",
        "state_class",
        "icon",
    ):
        assert description_changed({}, {name: "x"})
        assert description_changed({name: "x"}, {})
        assert not description_changed({name: "x"}, {name: "x"})
