"""The client against a real Home Assistant (HA_BIN names its command)."""

import os
import shutil
import time

import pytest

from ha_client import state_feed
from ha_client.config_check import LinkConfig
from ha_client.connection import HaConnection
from ha_client.exceptions import (
    AuthenticationFailed,
    CommandError,
    CommandTimeout,
    ConnectionLost,
)
from ha_client.probe import probe
from ha_client.registries import REGISTRIES
from ha_client.rest import RestClient
from ha_client.service_call import call_service_once
from ha_client.transport import Canceller
from helpers import Recorder, RunningSession, eventually

pytestmark = pytest.mark.skipif(
    not shutil.which(os.environ.get("HA_BIN") or "hass"), reason="HA_BIN is not set"
)


@pytest.fixture(scope="module")
def hass(tmp_path_factory):
    from hass_server import HomeAssistantServer

    with HomeAssistantServer(tmp_path_factory.mktemp("hass")) as server:
        yield server


@pytest.fixture
def config(hass):
    return LinkConfig(hass.url, hass.token)


@pytest.fixture
def run(config):
    running = []

    def run(sink=None):
        session = RunningSession(config, sink)
        running.append(session)
        return session.__enter__()

    yield run
    for session in running:
        session.__exit__()


@pytest.fixture
def admin(config):
    """A connection for commands that change registries."""
    canceller = Canceller()
    connection = HaConnection(config, canceller)
    connection.open()
    connection.authenticate()
    yield lambda type, /, **payload: connection.call(type, 10.0, **payload)
    connection.close()
    canceller.close()


def truth(hass):
    """What REST says: an independent reading of all states."""
    return {
        state["entity_id"]: (state["state"], state["attributes"])
        for state in hass.api("GET", "/api/states")
    }


def followed(sink):
    return {e: (s.state, s.attributes) for e, s in list(sink.states.items())}


def test_probe(hass, config):
    result = probe(config)
    assert result.is_running
    assert result.location_name == "My Home"
    assert result.entity_count == len(truth(hass))


def test_a_wrong_token(hass):
    for attempt in (probe, lambda c: RestClient(c).get_config()):
        with pytest.raises(AuthenticationFailed) as caught:
            attempt(LinkConfig(hass.url, "wrong-token-0123456789"))
        assert caught.value.cause == "token_rejected"


def test_sync_is_the_truth(hass, run):
    session = run()
    session.wait_synced()
    assert set(session.sink.registries) == set(REGISTRIES)
    assert len(session.sink.registries["entity"]) > 50
    assert len(session.sink.registries["device"]) > 40
    assert len(session.sink.registries["area"]) == 3
    eventually(lambda: followed(session.sink) == truth(hass))


def test_following_is_the_truth(hass, run):
    session = run()
    session.wait_synced()
    for number in range(300):
        attributes = {f"k{number % 3}": number, "null": None if number % 2 else 1}
        hass.set_state(f"sensor.made_{number % 7}", str(number // 5), attributes)
    hass.call_service("light", "turn_on", entity_id="light.bed_light", brightness=77)
    hass.api("DELETE", "/api/states/sensor.made_3")
    hass.set_state("sensor.last", "reached")
    eventually(lambda: session.sink.state("sensor.last") == "reached")
    expected = truth(hass)
    assert "sensor.made_3" not in expected
    if probe(LinkConfig(hass.url, hass.token)).ha_version.startswith("2024.3"):
        # It leaves out of diffs an added attribute whose value is null.
        for _, attributes in [*expected.values(), *followed(session.sink).values()]:
            attributes.pop("null", None)
    assert followed(session.sink).keys() == expected.keys()
    for entity_id, (state, attributes) in followed(session.sink).items():
        assert state == expected[entity_id][0]
        wanted = expected[entity_id][1]
        assert {k: v for k, v in attributes.items() if k != "null"} == {
            k: v for k, v in wanted.items() if k != "null"
        }


def test_states_not_asked_for_come_with_the_next_picture(hass, run, monkeypatch):
    monkeypatch.setattr(state_feed, "PROBE_BEHIND_S", -1.0)
    monkeypatch.setattr(state_feed, "RELIEF_S", 0.3)
    monkeypatch.setattr(state_feed, "MANY_MESSAGES", 0)
    sink = Recorder()
    session = run(sink)
    session.wait_synced()
    hass.set_state("sensor.gone", "1")
    eventually(lambda: sink.state("sensor.gone") == "1")
    monkeypatch.setattr(state_feed, "LAG_LIMIT_S", -1.0)

    def is_late():
        # A state that comes together with the answer to a ping shows nothing.
        hass.set_state("sensor.skipped", f"before {time.monotonic()}")
        return sink.missed

    eventually(is_late)
    monkeypatch.setattr(state_feed, "LAG_LIMIT_S", 0.5)
    for number in range(20):
        hass.set_state("sensor.skipped", str(number))
    hass.api("DELETE", "/api/states/sensor.gone")
    hass.set_state("sensor.end", "reached")
    eventually(lambda: sink.state("sensor.end") == "reached")
    eventually(lambda: followed(sink) == truth(hass))
    assert "sensor.gone" not in sink.states
    assert all(since <= until for since, until in sink.missed)
    assert sink.synced == 1, "the link stays"


def test_times_are_home_assistants_own(hass, run):
    from datetime import datetime

    session = run()
    session.wait_synced()
    hass.set_state("sensor.timed", "1", {"a": 1})
    hass.set_state("sensor.timed", "1", {"a": 2})
    eventually(lambda: session.sink.state("sensor.timed"))
    eventually(lambda: session.sink.states["sensor.timed"].attributes == {"a": 2})
    state = hass.get_state("sensor.timed")
    ours = session.sink.states["sensor.timed"]
    for key, value in (
        ("last_changed", ours.last_changed),
        ("last_updated", ours.last_updated),
    ):
        assert value == pytest.approx(
            datetime.fromisoformat(state[key]).timestamp(), abs=2e-6
        )
    assert ours.last_updated > ours.last_changed


def test_registry_changes(run, admin):
    session = run()
    session.wait_synced()
    area = admin("config/area_registry/create", name="Attic")
    eventually(lambda: "Attic" in {a.name for a in session.sink.registries["area"]})
    admin("config/area_registry/delete", area_id=area["area_id"])
    eventually(lambda: "Attic" not in {a.name for a in session.sink.registries["area"]})


def test_a_rename_keeps_its_registry_id_and_comes_before_the_states(run, admin):
    session = run()
    session.wait_synced()
    sink = session.sink

    def registry_ids():
        return {row.entity_id: row.registry_id for row in sink.registries["entity"]}

    before = registry_ids()["light.kitchen_lights"]
    sink.calls.clear()
    admin(
        "config/entity_registry/update",
        entity_id="light.kitchen_lights",
        new_entity_id="light.renamed",
    )
    eventually(lambda: sink.state("light.renamed") and not held(sink))
    assert registry_ids()["light.renamed"] == before
    assert sink.calls[0] == "registry entity"
    assert "light.kitchen_lights" not in sink.states
    admin(
        "config/entity_registry/update",
        entity_id="light.renamed",
        new_entity_id="light.kitchen_lights",
    )
    eventually(lambda: sink.state("light.kitchen_lights"))


def held(sink):
    return "light.kitchen_lights" in sink.states


def test_services(hass, config):
    context = call_service_once(config, "light", "turn_on", {}, "light.bed_light")
    assert context
    changed = RestClient(config).call_service(
        "light", "turn_off", {"entity_id": "light.bed_light"}
    )
    assert "light.bed_light" in {state["entity_id"] for state in changed}
    assert hass.get_state("light.bed_light")["state"] == "off"


@pytest.mark.parametrize(
    ("domain", "service", "data", "entity_id", "code", "words"),
    [
        ("light", "nope", {}, "light.bed_light", "not_found", "light.nope"),
        (
            "light",
            "turn_on",
            {"brightness": "very"},
            "light.bed_light",
            "invalid_format",
            "brightness",
        ),
        (
            "alarm_control_panel",
            "alarm_disarm",
            {"code": "9999"},
            "alarm_control_panel.security",
            ("home_assistant_error", "service_validation_error"),
            "code",
        ),
        (
            "select",
            "select_option",
            {"option": "zzz"},
            "select.speed",
            "service_validation_error",
            "zzz",
        ),
    ],
)
def test_home_assistants_words(config, domain, service, data, entity_id, code, words):
    with pytest.raises(CommandError) as caught:
        call_service_once(config, domain, service, data, entity_id)
    assert caught.value.code in ([code] if isinstance(code, str) else code)
    assert words in caught.value.message
    with pytest.raises(CommandError):
        RestClient(config).call_service(
            domain, service, {**data, "entity_id": entity_id}
        )


def test_a_frozen_home_assistant(hass, config):
    hass.pause()
    try:
        with pytest.raises(CommandTimeout):
            RestClient(config).call_service("light", "toggle", {}, answer_timeout=0.5)
    finally:
        hass.resume()


def test_restart(hass, run):
    """The last test: the states made above vanish with it."""
    sink = Recorder()
    first = run(sink)
    first.wait_synced()
    hass.set_state("sensor.ghost", "1")
    eventually(lambda: sink.state("sensor.ghost"))
    hass.request_restart()
    assert isinstance(first.wait_end(), ConnectionLost)

    sink.calls.clear()
    deadline_session = None

    def synced_again():
        nonlocal deadline_session
        if deadline_session is None or deadline_session.end is not None:
            deadline_session = run(sink)
        return sink.synced == 2

    eventually(synced_again, timeout=60)
    assert sink.calls.count("snapshot") == 1
    assert "sensor.ghost" not in sink.states
    eventually(lambda: followed(sink) == truth(hass))


def test_a_revoked_token_is_a_lost_link_then_a_failed_login(hass, admin):
    token = admin("auth/long_lived_access_token", client_name="brief", lifespan=1)
    config = LinkConfig(hass.url, token)
    with RunningSession(config) as session:
        session.wait_synced()
        tokens = admin("auth/refresh_tokens")
        brief = next(t["id"] for t in tokens if t.get("client_name") == "brief")
        admin("auth/delete_refresh_token", refresh_token_id=brief)
        assert isinstance(session.wait_end(), ConnectionLost)
    with RunningSession(config) as session:
        assert isinstance(session.wait_end(), AuthenticationFailed)
