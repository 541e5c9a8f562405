"""One link: the thread that keeps one instance connected to Home Assistant.

It receives and reports into a :class:`LinkBuffer`; it never touches the
database, so neither a lock nor a slow query can stall it.
"""

import logging
import threading
import time

from ...ha_client import const
from ...ha_client.backoff import Backoff
from ...ha_client.buffer import LinkBuffer
from ...ha_client.config_check import LinkConfig
from ...ha_client.connection import HaConnection
from ...ha_client.exceptions import (
    AuthenticationFailed,
    Cancelled,
    ConnectionLost,
    HaError,
)
from ...ha_client.session import LinkSession
from ...ha_client.transport import Canceller
from .condition.link_news import LinkNews
from .thread_tools import prepare_thread

_logger = logging.getLogger(__name__)

# Outcomes of a link's thread once it has ended.
STOPPED = "stopped"
AUTH_FAILED = "auth_failed"
CRASHED = "crashed"


class HassWebSocketService(threading.Thread):
    """Connects, follows and reconnects until it is told to stop.

    :param dbname: the database, for the thread's name and the log
    :param instance_id: database id of the ``ha.instance``
    :param name: the instance's name, for the log
    :param config: where to connect and with which token
    :param buffer: takes what is received and the link's condition
    :param known_error: ``error`` of the thread before this one, not to be told again

    ``error``: the bug that has ended the thread, as text, and ``is_repeating`` that
    the one before it soon ended by the same.
    """

    def __init__(
        self, dbname, instance_id, name, config: LinkConfig, buffer, known_error=None
    ):
        super().__init__(
            name=f"HomeAssistantWebSocket-{dbname}-Instance-{instance_id}",
            daemon=False,
        )
        self.dbname = dbname
        self.instance_id = instance_id
        self.instance_name = name
        self.outcome = None
        self.error: str | None = None
        self.is_repeating = False
        self._known_error = known_error
        self._config = config
        self._buffer: LinkBuffer = buffer
        self._canceller = Canceller()
        self._backoff = Backoff()
        self._news = LinkNews()
        self._ha_version = ""
        self._session: LinkSession | None = None

    @property
    def is_synced(self) -> bool:
        """Whether the link is up and complete, so that :meth:`call` makes sense."""
        session = self._session
        return session is not None and session.synced

    @property
    def is_behind(self) -> bool:
        """Whether Home Assistant sends more than this thread gets to receive.

        It cuts who is too slow: the other threads leave more time to this one then.
        """
        session = self._session
        return session is not None and session.behind > const.BEHIND_S

    def call(self, command: str, timeout: float, given_up=lambda: False, **payload):
        """Send a command over the link, from any thread, and wait for its result.

        :raises HaError: see :meth:`OutsideCalls.call`
        """
        session = self._session
        if session is None:
            raise ConnectionLost(detail="not connected")
        return session.calls.call(command, timeout, given_up, **payload)

    def request_stop(self) -> None:
        """Ask the thread to close the WebSocket and end; returns at once."""
        self._canceller.cancel()

    def force_stop(self) -> None:
        """Cut the socket, for a peer that keeps the thread from closing it."""
        self._canceller.force()

    def run(self):
        prepare_thread()
        began = time.monotonic()
        try:
            self.outcome = self._keep_connected()
        except Exception as error:
            # A bug of ours: the monitor starts the thread anew, after a pause.
            lived = time.monotonic() - began
            self._crashed(error, lived < const.BACKOFF_RESET_AFTER)
            self.outcome = CRASHED
        finally:
            self._canceller.close()

    def _crashed(self, error: Exception, soon: bool) -> None:
        self.error = repr(error)
        self.is_repeating = soon and self.error == self._known_error
        _logger.log(
            logging.DEBUG if self.is_repeating else logging.ERROR,
            "WebSocket thread of instance %s crashed. instance_id=%s",
            self.instance_name,
            self.instance_id,
            exc_info=True,
        )
        self._buffer.disconnected()
        self._buffer.report("waiting", "crashed", {"detail": self.error})
        if not self.is_repeating:
            self._buffer.event("disconnect", "crashed", {"detail": self.error})

    def _keep_connected(self) -> str:
        self._buffer.event("start")
        while True:
            try:
                self._connect_and_follow()
            except Cancelled:
                return STOPPED
            except AuthenticationFailed as error:
                self._give_up(error)
                return AUTH_FAILED
            except HaError as error:
                if self._canceller.is_set() or self._pause_after(error):
                    return STOPPED

    def _connect_and_follow(self) -> None:
        if not self._news.failures:
            self._buffer.report("connecting")
        connection = HaConnection(self._config, self._canceller)
        try:
            connection.open(timeout=const.CONNECT_TIMEOUT)
            self._ha_version = connection.authenticate(timeout=const.CONNECT_TIMEOUT)
            self._buffer.report("syncing")
            if not self._news.failures:
                self._tell_connected(0)
            self._backoff.healthy()
            self._session = LinkSession(connection, _Sink(self))
            self._session.run(self._canceller)
        finally:
            self._session = None
            self._buffer.disconnected()
            connection.close()

    def complete(self) -> None:
        """Everything was delivered."""
        self._buffer.on_synced()
        failures = self._news.failures
        if self._news.complete():
            self._tell_connected(failures)

    def alive(self) -> None:
        """Something was received."""
        self._buffer.on_alive()
        if self._news.alive():
            self._tell_connected(0)

    def _tell_connected(self, failures: int) -> None:
        _logger.info(
            "Connected to Home Assistant %s for instance %s%s. instance_id=%s",
            self._ha_version,
            self.instance_name,
            f" after {failures} failed attempts" if failures else "",
            self.instance_id,
        )
        self._buffer.event("connect", params={"ha_version": self._ha_version})

    def _pause_after(self, error: HaError) -> bool:
        """Report a failure and wait for the next attempt; True when stopped."""
        is_news = self._news.failed()
        delay = self._backoff.next_delay()
        retry_at = time.time() + delay
        self._buffer.report("waiting", error.cause, error.params, retry_at)
        if is_news:
            self._buffer.event("disconnect", error.cause, error.params)
        more = ""
        if is_news and self._news.is_last:
            more = " It fails again and again: told again when it has stayed up."
        _logger.log(
            logging.WARNING if is_news else logging.DEBUG,
            "Link of instance %s is down: %s. Trying again in %.1f s.%s instance_id=%s",
            self.instance_name,
            error,
            delay,
            more,
            self.instance_id,
        )
        return self._canceller.wait(delay)

    def _give_up(self, error: AuthenticationFailed) -> None:
        _logger.error(
            "Home Assistant refuses instance %s: %s. Not trying again until the"
            " configuration changes or somebody restarts it. instance_id=%s",
            self.instance_name,
            error,
            self.instance_id,
        )
        self._buffer.report("auth_failed", error.cause, error.params)
        self._buffer.event("auth_failed", error.cause, error.params)


class _Sink:
    """The buffer, except for what the link itself wants to know."""

    def __init__(self, service: HassWebSocketService):
        self._buffer = service._buffer
        self.on_synced = service.complete
        self.on_alive = service.alive
        self.on_states = service._buffer.on_states  # called for each change

    def __getattr__(self, name):
        return getattr(self._buffer, name)
