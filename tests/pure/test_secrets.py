"""The token appears in no log, repr or error, not even in part."""

import logging
import re

import pytest
import websocket

from ha_client.exceptions import HaError
from ha_client.probe import probe
from ha_client.rest import RestClient
from ha_client.service_call import call_service_once
from helpers import RunningSession, config_for, eventually

TOKEN = "eyJTOPSECRETheader.eyJTOPSECRETpayload.TOPSECRETsignature"


@pytest.fixture
def everything_logged(caplog):
    """All loggers at DEBUG, and websocket-client's traces, which print frames."""
    caplog.set_level(logging.DEBUG)
    websocket.enableTrace(True, handler=caplog.handler, level="DEBUG")
    yield caplog
    websocket.enableTrace(False)


def use_everything(ha, token):
    shown = []
    config = config_for(ha, token=token)
    with RunningSession(config) as session:
        eventually(lambda: session.sink.synced or session.end)
        ha.set_state("light.a", "on")
        ha.close_connections(1011, b"bye")
        shown.append(session.wait_end())
        shown += [session.connection, vars(session.connection)]
    for use in (
        lambda: probe(config),
        lambda: RestClient(config).get_config(),
        lambda: call_service_once(config, "light", "toggle", {}),
    ):
        try:
            shown.append(use())
        except HaError as error:
            shown += [error, error.params, error.args, error.__cause__]
    return "".join(f"{item!r} {item!s}" for item in [config, *shown])


@pytest.mark.parametrize("accepted", [True, False])
def test_the_token_is_shown_nowhere(ha, everything_logged, accepted):
    if accepted:
        ha.token = TOKEN
    ha.add_entity("light.a", "off")
    shown = use_everything(ha, TOKEN) + everything_logged.text
    assert everything_logged.records
    for part in re.split(r"\W", TOKEN):
        assert part not in shown
        assert part[:8] not in shown
