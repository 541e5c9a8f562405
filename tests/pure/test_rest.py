import contextlib
import json
import logging
import time

import pytest

from fake_ha import FakeHomeAssistant
from ha_client import rest as rest_module
from ha_client.config_check import LinkConfig
from ha_client.exceptions import (
    AuthenticationFailed,
    CannotConnect,
    CommandError,
    CommandTimeout,
    ConnectionLost,
    HaError,
    ProtocolError,
)
from ha_client.rest import RestClient
from helpers import GENEROUS, RawServer, answer, black_hole, config_for, http, mute
from test_transport import free_port


@pytest.fixture
def client(ha):
    client = RestClient(config_for(ha))
    yield client
    client.close()


def failure(function, *args, **kwargs):
    with pytest.raises(HaError) as caught:
        function(*args, **kwargs)
    return caught.value


def toggle(client, **kwargs):
    return client.call_service("light", "toggle", {"entity_id": "light.a"}, **kwargs)


def at(url, **kwargs):
    return RestClient(LinkConfig(url, "x" * 20, **kwargs))


# --- what works


def test_get_config(ha, client):
    assert client.get_config()["version"] == ha.version


def test_call_service(ha, client):
    ha.add_entity("light.a", "off")
    assert toggle(client) == []
    assert ha.states["light.a"]["s"] == "on"
    assert ha.service_calls[0]["data"] == {"entity_id": "light.a"}


def test_a_path_prefix():
    with FakeHomeAssistant(prefix="/ha") as ha:
        assert RestClient(config_for(ha)).get_config()


def test_connections_are_kept(client, ha):
    for _ in range(5):
        client.get_config()
    assert len(client._session.get_adapter(ha.url).poolmanager.pools) == 1


@pytest.mark.parametrize("verify", [True, False])
def test_tls(monkeypatch, verify):
    with FakeHomeAssistant(tls="good") as ha:
        if verify:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", ha.ca_file)
        client = RestClient(config_for(ha, verify_ssl=verify))
        # urllib3 warns about an unverified connection, once per process.
        with contextlib.nullcontext() if verify else pytest.warns():
            assert client.get_config()


def test_only_home_assistant_answers_without_a_token(ha):
    for ha.missing in ("/onboarding", "/providers", ()):
        assert RestClient(config_for(ha)).is_home_assistant()
    ha.missing = None
    assert RestClient(config_for(ha)).is_home_assistant()
    assert ha.auth_attempts == 0
    with RawServer(http(200, b"[1]")) as server:
        assert not at(server.url).is_home_assistant()
    assert not at(f"http://127.0.0.1:{free_port()}").is_home_assistant()


def test_proxies_and_netrc_are_ignored(ha, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert RestClient(config_for(ha)).get_config()


# --- what Home Assistant refuses


def test_a_wrong_token(ha):
    error = failure(RestClient(config_for(ha, token="wrong-token")).get_config)
    assert isinstance(error, AuthenticationFailed)
    assert error.cause == "token_rejected"


def test_a_proxy_with_a_login_of_its_own():
    with RawServer(http(401, b"", "WWW-Authenticate: Basic\r\n")) as server:
        assert failure(at(server.url).get_config).cause == "proxy_login"


def test_a_ban(ha, client):
    ha.banned = True
    error = failure(client.get_config)
    assert isinstance(error, AuthenticationFailed)
    assert error.cause == "banned"


@pytest.mark.parametrize("code", ["not_found", "home_assistant_error"])
def test_a_failed_service_is_a_command_error(ha, client, code):
    ha.service_errors[("light", "toggle")] = (code, "no such thing")
    assert isinstance(failure(toggle, client), CommandError)


def test_home_assistants_message_is_kept_when_there_is_one():
    body = json.dumps({"message": "Value 17 is out of range"}).encode()
    with RawServer(http(400, body)) as server:
        assert failure(toggle, at(server.url)).message == "Value 17 is out of range"


@pytest.mark.parametrize("name", ["../x", "turn on", "", "a/b", "ä", "a?b"])
def test_service_names_cannot_change_the_path(ha, client, name):
    assert isinstance(failure(client.call_service, "light", name, {}), CommandError)
    assert isinstance(failure(client.call_service, name, "toggle", {}), CommandError)
    assert ha.requests == []


def test_data_that_is_no_json(client):
    error = failure(client.call_service, "light", "turn_on", {"x": float("nan")})
    assert isinstance(error, CommandError)


def test_a_service_that_takes_long(ha, client):
    ha.service_delay = 2.0
    error = failure(toggle, client, answer_timeout=0.2)
    assert isinstance(error, CommandTimeout)


# --- what is in the way


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (302, "redirect"),
        (200, "not_home_assistant"),
        (404, "not_home_assistant"),
        (400, "proxy_untrusted"),
        (502, "server_error"),
        (503, "server_error"),
    ],
)
def test_other_answers(status, cause):
    with RawServer(http(status, b"<html>", "Location: http://b/\r\n")) as server:
        error = failure(at(server.url).get_config)
    assert (error.cause, error.params["status"]) == (cause, status)


def test_redirects_are_not_followed(ha, client):
    with FakeHomeAssistant() as other:
        ha.redirect_to = f"{other.url}/api/config"
        error = failure(client.get_config)
        assert error.cause == "redirect"
        assert error.params["location"] == f"{other.url}/api/config"
        assert other.requests == []


def test_network_faults():
    assert failure(at("http://no-such-host.invalid").get_config).cause == "dns"
    assert failure(at(f"http://127.0.0.1:{free_port()}").get_config).cause == "refused"
    with black_hole() as (host, port):
        error = failure(at(f"http://{host}:{port}").get_config, 0.2)
        assert error.cause == "connect_timeout"


@pytest.mark.parametrize(
    ("kind", "detail"),
    [("good", "self"), ("expired", "expired"), ("wrong-host", "")],
)
def test_certificates(monkeypatch, kind, detail):
    with FakeHomeAssistant(tls=kind) as ha:
        if kind != "good":
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", ha.ca_file)
        error = failure(RestClient(config_for(ha)).get_config)
    assert error.cause == "tls_certificate"
    assert detail in error.params["detail"]


def test_certifi_is_not_trusted_behind_our_back(monkeypatch, tmp_path):
    """requests must not add its own list to the bundle an administrator names."""
    with FakeHomeAssistant(tls="good") as other, FakeHomeAssistant(tls="good") as ha:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", ha.ca_file)
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", other.ca_file)
        assert failure(RestClient(config_for(other)).get_config).cause == (
            "tls_certificate"
        )
        assert RestClient(config_for(ha)).get_config()


def test_plain_http_on_a_tls_url(ha):
    url = ha.url.replace("http", "https")
    assert failure(at(url).get_config).cause == "tls_handshake"


def test_a_missing_ca_bundle(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    assert failure(at, "https://127.0.0.1:1").cause == "tls_handshake"


@pytest.mark.parametrize(
    ("script", "kind", "cause"),
    [
        (answer(b"SSH-2.0-OpenSSH_9.2\r\n"), ProtocolError, "protocol"),
        (answer(b"\x00\xff\xfe"), ProtocolError, "protocol"),
        (answer(b"\x15\x03\x01\x00\x02\x02\x46"), CannotConnect, "https_required"),
        (lambda sock: sock.recv(10), ConnectionLost, "connection_lost"),
        (answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), HaError, None),
        (
            answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz"),
            HaError,
            "",
        ),
    ],
)
def test_garbage(script, kind, cause):
    with RawServer(script) as server:
        error = failure(at(server.url).get_config)
    assert isinstance(error, kind)
    assert not cause or error.cause == cause


def test_silence():
    with RawServer(mute) as server:
        assert isinstance(failure(at(server.url).get_config, 0.2), CommandTimeout)


def test_an_answer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(rest_module, "REST_LIMIT_BYTES", 200_000)

    def endless(sock):
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sock.sendall(b"x" * 10_000)

    with RawServer(endless) as server:
        assert isinstance(failure(at(server.url).get_config), ProtocolError)


def test_a_trickling_body_has_a_deadline():
    def script(sock):
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"1\r\nx\r\n")
            time.sleep(0.02)

    with RawServer(script) as server:
        started = time.monotonic()
        assert isinstance(failure(at(server.url).get_config, 0.3), CommandTimeout)
        assert time.monotonic() - started < GENEROUS


def test_no_token_in_errors_and_logs(ha, caplog):
    token = "Secret-Token-0123456789"
    with caplog.at_level(logging.DEBUG):
        errors = [
            failure(RestClient(config_for(ha, token=token)).get_config),
            failure(RestClient(LinkConfig("http://x.invalid", token)).get_config),
        ]
    shown = caplog.text + "".join(f"{e!r} {e} {e.params}" for e in errors)
    assert "Secret" not in shown
