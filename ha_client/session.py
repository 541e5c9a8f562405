"""What happens on an authenticated connection: full sync, then following.

Order on a fresh connection: configuration, subscriptions to registry events,
registries, states, ``on_synced``. While Home Assistant starts (or is in recovery
mode) its states are incomplete: they are followed, and everything is delivered
again once it runs.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from . import causes
from .connection import HaConnection
from .const import (
    COMMAND_TIMEOUT,
    CONFIG_POLL_INTERVAL,
    LAG_LIMIT_S,
    MANY_MESSAGES,
    PROBE_BEHIND_S,
    REGISTRY_POLL_INTERVAL,
    RELIEF_S,
    STATE_RUNNING,
)
from .exceptions import Cancelled, CommandError, ConnectionLost, ProtocolError
from .messages import Message, essential_result, result_of
from .outside_calls import OutsideCalls
from .registries import REGISTRIES, Row
from .registry_feed import RegistryFeed
from .states import StateChanges, StateDecoder
from .timing import Liveness
from .transport import Canceller

_logger = logging.getLogger(__name__)

Handler = Callable[[Message], None]
_SNAPSHOT = -1  # stands for the first event of subscribe_entities in _results


class LinkSink(Protocol):
    """Receives what a session learns; called from its thread, must not block.

    Registries come before the states that belong to them.
    """

    def on_config(self, config: dict[str, Any]) -> None:
        """``get_config``'s result: version, location_name, state, …"""

    def on_registry(self, kind: str, rows: list[Row]) -> None:
        """The full list of a registry (before Home Assistant runs, too)."""

    def on_states(self, changes: StateChanges) -> None:
        """Changed states. ``complete``, which replaces all that is known, and
        ``removed`` come only while Home Assistant runs."""

    def on_missed(self, since: float, until: float) -> None:
        """Changes in between (epoch seconds) were not received; the states told
        next are the present ones."""

    def on_synced(self) -> None:
        """It runs; registries and the complete snapshot were delivered."""

    def on_alive(self) -> None:
        """Something arrived; at most once per frame."""


def is_running(config: dict[str, Any]) -> bool:
    """Whether what Home Assistant shows is all there is.

    In recovery mode it is RUNNING, but with hardly any integration loaded.
    """
    return config.get("state") == STATE_RUNNING and not config.get("recovery_mode")


class LinkSession:
    """Keeps a sink in step with Home Assistant until the connection ends."""

    def __init__(
        self,
        connection: HaConnection,
        sink: LinkSink,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._sink = sink
        self._clock = clock
        self.calls = OutsideCalls(connection)
        self._decoder = StateDecoder()
        # What waits for an answer: id → deadline, command, handler
        self._results: dict[int, tuple[float, str, Handler]] = {}
        self._events: dict[int, Handler] = {}
        self._running: bool | None = None
        self._synced = False
        self._subscription: int | None = None  # subscribe_entities' id
        self._has_snapshot = False
        self._probe: tuple[int, float] | None = None  # a ping: its id, when sent
        self._probe_messages = 0  # that came before its answer
        # While states are not asked for: the newest that we have heard of …
        self._missed_since: float | None = None
        self._resume_at: float | None = None  # … and when we go on
        self._config_poll_at: float | None = None
        self._registry_poll_at: float | None = None
        self._registries = RegistryFeed(
            self._request, sink.on_registry, self._after_registries
        )
        # States held back until a rename is known; None = nothing is held
        self._held: list[StateChanges] | None = None

    def run(self, canceller: Canceller) -> None:
        """Follow until the end, which is always an exception.

        Raises :class:`Cancelled`, :class:`ConnectionLost`, :class:`ProtocolError`.
        """
        try:
            self._follow(canceller)
        finally:
            self.calls.end()
            self._forget()

    def _forget(self) -> None:
        """Let go of all that was learned.

        Handlers refer to the session and it to them: Python would keep a home's
        states and registries, of one connection after the other, until its next
        full collection.
        """
        self._events.clear()
        self._results.clear()
        self._held = None
        self._decoder = StateDecoder()
        self._registries.forget()

    @property
    def synced(self) -> bool:
        """Whether everything was delivered, so that other commands may be sent."""
        return self._synced

    @property
    def behind(self) -> float:
        """Seconds for which more has come than could be received."""
        return self._connection.behind

    def _follow(self, canceller: Canceller) -> NoReturn:
        connection = self._connection
        liveness = Liveness(self._clock(), connection.bytes_received)
        self._start()
        while True:
            if canceller.is_set():
                raise Cancelled()
            timeout = self._next_due(liveness.due) - self._clock()
            messages = connection.receive(max(0.0, timeout))
            now = self._clock()
            received = connection.bytes_received
            if messages:
                liveness.alive(now, received)
                self._sink.on_alive()
                for message in messages:
                    self._dispatch(message)
                self._keep_up(now, len(messages))
            elif liveness.progressed(received):
                liveness.alive(now, received)
                self._sink.on_alive()
                self._postpone_deadlines(now)
            else:
                liveness.check(now)
            if liveness.ping_due(now):
                connection.send_command("ping")
                liveness.pinged(now)
            self._run_timers(now)

    # --- messages

    def _dispatch(self, message: Message) -> None:
        message_id = message.get("id")
        kind = message.get("type")
        if kind == "event" and message_id in self._events:
            event = message.get("event")
            if not isinstance(event, dict):
                raise ProtocolError(detail="event without content")
            self._events[message_id](event)
        elif kind == "result" and message_id in self._results:
            self._results.pop(message_id)[2](message)
        elif kind == "result" and self.calls.answer(message_id, message):
            return
        elif kind == "pong":
            if self._probe is not None and message_id == self._probe[0]:
                self._probe = None
        else:
            _logger.debug("unexpected message: type %s id %s", kind, message_id)

    def _request(self, command: str, handler: Handler, **payload: Any) -> int:
        """Send a command whose result goes to ``handler``."""
        message_id = self._connection.send_command(command, **payload)
        self._await(message_id, command, handler)
        return message_id

    def _await(self, message_id: int, command: str, handler: Handler) -> None:
        deadline = self._clock() + COMMAND_TIMEOUT
        self._results[message_id] = (deadline, command, handler)

    def _postpone_deadlines(self, now: float) -> None:
        """Answers queue behind the large frame that is coming in."""
        for message_id, (_, command, handler) in self._results.items():
            self._results[message_id] = (now + COMMAND_TIMEOUT, command, handler)

    # --- bootstrap

    def _start(self) -> None:
        # Before anything that may answer with a large list.
        self._request("supported_features", _ignore, features={"coalesce_messages": 1})
        self._fetch_config()
        self._subscribe("core_config_updated", lambda event: self._fetch_config())
        for registry in REGISTRIES.values():
            self._subscribe(
                registry.updated_event,
                lambda event, kind=registry.kind: self._on_registry_event(kind, event),
            )

    def _subscribe(self, event_type: str, handler: Handler) -> None:
        def on_result(message: Message) -> None:
            try:
                result_of(message)
            except CommandError as error:
                # Some events need an administrator's token, depending on version.
                if self._registry_poll_at is None:
                    _logger.info(
                        "not told about %s (%s): polling registries every %s s",
                        event_type,
                        error.code,
                        round(REGISTRY_POLL_INTERVAL),
                    )
                self._registry_poll_at = self._clock() + REGISTRY_POLL_INTERVAL

        message_id = self._request("subscribe_events", on_result, event_type=event_type)
        self._events[message_id] = handler

    def _fetch_config(self) -> None:
        self._request("get_config", self._on_config)

    def _on_config(self, message: Message) -> None:
        config = essential_result(message, "get_config")
        if not isinstance(config, dict):
            raise ProtocolError(detail="get_config without content")
        self._sink.on_config(config)
        before, self._running = self._running, is_running(config)
        if not self._running:
            self._config_poll_at = self._clock() + CONFIG_POLL_INTERVAL
        if before is None or (self._running and not before):
            self._synced = False
            self._registries.restart(self._clock())

    # --- registries

    def _on_registry_event(self, kind: str, event: dict[str, Any]) -> None:
        data = event.get("data")
        changed = data.get("entity_id") if isinstance(data, dict) else None
        if kind != "entity" or not isinstance(changed, str):
            self._registries.mark([kind], self._clock())
        elif old := data.get("old_entity_id"):
            self._registries.mark_entries([changed, str(old)], self._clock(), True)
            self._hold_states()
        else:
            self._registries.mark_entries([changed], self._clock())

    def _hold_states(self) -> None:
        """Tell no more states before the entity registry is up to date.

        For a rename: the states of the old and the new id must not get ahead of
        the news that both are one entity. Its event comes before the states in
        2024.3 and after them in 2025.4, so a registered entity that disappears
        counts as one too.
        """
        if self._synced and self._held is None:
            self._held = []

    def _after_registries(self) -> None:
        if self._registries.complete and self._subscription is None:
            self._subscribe_entities()
        elif not self._synced:
            self._sync_if_possible()
        elif self._held is not None and not self._registries.is_marked("entity"):
            held, self._held = self._held, None
            for changes in held:
                self._sink.on_states(changes)

    # --- states

    def _subscribe_entities(self) -> None:
        message_id = self._request(
            "subscribe_entities",
            lambda message: essential_result(message, "subscribe_entities"),
        )
        self._subscription = message_id
        self._events[message_id] = self._on_states
        self._await(_SNAPSHOT, "subscribe_entities", _ignore)

    def _on_states(self, event: dict[str, Any]) -> None:
        changes = self._decoder.apply(event)
        if not self._has_snapshot:
            self._has_snapshot = True
            self._results.pop(_SNAPSHOT, None)
        if self._missed_since is not None:
            self._sink.on_missed(self._missed_since, self._decoder.newest)
            self._missed_since = None
        if not self._registries.entity_ids.isdisjoint(changes.removed):
            self._registries.mark(["entity"], self._clock(), urgent=True)
            self._hold_states()
        if self._held is not None:
            self._held.append(changes)
        elif self._synced and self._running:
            self._sink.on_states(changes)
        elif self._synced or not self._sync_if_possible():
            # Nothing is gone for good, and nothing complete, before it runs.
            self._sink.on_states(StateChanges(changes.changed, set(), False))

    def _sync_if_possible(self) -> bool:
        if not (self._running and self._registries.complete and self._has_snapshot):
            return False
        self._held = None  # the snapshot contains it
        self._synced = True
        snapshot = dict(self._decoder.states)
        self._sink.on_states(StateChanges(snapshot, set(), True))
        self._sink.on_synced()
        return True

    # --- more states than can be received

    def _keep_up(self, now: float, count: int) -> None:
        """Find out how late what we read is; ask for no states when it is too late.

        Home Assistant cuts who leaves too much waiting (4,096 messages at once, or
        1,024 for 5 s). Its answer to a ping queues behind all of that.
        """
        if not self._synced or not self._has_snapshot:
            return
        behind = self._connection.behind
        if self._probe is not None:
            self._probe_messages += count
            # Not if it was Home Assistant that took its time, or one large message.
            is_late = min(behind, now - self._probe[1]) > LAG_LIMIT_S
            if is_late and self._probe_messages >= MANY_MESSAGES:
                self._pause_states()
        elif behind > PROBE_BEHIND_S:
            self._probe_messages = 0
            self._probe = self._connection.send_command("ping"), now

    def _pause_states(self) -> None:
        """What changes from now on comes with the snapshot after the pause."""
        subscription = self._subscription
        self._probe = None
        self._has_snapshot = False
        self._missed_since = self._decoder.newest
        self._decoder.resume()
        self._events[subscription] = _ignore  # those on their way

        def on_result(message: Message) -> None:
            essential_result(message, "unsubscribe_events")
            del self._events[subscription]
            self._resume_at = self._clock() + RELIEF_S

        self._request("unsubscribe_events", on_result, subscription=subscription)

    # --- timers

    def _next_due(self, liveness_due: float) -> float:
        timers = (
            liveness_due,
            self._registries.due,
            self._config_poll_at,
            self._registry_poll_at,
            self._resume_at,
        )
        return min(due for due in timers if due is not None)

    def _run_timers(self, now: float) -> None:
        for deadline, command, _ in self._results.values():
            if now >= deadline:
                seconds = round(COMMAND_TIMEOUT)
                detail = f"no result of {command}"
                raise ConnectionLost(causes.NO_ANSWER, seconds=seconds, detail=detail)
        if self._config_poll_at is not None and now >= self._config_poll_at:
            self._config_poll_at = None
            if not self._running:
                self._fetch_config()
        if self._registry_poll_at is not None and now >= self._registry_poll_at:
            self._registry_poll_at = now + REGISTRY_POLL_INTERVAL
            self._registries.mark(REGISTRIES, now, urgent=True)
            self._fetch_config()
        if self._registries.due is not None and now >= self._registries.due:
            self._registries.fetch()
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            self._subscribe_entities()


def _ignore(message: Message) -> None:
    """For results and events that make no difference."""
