"""One service call over a WebSocket connection of its own.

REST loses Home Assistant's message when a service fails; the WebSocket command
returns code and message. It costs one login more per call.
"""

from typing import Any

from .config_check import LinkConfig
from .connection import HaConnection
from .const import REST_ANSWER_TIMEOUT, REST_CONNECT_TIMEOUT
from .transport import Canceller


def call_service_once(
    config: LinkConfig,
    domain: str,
    service: str,
    data: dict[str, Any],
    entity_id: str | list[str] | None = None,
    connect_timeout: float = REST_CONNECT_TIMEOUT,
    answer_timeout: float = REST_ANSWER_TIMEOUT,
) -> str | None:
    """Connect, log in, call a service and wait for its end.

    Returns the id of the call's context: the states it changes carry it as
    ``context_id``. ``connect_timeout`` seconds cover connection and login each,
    ``answer_timeout`` the service. Raises :class:`CommandError` with Home
    Assistant's code and message; :class:`CommandTimeout` when it still runs;
    :class:`CannotConnect` and :class:`AuthenticationFailed` before anything was
    called; :class:`ConnectionLost` when it may or may not have run.
    """
    payload: dict[str, Any] = {
        "domain": domain,
        "service": service,
        "service_data": data,
    }
    if entity_id is not None:
        payload["target"] = {"entity_id": entity_id}
    canceller = Canceller()
    connection = HaConnection(config, canceller)
    try:
        connection.open(connect_timeout)
        connection.authenticate(connect_timeout)
        result = connection.call("call_service", answer_timeout, **payload)
    finally:
        connection.close()
        canceller.close()
    context = result.get("context") if isinstance(result, dict) else None
    return context.get("id") if isinstance(context, dict) else None
