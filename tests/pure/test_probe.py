"""Test Connection: every cause against a real socket, never beyond its time."""

import time

import pytest

from fake_ha import FakeHomeAssistant
from ha_client.config_check import LinkConfig
from ha_client.exceptions import AuthenticationFailed, ConfigError, HaError
from ha_client.probe import probe
from helpers import RawServer, answer, black_hole, config_for, http, mute, trickle
from test_transport import free_port, hanging_dns  # noqa: F401


def failure(config, timeout=10.0):
    with pytest.raises(HaError) as caught:
        probe(config, timeout)
    return caught.value


def at(url, **kwargs):
    return LinkConfig(url, "x" * 20, **kwargs)


def test_success(ha):
    ha.add_entity("light.a", "off")
    ha.add_entity("light.b", "off")
    result = probe(config_for(ha))
    assert (result.ha_version, result.location_name) == (ha.version, "Fake Home")
    assert (result.entity_count, result.state) == (2, "RUNNING")
    assert result.is_running
    assert 0 < result.round_trip_ms < 5000


def test_success_with_prefix_and_tls():
    with FakeHomeAssistant(prefix="/ha", tls="good") as ha:
        assert probe(config_for(ha, verify_ssl=False)).is_running


@pytest.mark.parametrize("state", ["NOT_RUNNING", "STARTING", "STOPPING"])
def test_starting(ha, state):
    ha.state = state
    result = probe(config_for(ha))
    assert result.state == state
    assert not result.is_running


def test_recovery_mode(ha):
    ha.recovery_mode = True
    assert probe(config_for(ha)).state == "RECOVERY_MODE"


def test_without_the_rest_api(ha):
    ha.missing = ("/api/config",)
    assert probe(config_for(ha)).location_name == "Fake Home"


def test_a_wrong_token_costs_one_failed_login(ha):
    error = failure(config_for(ha, token="wrong-token-0123456789"))
    assert isinstance(error, AuthenticationFailed)
    assert error.cause == "token_rejected"
    assert ha.failed_logins == 1


def test_a_good_token_costs_none(ha):
    probe(config_for(ha))
    assert ha.failed_logins == 0


def test_ban(ha):
    ha.banned = True
    assert failure(config_for(ha)).cause == "banned"


def test_redirect(ha):
    ha.redirect_to = "https://ha.example/"
    error = failure(config_for(ha))
    assert error.cause == "redirect"
    assert error.params["location"] == "https://ha.example/"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_whose_home_assistant_is_down(ha, status):
    ha.http_status = status
    error = failure(config_for(ha))
    assert (error.cause, error.params["status"]) == ("server_error", status)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 502])
def test_a_proxy_that_blocks_websockets(ha, status):
    ha.upgrade_status = status
    error = failure(config_for(ha))
    assert (error.cause, error.params["status"]) == ("websocket_blocked", status)


def test_another_web_server():
    with RawServer(http(200, b"<html>nginx</html>")) as server:
        assert failure(at(server.url)).cause == "not_home_assistant"
    with RawServer(http(404, b"<html>nginx</html>")) as server:
        assert failure(at(server.url)).cause == "not_home_assistant"


def test_another_kind_of_server():
    with RawServer(answer(b"SSH-2.0-OpenSSH_9.2\r\n")) as server:
        error = failure(at(server.url))
    assert error.cause == "not_home_assistant"
    assert "SSH" in error.params["detail"]


def test_name_not_found():
    assert failure(at("http://no-such-host.invalid")).cause == "dns"


def test_refused():
    assert failure(at(f"http://127.0.0.1:{free_port()}")).cause == "refused"


@pytest.mark.parametrize("tls", ["good", "expired", "wrong-host"])
def test_certificates(tls):
    with FakeHomeAssistant(tls=tls) as ha:
        assert failure(config_for(ha)).cause == "tls_certificate"


def test_https_to_a_plain_port(ha):
    url = ha.url.replace("http", "https")
    assert failure(at(url)).cause == "tls_handshake"


def test_http_to_a_tls_port():
    with FakeHomeAssistant(tls="good") as ha:
        url = ha.url.replace("https", "http")
        assert failure(at(url)).cause == "https_required"


def test_hanging_up():
    with RawServer(lambda sock: sock.recv(10)) as server:
        assert failure(at(server.url)).cause == "connection_lost"


def test_a_url_that_cannot_work():
    with pytest.raises(ConfigError):
        probe(at("ha.local:8123"))


# --- in time, whatever happens


def in_time(config, timeout=1.0):
    started = time.monotonic()
    error = failure(config, timeout)
    assert time.monotonic() - started < timeout + 1.0
    return error.cause


def test_black_hole():
    with black_hole() as (host, port):
        assert in_time(at(f"http://{host}:{port}")) == "connect_timeout"


def test_hanging_dns(hanging_dns):  # noqa: F811
    assert in_time(at("http://slow.example")) == "dns"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("script", [mute, trickle])
def test_peers_that_never_finish(scheme, script):
    with RawServer(script) as server:
        url = server.url.replace("http", scheme)
        assert in_time(at(url)) in ("timeout", "tls_handshake")


def test_a_server_that_stalls_after_the_login(ha):
    ha.answer_delay = 5.0
    assert in_time(config_for(ha)) == "timeout"


def test_a_server_that_is_mute_on_websockets(ha):
    ha.silent = True
    assert in_time(config_for(ha)) == "timeout"
