"""Merge registries and states into what one instance's entities look like.

Pure: lists and maps in, rows out. An entity exists as long as Home Assistant
has a state for it or an enabled entry in its entity registry; a good third of a
typical installation has a state and no registry entry.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from .entity_filter import EntityFilter
from .model import Area, Device, EntityState, Floor, Label, RegistryEntity

# Attributes of a state that describe the entity and do not belong to its
# present value; when one of them changes, the entity's own record changes.
DESCRIBING_ATTRIBUTES = (
    "friendly_name",
    "unit_of_measurement",
    "device_class",
    "state_class",
    "icon",
)


@dataclass(frozen=True, slots=True)
class Registries:
    """The latest full lists of all five registries."""

    floors: tuple[Floor, ...] = ()
    labels: tuple[Label, ...] = ()
    areas: tuple[Area, ...] = ()
    devices: tuple[Device, ...] = ()
    entities: tuple[RegistryEntity, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogEntity:
    """One entity as it is to be recorded; ids are Home Assistant's."""

    entity_id: str
    domain: str
    name: str
    registry_id: str | None
    device_id: str | None
    area_id: str | None
    labels: tuple[str, ...]
    unit: str | None
    device_class: str | None
    state_class: str | None
    entity_category: str | None
    icon: str | None
    hidden: bool


def description_changed(old: Mapping, new: Mapping) -> bool:
    """Tell whether an attribute that describes the entity differs."""
    return any(old.get(key) != new.get(key) for key in DESCRIBING_ATTRIBUTES)


def concerned_entities(
    kind: str, before: Iterable, after: Iterable, entities: Iterable[RegistryEntity]
) -> set[str]:
    """The entity ids whose description may differ after a registry has changed.

    :param kind: of the registry, as in ``registries``
    :param before: its former rows
    :param after: its present rows
    :param entities: the present rows of the entity registry
    """
    changed = set(before) ^ set(after)
    if kind == "entity":
        return {row.entity_id for row in changed}
    if kind == "device":
        devices = {row.device_id for row in changed}
        return {row.entity_id for row in entities if row.device_id in devices}
    return set()


def build_catalog(
    registries: Registries,
    states: Mapping[str, EntityState],
    entity_filter: EntityFilter,
    among: Collection[str] | None = None,
) -> list[CatalogEntity]:
    """List every entity that the filter accepts, ordered by entity id.

    :param among: only these entity ids; None: all
    """
    devices = {device.device_id: device for device in registries.devices}
    entries = {
        entry.entity_id: entry
        for entry in registries.entities
        if among is None or entry.entity_id in among
    }
    enabled = {key for key, entry in entries.items() if not entry.disabled}
    rows = []
    for entity_id in sorted(enabled | states.keys()):
        entry = entries.get(entity_id)
        device = devices.get(entry.device_id) if entry else None
        if entity_filter.accepts(entity_id, entry, device):
            rows.append(_describe(entity_id, entry, device, states.get(entity_id)))
    return rows


def _describe(
    entity_id: str,
    entry: RegistryEntity | None,
    device: Device | None,
    state: EntityState | None,
) -> CatalogEntity:
    attributes = state.attributes if state else {}
    return CatalogEntity(
        entity_id=entity_id,
        domain=entity_id.partition(".")[0],
        # Home Assistant composes the friendly name (device and entity name).
        name=_text(attributes.get("friendly_name"))
        or (entry and entry.name)
        or entity_id.partition(".")[2].replace("_", " "),
        registry_id=entry.registry_id if entry else None,
        device_id=device.device_id if device else None,
        area_id=(entry and entry.area_id) or (device and device.area_id) or None,
        labels=_distinct(entry.labels if entry else ()),
        unit=_text(attributes.get("unit_of_measurement")),
        device_class=_text(attributes.get("device_class")),
        state_class=_text(attributes.get("state_class")),
        entity_category=entry.entity_category if entry else None,
        icon=_text(attributes.get("icon")) or (entry.icon if entry else None),
        hidden=entry.hidden if entry else False,
    )


def _text(value) -> str | None:
    return str(value) if value not in (None, "") else None


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
