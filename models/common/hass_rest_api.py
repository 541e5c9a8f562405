"""What a user's own request asks of Home Assistant, from whichever worker serves it.

Nothing here goes through the link or its owner, and nothing here writes.
"""

import logging

from odoo.exceptions import UserError

from ...ha_client import causes as client_causes
from ...ha_client.exceptions import CommandTimeout, ConnectionLost, HaError
from ...ha_client.probe import probe
from ...ha_client.service_call import call_service_once
from .condition import causes

_logger = logging.getLogger(__name__)

TEST_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 5

DONE = "done"
RUNNING = "running"  # Home Assistant answers only when the service has ended


def test_connection(instance) -> tuple[bool, list[str]]:
    """Try an instance's configuration over REST and WebSocket.

    :param instance: one ``ha.instance``
    :return: whether it works, and the lines to show: cause and remedy, or what
        answered
    """
    env = instance.env
    try:
        result = probe(instance._link_config(), timeout=TEST_TIMEOUT_S)
    except UserError as error:
        return False, str(error).split("\n")
    except HaError as error:
        _logger.info(
            "Test of instance %s failed: %s. instance_id=%s",
            instance.name,
            error,
            instance.id,
        )
        return False, list(causes.explain(env, error.cause, error.params))
    lines = [
        env._(
            "Home Assistant %(version)s, “%(location)s”: %(count)s entities, answered"
            " in %(time)s ms.",
            version=result.ha_version,
            location=result.location_name,
            count=result.entity_count,
            time=result.round_trip_ms,
        )
    ]
    if not result.is_running:
        lines += causes.explain(env, client_causes.STARTING)
    return True, lines


def call_service(instance, domain: str, service: str, data: dict, entity_id: str):
    """Call one service for one entity and wait for its end.

    Over a WebSocket of its own, because REST answers a failing service with
    "400: Bad Request" alone and Home Assistant's own message is lost.

    :return: ``DONE``, or ``RUNNING`` when it has not ended within 5 s
    :raises UserError: with Home Assistant's own message, or the cause and remedy
        when it cannot be reached
    """
    env = instance.env
    try:
        call_service_once(
            instance._link_config(),
            domain,
            service,
            data,
            entity_id,
            connect_timeout=CONNECT_TIMEOUT_S,
            answer_timeout=ANSWER_TIMEOUT_S,
        )
    except CommandTimeout:
        return RUNNING
    except ConnectionLost as error:
        raise UserError(
            env._(
                "The connection broke during the call of %(service)s. It may or may"
                " not have run: look at the state before you try again.",
                service=f"{domain}.{service}",
            )
        ) from error
    except HaError as error:
        # Data and Home Assistant's message may hold the code of a lock: the log
        # gets neither.
        _logger.info(
            "Service %s.%s for %s failed (%s). instance_id=%s",
            domain,
            service,
            entity_id,
            getattr(error, "code", error.cause),
            instance.id,
        )
        message, remedy = causes.explain(env, error.cause, error.params)
        text = f"{message}\n{remedy}"
        raise UserError(text) from error
    return DONE
