"""Fetches registries for a session: full lists first, changed ones afterwards."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from .exceptions import CommandError, ProtocolError
from .messages import Message, essential_result, result_of
from .registries import REGISTRIES, Row, parse
from .timing import Debounce

_logger = logging.getLogger(__name__)

Request = Callable[[str, Callable[[Message], None]], Any]


class RegistryFeed:
    """Collects what changed, fetches it in one go, delivers it in order.

    :param request: sends a command and hands its result message on
    :param deliver: called with kind and full list, floors before areas and so on
    :param done: called after the last list of a fetch was delivered

    ``complete`` tells that all five lists were delivered since :meth:`restart`;
    ``entity_ids`` are those with an entry in the entity registry.
    """

    def __init__(
        self,
        request: Request,
        deliver: Callable[[str, list[Row]], None],
        done: Callable[[], None],
    ) -> None:
        self._request = request
        self._deliver = deliver
        self._done = done
        self._dirty = Debounce()
        self._fetching: dict[str, list[Row] | None] = {}
        self._fetching_all = False
        self.complete = False
        self.entity_ids: frozenset[str] = frozenset()

    @property
    def due(self) -> float | None:
        """When :meth:`fetch` shall be called; not while a fetch is under way."""
        return None if self._fetching else self._dirty.due

    def restart(self, now: float) -> None:
        """All lists have to be fetched anew, also those on their way."""
        self.complete = self._fetching_all = False
        self._dirty.mark(REGISTRIES, now, urgent=True)

    def mark(self, kinds: Iterable[str], now: float, urgent: bool = False) -> None:
        """These have changed; ``urgent``: fetch at once."""
        self._dirty.mark(kinds, now, urgent)

    def is_marked(self, kind: str) -> bool:
        """Whether it changed again since the last fetch was sent."""
        return kind in self._dirty

    def fetch(self) -> None:
        marked = self._dirty.take()
        kinds = [kind for kind in REGISTRIES if kind in marked]
        self._fetching_all = len(kinds) == len(REGISTRIES)
        self._fetching = dict.fromkeys(kinds)
        for kind in kinds:
            self._request(
                REGISTRIES[kind].list_command,
                lambda message, kind=kind: self._on_rows(kind, message),
            )

    def _on_rows(self, kind: str, message: Message) -> None:
        self._fetching[kind] = _rows_of(kind, message)
        if any(rows is None for rows in self._fetching.values()):
            return
        fetched, self._fetching = self._fetching, {}
        for fetched_kind, rows in fetched.items():
            rows = rows or []
            if fetched_kind == "entity":
                self.entity_ids = frozenset(row.entity_id for row in rows)
            self._deliver(fetched_kind, rows)
        self.complete = self.complete or self._fetching_all
        self._done()


def _rows_of(kind: str, message: Message) -> list[Row]:
    registry = REGISTRIES[kind]
    try:
        rows = result_of(message)
    except CommandError as error:
        if not registry.optional:
            essential_result(message, registry.list_command)
        _logger.info("no %s registry: %s", kind, error.code)
        return []
    parsed = parse(kind, rows) if isinstance(rows, list) else []
    if not parsed and rows != []:
        # Taking it for an empty registry would archive everything.
        raise ProtocolError(detail=f"{registry.list_command}: no row understood")
    return parsed
