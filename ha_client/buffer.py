"""Coalescing buffer between one link's receiver and the database writer.

The receiving thread never waits: it puts what it hears here, newest state per
entity, so the memory is bounded by the number of entities. The writer takes a
:class:`Batch`; when writing fails it gives the batch back.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import causes
from .catalog import Registries, concerned_entities, description_changed
from .model import EntityState
from .recording import Change
from .session import is_running

MAX_EVENTS = 100
MAX_HISTORY = 30000  # changes that wait to be recorded
REGISTRY_FIELDS = {
    "floor": "floors",
    "label": "labels",
    "area": "areas",
    "device": "devices",
    "entity": "entities",
}


@dataclass(frozen=True, slots=True)
class LinkReport:
    """The condition of a link, as its thread reports it.

    ``state`` is a value of ``ha.instance.connection_state``; ``cause`` and
    ``params`` say why (see ``causes``); ``retry_at`` is epoch seconds.
    """

    state: str
    cause: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A line for the connection log; ``at`` is epoch seconds."""

    kind: str
    cause: str | None
    params: Mapping[str, Any]
    at: float


@dataclass(slots=True)
class Lost:
    """Changes that found no room; ``since``/``until`` are epoch seconds."""

    since: float
    until: float
    entity_ids: set[str] = field(default_factory=set)

    def include(self, other: "Lost") -> None:
        self.since = min(self.since, other.since)
        self.until = max(self.until, other.until)
        self.entity_ids |= other.entity_ids


@dataclass(slots=True)
class Counts:
    """Changes of states since the last batch."""

    changes: int = 0  # received
    coalesced: int = 0  # of these, replaced by a newer one before being written
    dropped: int = 0  # not recorded for lack of room, to be fetched later

    def add(self, other: "Counts") -> None:
        self.changes += other.changes
        self.coalesced += other.coalesced
        self.dropped += other.dropped


@dataclass(slots=True)
class Batch:
    """What the writer has to bring into the database, in one transaction."""

    full: bool = False  # reconcile all records with ``registries`` and ``world``
    authoritative: bool = False  # what is missing there is gone in Home Assistant
    # Not full: reconcile the records of these registries (entities apart) …
    kinds: set[str] = field(default_factory=set)
    # … and of these entities, whose states are in ``world``
    touched: set[str] = field(default_factory=set)
    registries: Registries = field(default_factory=Registries)
    world: dict[str, EntityState] = field(default_factory=dict)
    states: dict[str, EntityState] = field(default_factory=dict)
    # Entities whose attributes differ from what was written last; None: all
    described: set[str] | None = None
    removed: set[str] = field(default_factory=set)
    history: list[Change] = field(default_factory=list)
    lost: Lost | None = None
    opens_gap: bool = False  # the first states of a connection: what came before?
    closes_gap: float | None = None  # complete until then, epoch seconds
    report: LinkReport | None = None
    config: dict[str, Any] | None = None
    events: list[LinkEvent] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def __bool__(self) -> bool:
        return bool(
            self.full
            or self.kinds
            or self.touched
            or self.states
            or self.removed
            or self.history
            or self.lost
            or self.closes_gap
            or self.report
            or self.config
            or self.events
        )

    @property
    def names(self) -> list[str]:
        """What it brings news of: kinds of registries, entity ids."""
        changes = {change.entity_id for change in self.history}
        return sorted({*self.kinds, *self.touched, *self.states, *changes})

    def split(self) -> list["Batch"]:
        """Smaller batches that are the same together; none if it is indivisible.

        To find a value that the database refuses. Records come before their states.
        """
        if self.full:
            entities = {row.entity_id for row in self.registries.entities}
            return replace(
                self,
                full=False,
                kinds=REGISTRY_FIELDS.keys() - {"entity"},
                touched=entities | self.world.keys(),
                states=dict(self.world),
                described=None,
            ).split()
        parts = [self._describe(kinds=set(part)) for part in _halves(self.kinds)]
        parts += [self._describe(touched=set(part)) for part in _halves(self.touched)]
        for part in _halves(self.states):
            states = {key: self.states[key] for key in part}
            parts.append(Batch(states=states, described=self.described))
        parts += [Batch(history=part) for part in _halves(self.history)]
        first = Batch(opens_gap=self.opens_gap, counts=self.counts)
        if first.opens_gap or first.counts.changes:
            parts.insert(0, first)
        rest = replace(
            self,
            **{"kinds": set(), "touched": set(), "world": {}},
            **{"states": {}, "history": []},
            opens_gap=False,
            counts=Counts(),
        )
        if rest:
            parts.append(rest)
        return parts if len(parts) > 1 else []

    def _describe(self, **what) -> "Batch":
        return Batch(
            authoritative=self.authoritative,
            registries=self.registries,
            world={
                key: self.world[key]
                for key in self.world.keys() & what.get("touched", ())
            },
            **what,
        )


def _halves(items) -> list[list]:
    items = list(items)
    middle = (len(items) + 1) // 2
    return [part for part in (items[:middle], items[middle:]) if part]


class LinkBuffer:
    """The sink of a :class:`~.session.LinkSession`; thread-safe.

    :param wake: called without arguments when something new has arrived; must
        not block.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None):
        self._wake = wake
        self._lock = threading.Lock()
        self._world: dict[str, EntityState] = {}
        self._registries: dict[str, tuple] = {}
        self._running = False
        self._full = False
        self._kinds: set[str] = set()
        self._touched: set[str] = set()
        self._states: dict[str, EntityState] = {}
        self._removed: set[str] = set()
        self._described: set[str] = set()
        self._history: list[Change] = []
        self._lost: Lost | None = None
        self._is_new_session = True
        self._opens_gap = False
        self._closes_gap: float | None = None
        self._counts = Counts()
        self._report: LinkReport | None = None
        self._config: dict[str, Any] | None = None
        self._events: deque[LinkEvent] = deque(maxlen=MAX_EVENTS)
        self.alive_at: float | None = None  # time.monotonic() of the last message
        self.unrecorded: frozenset[str] = frozenset()  # entities without history

    # What the session's thread calls -------------------------------------

    def on_config(self, config: dict[str, Any]) -> None:
        with self._lock:
            self._config = config
            if not is_running(config):
                self._report = LinkReport("syncing", causes.STARTING)
        self._wake()

    def on_registry(self, kind: str, rows: list) -> None:
        rows = tuple(rows)
        with self._lock:
            before = self._registries.get(REGISTRY_FIELDS[kind], ())
            self._registries[REGISTRY_FIELDS[kind]] = rows
            # Before the first complete snapshot, reconciling would be premature.
            if not self._running or rows == before:
                return
            if kind != "entity":
                self._kinds.add(kind)
            entities = self._registries.get("entities", ())
            self._touched |= concerned_entities(kind, before, rows, entities)
        self._wake()

    def on_states(self, changes) -> None:
        with self._lock:
            self._take_states(changes)
        self._wake()

    def on_missed(self, since: float, until: float) -> None:
        with self._lock:
            self._lose(Lost(since, until, set(self._world)))

    def on_synced(self) -> None:
        with self._lock:
            self._running = self._full = True
            self._report = LinkReport("connected")
        self._wake()

    def on_alive(self) -> None:
        self.alive_at = time.monotonic()

    # What the link's thread reports --------------------------------------

    def report(self, state, cause=None, params=None, retry_at=None) -> None:
        """Say in what condition the link is now."""
        with self._lock:
            self._report = LinkReport(state, cause, params or {}, retry_at)
        self._wake()

    def event(self, kind, cause=None, params=None) -> None:
        """Add a line to the connection log."""
        with self._lock:
            self._events.append(LinkEvent(kind, cause, params or {}, time.time()))
        self._wake()

    def disconnected(self) -> None:
        """Forget that the picture is complete; the next snapshot starts anew."""
        with self._lock:
            self._running = False
            self._is_new_session = True
            self.alive_at = None

    @property
    def pending(self) -> int:
        """How many changed states wait here to be written."""
        return len(self._states)

    @property
    def pending_history(self) -> int:
        """How many changes wait here to be recorded."""
        return len(self._history)

    @property
    def dropped(self) -> int:
        """How many changes found no room in what waits here."""
        return self._counts.dropped

    # What the writer calls ------------------------------------------------

    def recall(self, entity_ids) -> list[Change]:
        """The present states of entities, as changes to be recorded."""
        with self._lock:
            states = [self._world.get(entity_id) for entity_id in entity_ids]
        return [Change(s.entity_id, s.state, s.last_changed) for s in states if s]

    def drain(self) -> Batch:
        """Take everything that is waiting; an empty (falsy) batch if nothing is."""
        with self._lock:
            batch = Batch(
                full=self._full,
                authoritative=self._running,
                states=self._states,
                described=self._described,
                removed=self._removed,
                kinds=self._kinds,
                touched=self._touched,
                history=self._history,
                lost=self._lost,
                opens_gap=self._opens_gap,
                closes_gap=self._closes_gap,
                report=self._report,
                config=self._config,
                events=list(self._events),
                counts=self._counts,
            )
            if self._full or self._kinds or self._touched:
                batch.registries = Registries(**self._registries)
            if self._full:
                batch.world = dict(self._world)
                batch.kinds, batch.touched = set(), set()
            else:
                present = self._touched & self._world.keys()
                batch.world = {key: self._world[key] for key in present}
            self._full, self._kinds, self._touched = False, set(), set()
            self._states, self._removed, self._described = {}, set(), set()
            self._history, self._lost, self._counts = [], None, Counts()
            self._opens_gap, self._closes_gap = False, None
            self._report = self._config = None
            self._events.clear()
        return batch

    def restore(self, batch: Batch) -> None:
        """Give back a batch that could not be written; what is newer wins."""
        with self._lock:
            self._full = self._full or batch.full
            self._kinds |= batch.kinds
            self._touched |= batch.touched
            for entity_id, state in batch.states.items():
                if entity_id in self._states:
                    self._counts.coalesced += 1
                elif entity_id not in self._removed:
                    self._states[entity_id] = state
            self._described |= batch.described or set()
            self._removed.update(batch.removed - self._states.keys())
            self._history = batch.history + self._history
            for change in self._history[MAX_HISTORY:]:
                self._drop(change)
            del self._history[MAX_HISTORY:]
            if batch.lost:
                self._lose(batch.lost)
            self._opens_gap = self._opens_gap or batch.opens_gap
            self._closes_gap = self._closes_gap or batch.closes_gap
            self._counts.add(batch.counts)
            self._report = self._report or batch.report
            self._config = self._config or batch.config
            newer = list(self._events)
            self._events.clear()
            self._events.extend(batch.events + newer)

    def request_full(self) -> None:
        """Ask for a reconciliation, e.g. because a record is missing."""
        with self._lock:
            self._full = True
        self._wake()

    # -----------------------------------------------------------------------

    def _take_states(self, changes) -> None:
        if self._is_new_session:
            self._is_new_session, self._opens_gap = False, True
        before = self._world
        if changes.complete:
            self._world = {}
            self._states, self._removed = {}, set()
            self._full = True
            times = (state.last_updated for state in changes.changed.values())
            self._closes_gap = max(times, default=None)
        for entity_id in changes.removed:
            self._world.pop(entity_id, None)
            self._states.pop(entity_id, None)
            if not changes.complete:
                self._removed.add(entity_id)
        waiting = self._states
        for entity_id, state in changes.changed.items():
            old = before.get(entity_id)
            if old is None or old.attributes is not state.attributes:
                self._described.add(entity_id)
                if old is None or description_changed(old.attributes, state.attributes):
                    self._describe(entity_id)
            if (old is None or old.state != state.state) and (
                entity_id not in self.unrecorded
            ):
                change = Change(entity_id, state.state, state.last_changed)
                if len(self._history) < MAX_HISTORY or changes.complete:
                    self._history.append(change)
                else:
                    self._drop(change)
            if entity_id in waiting:
                self._counts.coalesced += 1
        self._counts.changes += len(changes.changed)
        if self._removed:
            self._removed -= changes.changed.keys()
        self._world.update(changes.changed)
        waiting.update(changes.changed)

    def _describe(self, entity_id: str) -> None:
        """An entity is new, or what it says of itself has changed."""
        if self._running:
            self._touched.add(entity_id)
        else:
            self._full = True  # the registries were not written yet, either

    def _drop(self, change: Change) -> None:
        self._counts.dropped += 1
        lost = self._lost
        if lost is None:
            self._lost = Lost(change.at, change.at, {change.entity_id})
        else:
            lost.since = min(lost.since, change.at)
            lost.until = max(lost.until, change.at)
            lost.entity_ids.add(change.entity_id)

    def _lose(self, lost: Lost) -> None:
        if self._lost is None:
            self._lost = lost
        else:
            self._lost.include(lost)
