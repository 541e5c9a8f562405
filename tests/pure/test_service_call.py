import pytest

from ha_client.exceptions import (
    AuthenticationFailed,
    CannotConnect,
    CommandError,
    CommandTimeout,
    ConnectionLost,
)
from ha_client.service_call import call_service_once
from helpers import Background, black_hole, config_for, eventually


def call(ha, **kwargs):
    return call_service_once(
        config_for(ha), "light", "turn_on", {"x": 1}, "light.a", **kwargs
    )


def test_a_call_says_goodbye_and_returns_its_context(ha):
    ha.add_entity("light.a", "off")
    assert call(ha)
    assert ha.states["light.a"]["s"] == "on"
    assert ha.service_calls == [
        {
            "domain": "light",
            "service": "turn_on",
            "data": {"x": 1},
            "target": {"entity_id": "light.a"},
            "over": "websocket",
        }
    ]
    eventually(lambda: ha.close_codes == [1000])


def test_home_assistants_words_are_kept(ha):
    message = "Value 500 is out of range"
    ha.service_errors[("light", "turn_on")] = ("service_validation_error", message)
    with pytest.raises(CommandError) as caught:
        call(ha)
    assert caught.value.code == "service_validation_error"
    assert caught.value.message == message


def test_a_service_that_takes_long(ha):
    ha.service_delay = 3.0
    with pytest.raises(CommandTimeout):
        call(ha, answer_timeout=0.2)
    assert len(ha.service_calls) == 1


def test_a_link_lost_in_the_middle(ha):
    ha.service_delay = 3.0
    calling = Background(call, ha)
    eventually(lambda: ha.service_calls)
    ha.drop_connections()
    assert isinstance(calling.outcome(), ConnectionLost)


def test_nothing_is_called_without_a_login(ha):
    with pytest.raises(AuthenticationFailed):
        call_service_once(
            config_for(ha, token="wrong-token-0123456789"), "light", "turn_on", {}
        )
    assert ha.service_calls == []


def test_a_dead_server_does_not_cost_long():
    with black_hole() as (host, port):
        server = type("", (), {"url": f"http://{host}:{port}", "token": "x" * 20})
        with pytest.raises(CannotConnect) as caught:
            call(server, connect_timeout=0.2)
    assert caught.value.cause == "connect_timeout"
