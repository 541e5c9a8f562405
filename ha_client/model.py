"""What Home Assistant tells us, as plain immutable values.

Ids are Home Assistant's own strings. Optional texts are ``None`` when Home
Assistant has none. Times are epoch seconds (float), as the protocol sends them.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple


class EntityState(NamedTuple):
    """The present state of one entity; ``attributes`` must never be mutated."""

    entity_id: str
    state: str
    attributes: dict[str, Any]
    last_changed: float
    last_updated: float
    context_id: str | None


@dataclass(frozen=True, slots=True)
class Floor:
    floor_id: str
    name: str
    level: int | None = None
    icon: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    label_id: str
    name: str
    color: str | None = None
    icon: str | None = None


@dataclass(frozen=True, slots=True)
class Area:
    area_id: str
    name: str
    floor_id: str | None = None
    icon: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    device_id: str
    name: str
    manufacturer: str | None = None
    model: str | None = None
    sw_version: str | None = None
    area_id: str | None = None
    labels: tuple[str, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class RegistryEntity:
    """An entry of the entity registry; ``registry_id`` survives renames."""

    registry_id: str
    entity_id: str
    name: str | None = None
    platform: str | None = None
    device_id: str | None = None
    area_id: str | None = None
    labels: tuple[str, ...] = ()
    entity_category: str | None = None
    icon: str | None = None
    hidden: bool = False
    disabled: bool = False


def number_of(state: str) -> float | None:
    """The number that a state is, or ``None``; never NaN or an infinity."""
    try:
        number = float(state)
    except (TypeError, ValueError):
        return None
    # Python also reads "1_000" and "infinity"; neither is a number in HA.
    return number if math.isfinite(number) and "_" not in state else None
