"""Fetches registries for a session: full lists first, what changed afterwards.

Of the entity registry, which is the large one, single entries can be asked for;
the others are short lists.
"""

import logging
from collections.abc import Callable, Iterable, KeysView
from typing import Any

from .exceptions import CommandError, ProtocolError
from .messages import Message, essential_result, result_of
from .model import RegistryEntity
from .registries import ENTRIES_COMMAND, REGISTRIES, Row, parse
from .timing import Debounce

_logger = logging.getLogger(__name__)

Request = Callable[..., Any]
MAX_ENTRIES = 200  # of the entity registry; more are fetched as the whole list


class RegistryFeed:
    """Collects what changed, fetches it in one go, delivers it in order.

    :param request: called with a command, a function that takes its result message,
        and the command's fields
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
        self._entries: dict[str, RegistryEntity] = {}  # as last delivered
        # Entries that are to be fetched; None: the whole list
        self._changed_entries: set[str] | None = None
        self.complete = False

    @property
    def entity_ids(self) -> KeysView[str]:
        return self._entries.keys()

    @property
    def due(self) -> float | None:
        """When :meth:`fetch` shall be called; not while a fetch is under way."""
        return None if self._fetching else self._dirty.due

    def forget(self) -> None:
        """The session is over: let go of all entries."""
        self._entries, self._fetching = {}, {}

    def restart(self, now: float) -> None:
        """All lists have to be fetched anew, also those on their way."""
        self.complete = self._fetching_all = False
        self._changed_entries = None
        self._dirty.mark(REGISTRIES, now, urgent=True)

    def mark(self, kinds: Iterable[str], now: float, urgent: bool = False) -> None:
        """These have changed; ``urgent``: fetch at once."""
        kinds = set(kinds)
        if "entity" in kinds:
            self._changed_entries = None
        self._dirty.mark(kinds, now, urgent)

    def mark_entries(
        self, entity_ids: Iterable[str], now: float, urgent: bool = False
    ) -> None:
        """These entries of the entity registry have come, changed or gone."""
        if "entity" not in self._dirty:
            self._changed_entries = set()
        if self._changed_entries is not None:
            self._changed_entries.update(entity_ids)
            if len(self._changed_entries) > MAX_ENTRIES:
                self._changed_entries = None
        self._dirty.mark(["entity"], now, urgent)

    def is_marked(self, kind: str) -> bool:
        """Whether it changed again since the last fetch was sent."""
        return kind in self._dirty

    def fetch(self) -> None:
        marked = self._dirty.take()
        kinds = [kind for kind in REGISTRIES if kind in marked]
        self._fetching_all = len(kinds) == len(REGISTRIES)
        self._fetching = dict.fromkeys(kinds)
        changed, self._changed_entries = self._changed_entries, None
        for kind in kinds:
            if kind == "entity" and changed is not None and self._entries:
                self._fetch_entries(sorted(changed))
            else:
                self._fetch_list(kind)

    def _fetch_list(self, kind: str) -> None:
        self._request(
            REGISTRIES[kind].list_command,
            lambda message: self._on_rows(kind, _rows_of(kind, message)),
        )

    def _fetch_entries(self, entity_ids: list[str]) -> None:
        def on_result(message: Message) -> None:
            try:
                found = result_of(message)
            except CommandError as error:
                _logger.info("single registry entries: %s; fetching all", error.code)
                self._fetch_list("entity")
                return
            if not isinstance(found, dict):
                raise ProtocolError(detail=f"{ENTRIES_COMMAND}: no entries")
            entries = dict(self._entries)
            for entity_id in entity_ids:
                entries.pop(entity_id, None)
            rows = [row for row in found.values() if row]
            for row in parse("entity", rows):
                entries[row.entity_id] = row
            self._on_rows("entity", list(entries.values()))

        self._request(ENTRIES_COMMAND, on_result, entity_ids=entity_ids)

    def _on_rows(self, kind: str, rows: list[Row]) -> None:
        self._fetching[kind] = rows
        if any(rows is None for rows in self._fetching.values()):
            return
        fetched, self._fetching = self._fetching, {}
        for fetched_kind, rows in fetched.items():
            rows = rows or []
            if fetched_kind == "entity":
                self._entries = {row.entity_id: row for row in rows}
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
