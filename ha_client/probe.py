"""Test Connection: one honest look, with the true cause when it fails."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import causes
from .config_check import LinkConfig
from .connection import HaConnection
from .const import STATE_RUNNING
from .exceptions import (
    CannotConnect,
    CommandTimeout,
    ConnectionLost,
    HaError,
    ProtocolError,
)
from .rest import RestClient
from .tls import speaks_tls
from .transport import Canceller, open_socket

# How much earlier than the hard limit the steps stop by themselves, so that their
# precise cause wins over "timed out".
_MARGIN = 0.3
RECOVERY_MODE = "RECOVERY_MODE"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``state`` is RUNNING, or what Home Assistant is busy with: it then answers,
    but ``entity_count`` is not final. ``round_trip_ms``: one ping, milliseconds."""

    ha_version: str
    location_name: str
    entity_count: int
    round_trip_ms: float
    state: str

    @property
    def is_running(self) -> bool:
        return self.state == STATE_RUNNING


class _Probe:
    def __init__(self, config: LinkConfig, timeout: float) -> None:
        self._config = config
        self._deadline = time.monotonic() + timeout - _MARGIN
        self._where: dict[str, str | int] = {"host": config.host, "port": config.port}
        self.canceller = Canceller()

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CannotConnect(causes.TIMEOUT, **self._where)
        return left

    def run(self) -> ProbeResult:
        connection = HaConnection(self._config, self.canceller)
        try:
            self._reach()
            config = self._ask_rest()
            self._open(connection, rest_works=config is not None)
            return self._ask_websocket(connection, config)
        except CommandTimeout:
            raise CannotConnect(causes.TIMEOUT, **self._where) from None
        finally:
            connection.close()
            self.canceller.close()

    def _reach(self) -> None:
        """The way there: TCP only, TLS faults come with the request."""
        open_socket(
            self._config.host,
            self._config.port,
            tls=None,
            timeout=self._left(),
            canceller=self.canceller,
        ).close()

    def _ask_rest(self) -> dict[str, Any] | None:
        """Home Assistant's configuration; None when it is one without REST API."""
        client = RestClient(self._config)
        try:
            return client.get_config(self._left())
        except ProtocolError as error:
            detail = str(error.params.get("detail", ""))
            raise CannotConnect(
                causes.NOT_HOME_ASSISTANT, **self._where, status=0, detail=detail
            ) from None
        except ConnectionLost:
            # How Home Assistant's own TLS server answers plain HTTP.
            if speaks_tls(self._config, self._left(), self.canceller):
                raise CannotConnect(causes.HTTPS_REQUIRED, **self._where) from None
            raise
        except CannotConnect as error:
            if error.cause != causes.NOT_HOME_ASSISTANT:
                raise
            if client.is_home_assistant(self._left()):
                return None
            raise
        finally:
            client.close()

    def _open(self, connection: HaConnection, rest_works: bool) -> None:
        """REST works but the upgrade does not: something in between is in the way."""
        try:
            connection.open(self._left())
        except HaError as error:
            if not rest_works or error.cause == causes.REDIRECT:
                raise
            status = error.params.get("status", 0)
            detail = str(error.params.get("detail", error.cause))
            raise CannotConnect(
                causes.WEBSOCKET_BLOCKED, **self._where, status=status, detail=detail
            ) from None

    def _ask_websocket(
        self, connection: HaConnection, config: dict[str, Any] | None
    ) -> ProbeResult:
        version = connection.authenticate(self._left())
        if config is None:
            config = connection.call("get_config", self._left()) or {}
        states = connection.call("get_states", self._left()) or []
        started = time.perf_counter()
        connection.call("ping", self._left())
        round_trip = time.perf_counter() - started
        state = str(config.get("state", ""))
        return ProbeResult(
            ha_version=version,
            location_name=str(config.get("location_name", "")),
            entity_count=len(states),
            round_trip_ms=round(round_trip * 1000, 1),
            state=RECOVERY_MODE if config.get("recovery_mode") else state,
        )


def probe(config: LinkConfig, timeout: float = 10.0) -> ProbeResult:
    """Try everything a link needs, in at most ``timeout`` seconds whatever happens.

    Raises :class:`HaError` with the true cause: what keeps us from the server,
    what answers instead of Home Assistant, or its verdict on the token. Sends the
    token once over REST and once over the WebSocket, so a wrong one costs one
    failed login.
    """
    attempt = _Probe(config, timeout)
    outcome: list[ProbeResult | BaseException] = []
    result = _in_time(attempt.run, outcome, timeout)
    attempt.canceller.cancel()
    if result is None:
        raise CannotConnect(causes.TIMEOUT, host=config.host, port=config.port)
    if isinstance(result, BaseException):
        raise result
    return result


def _in_time(
    run: Callable[[], ProbeResult],
    outcome: list[ProbeResult | BaseException],
    timeout: float,
) -> ProbeResult | BaseException | None:
    """What ``run`` returns or raises, None when it takes longer.

    ``requests`` cannot be interrupted by a peer's trickle, hence the thread; it
    ends with its own timeouts.
    """

    def target() -> None:
        try:
            outcome.append(run())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=target, name="ha-probe", daemon=True)
    thread.start()
    thread.join(timeout)
    return outcome[0] if outcome else None
