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

from .commands import Commands, EventHandler, ignore
from .connection import HaConnection
from .const import CONFIG_POLL_INTERVAL, REGISTRY_POLL_INTERVAL, STATE_RUNNING
from .exceptions import Cancelled, CommandError, ProtocolError
from .messages import Message, essential_result, result_of
from .outside_calls import OutsideCalls
from .registries import REGISTRIES, Row
from .registry_feed import RegistryFeed
from .state_feed import StateFeed
from .states import StateChanges
from .timing import Liveness
from .transport import Canceller

_logger = logging.getLogger(__name__)


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
        self._commands = Commands(connection, clock)
        self._running: bool | None = None
        self._synced = False
        self._config_poll_at: float | None = None
        self._registry_poll_at: float | None = None
        self._registries = RegistryFeed(
            self._commands.request, sink.on_registry, self._after_registries
        )
        self._states = StateFeed(
            connection, self._commands, clock, self._on_states, sink.on_missed
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
        self._commands.forget()
        self._registries.forget()
        self._states.forget()
        self._held = None

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
                if self._synced:
                    self._states.keep_up(now, len(messages))
            elif liveness.progressed(received):
                liveness.alive(now, received)
                self._sink.on_alive()
                self._commands.postpone(now)
            else:
                liveness.check(now)
            if liveness.ping_due(now):
                connection.send_command("ping")
                liveness.pinged(now)
            self._run_timers(now)

    # --- messages

    def _dispatch(self, message: Message) -> None:
        kind, message_id = message.get("type"), message.get("id")
        known = isinstance(message_id, int) and (
            self._commands.dispatch(kind, message_id, message)
            or (kind == "result" and self.calls.answer(message_id, message))
            or (kind == "pong" and self._states.on_pong(message_id))
        )
        if not known:
            _logger.debug("unexpected message: type %s id %s", kind, message_id)

    # --- bootstrap

    def _start(self) -> None:
        # Before anything that may answer with a large list.
        features = {"coalesce_messages": 1}
        self._commands.request("supported_features", ignore, features=features)
        self._fetch_config()
        self._subscribe("core_config_updated", lambda event: self._fetch_config())
        for registry in REGISTRIES.values():
            self._subscribe(
                registry.updated_event,
                lambda event, kind=registry.kind: self._on_registry_event(kind, event),
            )

    def _subscribe(self, event_type: str, handler: EventHandler) -> None:
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

        self._commands.subscribe(
            "subscribe_events", on_result, handler, event_type=event_type
        )

    def _fetch_config(self) -> None:
        self._commands.request("get_config", self._on_config)

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
        if self._registries.complete and not self._states.subscribed:
            self._states.subscribe()
        elif not self._synced:
            self._sync_if_possible()
        elif self._held is not None and not self._registries.is_marked("entity"):
            held, self._held = self._held, None
            for changes in held:
                self._sink.on_states(changes)

    # --- states

    def _on_states(self, changes: StateChanges) -> None:
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
        if not (self._running and self._registries.complete and self._states.complete):
            return False
        self._held = None  # the snapshot contains it
        self._synced = True
        self._sink.on_states(StateChanges(self._states.states, set(), True))
        self._sink.on_synced()
        return True

    # --- timers

    def _next_due(self, liveness_due: float) -> float:
        timers = (
            liveness_due,
            self._registries.due,
            self._config_poll_at,
            self._registry_poll_at,
            self._states.due,
        )
        return min(due for due in timers if due is not None)

    def _run_timers(self, now: float) -> None:
        self._commands.check(now)
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
        if self._states.due is not None and now >= self._states.due:
            self._states.subscribe()
