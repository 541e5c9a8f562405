"""Home Assistant's registries: commands, events, and rows as dataclasses.

Needs no administrator's token. 2024.3 knows fewer keys than later versions (areas
without floor and labels), so every key but the id is optional.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .model import Area, Device, Floor, Label, RegistryEntity

_logger = logging.getLogger(__name__)

Row: TypeAlias = Floor | Label | Area | Device | RegistryEntity


@dataclass(frozen=True, slots=True)
class Registry:
    """How to fetch and follow one registry. ``optional``: old versions lack it."""

    kind: str
    parse_row: Callable[[dict[str, Any]], Row]
    optional: bool = False

    @property
    def list_command(self) -> str:
        return f"config/{self.kind}_registry/list"

    @property
    def updated_event(self) -> str:
        return f"{self.kind}_registry_updated"


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(sorted(str(item) for item in value or ()))


def _floor(row: dict[str, Any]) -> Floor:
    level = row.get("level")
    return Floor(
        floor_id=str(row["floor_id"]),
        name=_text(row.get("name")) or str(row["floor_id"]),
        level=None if level is None else int(level),
        icon=_text(row.get("icon")),
    )


def _label(row: dict[str, Any]) -> Label:
    return Label(
        label_id=str(row["label_id"]),
        name=_text(row.get("name")) or str(row["label_id"]),
        color=_text(row.get("color")),
        icon=_text(row.get("icon")),
    )


def _area(row: dict[str, Any]) -> Area:
    return Area(
        area_id=str(row["area_id"]),
        name=_text(row.get("name")) or str(row["area_id"]),
        floor_id=_text(row.get("floor_id")),
        icon=_text(row.get("icon")),
        labels=_texts(row.get("labels")),
    )


def _device(row: dict[str, Any]) -> Device:
    device_id = str(row["id"])
    return Device(
        device_id=device_id,
        name=_text(row.get("name_by_user")) or _text(row.get("name")) or device_id,
        manufacturer=_text(row.get("manufacturer")),
        model=_text(row.get("model")),
        sw_version=_text(row.get("sw_version")),
        area_id=_text(row.get("area_id")),
        labels=_texts(row.get("labels")),
        disabled=row.get("disabled_by") is not None,
    )


def _entity(row: dict[str, Any]) -> RegistryEntity:
    return RegistryEntity(
        registry_id=str(row["id"]),
        entity_id=str(row["entity_id"]),
        name=_text(row.get("name")) or _text(row.get("original_name")),
        platform=_text(row.get("platform")),
        device_id=_text(row.get("device_id")),
        area_id=_text(row.get("area_id")),
        labels=_texts(row.get("labels")),
        entity_category=_text(row.get("entity_category")),
        icon=_text(row.get("icon")),
        hidden=row.get("hidden_by") is not None,
        disabled=row.get("disabled_by") is not None,
    )


# {"entity_ids": […]} → {entity_id: a row as in the list, or null}; since 2023.3
ENTRIES_COMMAND: Final = "config/entity_registry/get_entries"

# In the order in which one refers to the other: floors before areas and so on.
REGISTRIES: Final[dict[str, Registry]] = {
    registry.kind: registry
    for registry in (
        Registry("floor", _floor, optional=True),
        Registry("label", _label, optional=True),
        Registry("area", _area),
        Registry("device", _device),
        Registry("entity", _entity),
    )
}


def parse(kind: str, rows: Any) -> list[Row]:
    """The rows of a registry's list; a row that makes no sense is left out.

    Left-out rows are logged once per list, by number and first reason.
    """
    parsed: list[Row] = []
    reasons: list[str] = []
    for row in rows if isinstance(rows, list) else ():
        try:
            parsed.append(REGISTRIES[kind].parse_row(row))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reasons.append(f"{type(error).__name__} {error}")
    if reasons:
        _logger.warning(
            "%s rows of the %s registry left out, first reason: %s",
            len(reasons),
            kind,
            reasons[0],
        )
    return parsed
