import logging

import pytest

from ha_client.model import Area, Device, Floor, Label, RegistryEntity
from ha_client.registries import REGISTRIES, parse

# As 2024.3 and 2025.4 send them, shortened to what matters.
OLD_AREA = {"aliases": [], "area_id": "kitchen", "name": "Kitchen", "picture": None}
NEW_AREA = {**OLD_AREA, "floor_id": "ground", "icon": "mdi:pot", "labels": ["b", "a"]}
DEVICE = {
    "area_id": "kitchen",
    "configuration_url": None,
    "disabled_by": None,
    "id": "d1",
    "manufacturer": "ACME",
    "model": "X1",
    "name": "Lamp",
    "name_by_user": None,
    "sw_version": "1.0",
}
ENTITY = {
    "area_id": None,
    "device_id": "d1",
    "disabled_by": None,
    "entity_category": None,
    "entity_id": "light.lamp",
    "has_entity_name": True,
    "hidden_by": None,
    "icon": None,
    "id": "r1",
    "name": None,
    "original_name": "Lamp light",
    "platform": "demo",
    "unique_id": "u1",
}


def test_commands_and_events_in_dependency_order():
    assert list(REGISTRIES) == ["floor", "label", "area", "device", "entity"]
    assert REGISTRIES["area"].list_command == "config/area_registry/list"
    assert REGISTRIES["area"].updated_event == "area_registry_updated"


def test_rows_of_both_versions():
    assert parse("area", [OLD_AREA]) == [Area("kitchen", "Kitchen")]
    assert parse("area", [NEW_AREA]) == [
        Area("kitchen", "Kitchen", "ground", "mdi:pot", ("a", "b"))
    ]
    assert parse("device", [DEVICE]) == [
        Device("d1", "Lamp", "ACME", "X1", "1.0", "kitchen")
    ]
    assert parse("entity", [{**ENTITY, "labels": ["l"]}]) == [
        RegistryEntity("r1", "light.lamp", "Lamp light", "demo", "d1", labels=("l",))
    ]
    assert parse("floor", [{"floor_id": "g", "name": "Ground", "level": 0}]) == [
        Floor("g", "Ground", 0)
    ]
    assert parse("label", [{"label_id": "l", "name": "Cold", "color": "blue"}]) == [
        Label("l", "Cold", "blue")
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"name_by_user": "Mine", "name": "Theirs"}, "Mine"),
        ({"name_by_user": "", "name": "Theirs"}, "Theirs"),
        ({"name_by_user": None, "name": None}, "d1"),
        ({}, "d1"),
    ],
)
def test_the_name_of_a_device(names, expected):
    assert parse("device", [{"id": "d1", **names}])[0].name == expected


def test_the_name_of_an_entity():
    named = {**ENTITY, "name": "My lamp"}
    nameless = {**ENTITY, "original_name": None}
    rows = parse("entity", [named, ENTITY, nameless])
    assert [row.name for row in rows] == ["My lamp", "Lamp light", None]


def test_hidden_and_disabled():
    row = {**ENTITY, "hidden_by": "user", "disabled_by": "integration"}
    entity = parse("entity", [row])[0]
    assert (entity.hidden, entity.disabled) == (True, True)
    assert parse("device", [{**DEVICE, "disabled_by": "user"}])[0].disabled


def test_a_bad_row_does_not_cost_the_others(caplog):
    bad = [None, {}, {"area_id": "x", "labels": 5}, "text"]
    with caplog.at_level(logging.WARNING):
        rows = parse("area", [*bad, OLD_AREA])
    assert rows == [Area("kitchen", "Kitchen")]
    assert len(caplog.records) == 1
    assert "4 rows of the area registry" in caplog.text


@pytest.mark.parametrize("kind", REGISTRIES)
def test_missing_keys_are_tolerated(kind):
    ids = {"entity": {"id": "i", "entity_id": "a.b"}, "device": {"id": "i"}}
    row = ids.get(kind, {f"{kind}_id": "i"})
    assert len(parse(kind, [row])) == 1
