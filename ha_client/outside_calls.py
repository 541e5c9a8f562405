"""Commands on a link's connection that come from other threads.

One WebSocket per instance is enough: what the backfill asks for goes over it, and
the session's thread, which alone reads, hands the answers on.
"""

import threading
from dataclasses import dataclass, field
from typing import Any

from .connection import HaConnection
from .exceptions import CommandTimeout, ConnectionLost, HaError
from .messages import Message, result_of

_SLICE_S = 0.2  # how soon a caller that gives up is let go


@dataclass(slots=True)
class _Call:
    done: threading.Event = field(default_factory=threading.Event)
    message: Message | None = None
    error: HaError | None = None


class OutsideCalls:
    """Calls under way on one connection. :meth:`call` is thread-safe."""

    def __init__(self, connection: HaConnection) -> None:
        self._connection = connection
        self._calls: dict[int, _Call] = {}
        self._lock = threading.Lock()
        self._ended: HaError | None = None

    def call(self, command: str, timeout: float, given_up=lambda: False, **payload):
        """Send a command and wait for its result.

        :param timeout: seconds
        :param given_up: asked from time to time; True ends the wait
        :raises CommandError: with Home Assistant's code
        :raises CommandTimeout: no answer in time, or given up
        :raises ConnectionLost: the connection ended
        """
        call = _Call()
        try:
            self._connection.send_announced(
                lambda message_id: self._announce(message_id, call), command, **payload
            )
            waited = 0.0
            while not call.done.wait(_SLICE_S):
                waited += _SLICE_S
                if waited >= timeout or given_up():
                    raise CommandTimeout(command=command, seconds=round(timeout))
        finally:
            self._forget(call)
        if call.error:
            raise call.error
        assert call.message is not None
        return result_of(call.message)

    def _announce(self, message_id: int, call: _Call) -> None:
        with self._lock:
            if self._ended:
                raise self._ended
            self._calls[message_id] = call

    def _forget(self, call: _Call) -> None:
        with self._lock:
            for message_id in [k for k, v in self._calls.items() if v is call]:
                del self._calls[message_id]

    def answer(self, message_id: Any, message: Message) -> bool:
        """Hand a result to its caller; False if it belongs to none."""
        with self._lock:
            call = self._calls.pop(message_id, None)
        if call is None:
            return False
        call.message = message
        call.done.set()
        return True

    def end(self, error: HaError | None = None) -> None:
        """The connection has ended: nobody waits any longer."""
        with self._lock:
            self._ended = error or ConnectionLost(detail="connection ended")
            calls, self._calls = self._calls, {}
        for call in calls.values():
            call.error = self._ended
            call.done.set()
