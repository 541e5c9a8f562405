"""Follows all states for a session, and asks for none while too many come."""

from collections.abc import Callable

from .commands import Commands
from .connection import HaConnection
from .const import LAG_LIMIT_S, MANY_MESSAGES, PROBE_BEHIND_S, RELIEF_S
from .messages import essential_result
from .model import EntityState
from .states import StateChanges, StateDecoder


class StateFeed:
    """One subscription to all states after the other.

    :param clock: seconds, like :func:`time.monotonic`
    :param deliver: called with what each event did
    :param missed: called before the first :class:`StateChanges` after a time in
        which states were not asked for, with its beginning and end (epoch seconds)

    ``complete`` tells that the subscription's snapshot has come; ``due`` when
    :meth:`subscribe` shall be called again, if ever.
    """

    def __init__(
        self,
        connection: HaConnection,
        commands: Commands,
        clock: Callable[[], float],
        deliver: Callable[[StateChanges], None],
        missed: Callable[[float, float], None],
    ) -> None:
        self._connection = connection
        self._commands = commands
        self._clock = clock
        self._deliver = deliver
        self._missed = missed
        self._decoder = StateDecoder()
        self._subscription: int | None = None
        self._missed_since: float | None = None
        self._probe: tuple[int, float] | None = None  # a ping: its id, when sent
        self._probe_messages = 0  # that came before its answer
        self.complete = False
        self.due: float | None = None

    @property
    def subscribed(self) -> bool:
        """Whether :meth:`subscribe` was called at all."""
        return self._subscription is not None

    @property
    def states(self) -> dict[str, EntityState]:
        """All states that we know, as a new dict."""
        return dict(self._decoder.states)

    def subscribe(self) -> None:
        self.due = None
        command = "subscribe_entities"
        self._subscription = self._commands.subscribe(
            command,
            lambda message: essential_result(message, command),
            self._on_event,
            begins=True,
        )

    def forget(self) -> None:
        """The session is over: let go of all states."""
        self._decoder = StateDecoder()

    def _on_event(self, event) -> None:
        changes = self._decoder.apply(event)
        self.complete = True
        if self._missed_since is not None:
            self._missed(self._missed_since, self._decoder.newest)
            self._missed_since = None
        self._deliver(changes)

    # --- more than can be received

    def keep_up(self, now: float, count: int) -> None:
        """Find out how late what we read is; ask for no states when it is too late.

        Home Assistant cuts who leaves too much waiting (4,096 messages at once, or
        1,024 for 5 s). Its answer to a ping queues behind all of that.

        :param count: how many messages have just been read
        """
        if not self.complete:
            return
        behind = self._connection.behind
        if self._probe is not None:
            self._probe_messages += count
            # Not if it was Home Assistant that took its time, or one large message.
            is_late = min(behind, now - self._probe[1]) > LAG_LIMIT_S
            if is_late and self._probe_messages >= MANY_MESSAGES:
                self._pause()
        elif behind > PROBE_BEHIND_S:
            self._probe_messages = 0
            self._probe = self._connection.send_command("ping"), now

    def on_pong(self, message_id: int) -> bool:
        """The answer to a ping came; whether it was one of ours."""
        if self._probe is None or message_id != self._probe[0]:
            return False
        self._probe = None
        return True

    def _pause(self) -> None:
        """What changes from now on comes with the snapshot after the pause."""
        assert self._subscription is not None
        self._probe = None
        self.complete = False
        self._missed_since = self._decoder.newest
        self._decoder.resume()
        self._commands.unsubscribe(self._subscription, self._relieved)

    def _relieved(self) -> None:
        self.due = self._clock() + RELIEF_S
