"""The commands of a session that wait for an answer, and its subscriptions."""

from collections.abc import Callable
from typing import Any

from . import causes
from .connection import HaConnection
from .const import COMMAND_TIMEOUT
from .exceptions import ConnectionLost, ProtocolError
from .messages import Message, essential_result

Handler = Callable[[Message], None]
EventHandler = Callable[[dict[str, Any]], None]


class Commands:
    """Sends commands and hands what comes back to whoever asked. For one thread.

    :param clock: seconds, like :func:`time.monotonic`
    """

    def __init__(self, connection: HaConnection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._results: dict[int, Handler] = {}
        self._events: dict[int, EventHandler] = {}
        # What has to come: (type of message, id) → deadline, command
        self._awaited: dict[tuple[str, int], tuple[float, str]] = {}

    def request(self, command: str, on_result: Handler, **payload: Any) -> int:
        """Send a command; its id. ``on_result`` takes its result message."""
        message_id = self._connection.send_command(command, **payload)
        self._results[message_id] = on_result
        self._await("result", message_id, command)
        return message_id

    def subscribe(
        self,
        command: str,
        on_result: Handler,
        on_event: EventHandler,
        *,
        begins: bool = False,
        **payload: Any,
    ) -> int:
        """As :meth:`request`, for a command with events.

        :param begins: a first event comes with the answer, and is waited for as long
        """
        message_id = self.request(command, on_result, **payload)
        self._events[message_id] = on_event
        if begins:
            self._await("event", message_id, command)
        return message_id

    def unsubscribe(self, subscription: int, on_end: Callable[[], None]) -> None:
        """End a subscription; what is still on its way is ignored.

        :param on_end: called when nothing more can come
        """
        command = "unsubscribe_events"
        self._events[subscription] = ignore

        def on_result(message: Message) -> None:
            essential_result(message, command)
            del self._events[subscription]
            on_end()

        self.request(command, on_result, subscription=subscription)

    def dispatch(self, kind: Any, message_id: int, message: Message) -> bool:
        """Hand a result or an event on; False if nobody waits for it."""
        if kind not in ("event", "result"):
            return False
        self._awaited.pop((kind, message_id), None)
        if kind == "event" and message_id in self._events:
            event = message.get("event")
            if not isinstance(event, dict):
                raise ProtocolError(detail="event without content")
            self._events[message_id](event)
            return True
        if kind == "result" and message_id in self._results:
            self._results.pop(message_id)(message)
            return True
        return False

    def postpone(self, now: float) -> None:
        """Answers queue behind the large frame that is coming in."""
        for key, (_, command) in self._awaited.items():
            self._awaited[key] = (now + COMMAND_TIMEOUT, command)

    def check(self, now: float) -> None:
        """Raises :class:`ConnectionLost` when an answer is overdue."""
        for deadline, command in self._awaited.values():
            if now >= deadline:
                seconds = round(COMMAND_TIMEOUT)
                detail = f"no result of {command}"
                raise ConnectionLost(causes.NO_ANSWER, seconds=seconds, detail=detail)

    def forget(self) -> None:
        """The session is over: let go of all handlers."""
        self._results.clear()
        self._events.clear()

    def _await(self, kind: str, message_id: int, command: str) -> None:
        self._awaited[kind, message_id] = (self._clock() + COMMAND_TIMEOUT, command)


def ignore(message: Message) -> None:
    """For results and events that make no difference."""
