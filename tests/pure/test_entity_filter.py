import pytest

from ha_client.entity_filter import EntityFilter
from ha_client.model import Device, RegistryEntity

ENTITY = RegistryEntity("r1", "light.a", device_id="d1", labels=("mine",))
IN_KITCHEN = RegistryEntity("r1", "light.a", area_id="kitchen")
DEVICE = Device("d1", "Lamp", area_id="hall", labels=("devices",))


def test_all_accepts_everything():
    assert EntityFilter("all").accepts("light.a")
    assert EntityFilter("all", domains=["switch"]).accepts("light.a", ENTITY, DEVICE)


def test_some_without_a_criterion_accepts_nothing():
    assert not EntityFilter("some").accepts("light.a", ENTITY, DEVICE)


@pytest.mark.parametrize(
    ("criteria", "entity", "device", "accepted"),
    [
        ({"domains": ["light"]}, None, None, True),
        ({"domains": ["light_switch"]}, None, None, False),
        ({"area_ids": ["kitchen"]}, IN_KITCHEN, None, True),
        ({"area_ids": ["hall"]}, ENTITY, DEVICE, True),
        ({"area_ids": ["hall"]}, IN_KITCHEN, DEVICE, False),
        ({"area_ids": ["hall"]}, None, None, False),
        ({"label_ids": ["mine"]}, ENTITY, None, True),
        ({"label_ids": ["devices"]}, ENTITY, DEVICE, True),
        ({"label_ids": ["other"]}, ENTITY, DEVICE, False),
        ({"domains": ["switch"], "label_ids": ["mine"]}, ENTITY, DEVICE, True),
        ({"domains": ["switch"], "area_ids": ["attic"]}, ENTITY, DEVICE, False),
    ],
)
def test_some_needs_one_match(criteria, entity, device, accepted):
    assert EntityFilter("some", **criteria).accepts("light.a", entity, device) is (
        accepted
    )
