"""What Home Assistant's recorder knows of the past: requests and their answers.

Commands ``history/history_during_period`` and ``recorder/…`` (checked against
2024.3 and 2025.4). A row of history is ``{s, lu}``, with ``lc`` where an attribute
changed after the state had (epoch seconds); both ends of a period are excluded.
A state of null says that the entity was removed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .exceptions import ProtocolError
from .model import number_of
from .recording import Change

HISTORY_COMMAND = "history/history_during_period"
STATISTICS_COMMAND = "recorder/statistics_during_period"
STATISTIC_IDS_COMMAND = "recorder/list_statistic_ids"
STATISTIC_TYPES = ("change", "max", "mean", "min", "state", "sum")
_EDGE_S = 0.001


class StatisticsRow(NamedTuple):
    """One hour of an entity; ``start`` is epoch seconds."""

    entity_id: str
    start: float
    mean: float | None
    min: float | None
    max: float | None
    state: float | None
    sum: float | None
    change: float | None


def history_request(
    entity_ids: Iterable[str], start: float, end: float, known_at_start: bool = False
) -> dict[str, Any]:
    """The payload to ask for all changes in a period (epoch seconds).

    :param known_at_start: also ask for the state at its beginning, which tells
        whether the recorder knew the entity then
    """
    return {
        "start_time": _time(start - _EDGE_S),
        "end_time": _time(end + _EDGE_S),
        "entity_ids": list(entity_ids),
        "include_start_time_state": known_at_start,
        "significant_changes_only": False,
        "minimal_response": False,
        "no_attributes": True,
    }


def changes_of(result: Any) -> dict[str, list[Change]]:
    """Every change in an answer, by entity, in the order of time.

    Changes of attributes alone repeat the time at which the state changed; one of
    them is left. Raises :class:`ProtocolError`.
    """
    try:
        return {
            entity_id: _distinct(
                Change(entity_id, row["s"], round(float(row.get("lc") or row["lu"]), 6))
                for row in rows
                if row["s"] is not None
            )
            for entity_id, rows in result.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        detail = f"{HISTORY_COMMAND}: {type(error).__name__} {error}"
        raise ProtocolError(detail=detail) from error


def _distinct(changes: Iterable[Change]) -> list[Change]:
    by_time = {change.at: change for change in changes}
    return [by_time[at] for at in sorted(by_time)]


def statistics_request(
    statistic_ids: Iterable[str], start: float, end: float, period: str = "hour"
) -> dict[str, Any]:
    """The payload to ask for statistics of a period (epoch seconds)."""
    return {
        "start_time": _time(start),
        "end_time": _time(end),
        "statistic_ids": list(statistic_ids),
        "period": period,
        "types": list(STATISTIC_TYPES),
    }


def statistics_of(result: Any) -> list[StatisticsRow]:
    """The rows in an answer. Raises :class:`ProtocolError`."""
    try:
        return [
            StatisticsRow(
                entity_id,
                float(row["start"]) / 1000.0,
                *(
                    _finite(row.get(name))
                    for name in ("mean", "min", "max", "state", "sum", "change")
                ),
            )
            for entity_id, rows in result.items()
            for row in rows
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        detail = f"{STATISTICS_COMMAND}: {type(error).__name__} {error}"
        raise ProtocolError(detail=detail) from error


def _finite(value: Any) -> float | None:
    return None if value is None else number_of(str(value))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
