"""A session against the fake: order, starting, following, renames, liveness."""

import gc
import time

import pytest

import fake_ha
from fake_ha import text_frame
from ha_client import commands, state_feed, timing
from ha_client import session as session_module
from ha_client.exceptions import Cancelled, ConnectionLost, ProtocolError
from ha_client.model import EntityState, RegistryEntity
from ha_client.registries import ENTRIES_COMMAND, REGISTRIES
from ha_client.registry_feed import MAX_ENTRIES
from helpers import GENEROUS, Recorder, RunningSession, config_for, eventually

LISTS = [f"registry {kind}" for kind in REGISTRIES]


@pytest.fixture
def home(ha):
    ha.update_registry("floor", {"floor_id": "ground", "name": "Ground", "level": 0})
    ha.update_registry("label", {"label_id": "cold", "name": "Cold"})
    ha.update_registry("area", {"area_id": "kitchen", "name": "Kitchen"})
    ha.update_registry("device", {"id": "d1", "name": "Lamp", "area_id": "kitchen"})
    ha.add_entity("light.lamp", "off", {"x": 1}, registry_id="r1", device_id="d1")
    ha.add_entity("sensor.lone", "20")
    return ha


@pytest.fixture
def run(home):
    running = []

    def run(**kwargs):
        session = RunningSession(config_for(home), **kwargs)
        running.append(session)
        return session.__enter__()

    yield run
    for session in running:
        session.__exit__()


def states_of(sink):
    return {entity_id: state.state for entity_id, state in sink.states.items()}


def lists_sent(ha, kind="entity"):
    return ha.commands[f"config/{kind}_registry/list"]


# --- the first sync


def test_order_of_the_first_sync(home, run):
    session = run()
    session.wait_synced()
    assert session.sink.calls == ["config", *LISTS, "snapshot", "synced"]
    assert session.sink.config["location_name"] == "Fake Home"
    assert states_of(session.sink) == {"light.lamp": "off", "sensor.lone": "20"}
    assert [row.area_id for row in session.sink.registries["device"]] == ["kitchen"]
    assert [row.registry_id for row in session.sink.registries["entity"]] == ["r1"]
    assert session.sink.alive > 0


def test_an_empty_home_assistant(run, home):
    home.states.clear()
    for registry in home.registries.values():
        registry.clear()
    session = run()
    session.wait_synced()
    assert session.sink.states == {}
    assert set(session.sink.registries) == set(REGISTRIES)


def test_changes_are_followed(home, run):
    session = run()
    session.wait_synced()
    home.set_state("light.lamp", "on", {"x": 2})
    home.add_entity("switch.new", "off")
    home.remove_entity("sensor.lone")
    expected = {"light.lamp": "on", "switch.new": "off"}
    eventually(lambda: states_of(session.sink) == expected)
    assert session.sink.states["light.lamp"].attributes == {"x": 2}


def test_many_changes_lead_to_the_true_states(home, run):
    session = run()
    session.wait_synced()
    for number in range(2000):
        home.set_state(f"sensor.s{number % 50}", str(number))
    eventually(lambda: session.sink.state("sensor.s49") == "1999")
    expected = {entity_id: state["s"] for entity_id, state in home.states.items()}
    assert states_of(session.sink) == expected


# --- Home Assistant starts


def test_while_it_starts_nothing_is_complete(home, run):
    home.state = "NOT_RUNNING"
    session = run()
    sink = session.sink
    eventually(lambda: sink.state("light.lamp") == "off")
    home.set_state("light.lamp", "on")
    home.remove_entity("sensor.lone")
    eventually(lambda: sink.state("light.lamp") == "on")
    assert sink.config["state"] == "NOT_RUNNING"
    assert sink.calls[: len(LISTS) + 1] == ["config", *LISTS]
    assert not {"snapshot", "synced"} & set(sink.calls)
    assert "sensor.lone" in sink.states  # may come back: not gone before it runs

    sink.calls.clear()
    home.update_registry("area", {"area_id": "attic", "name": "Attic"})
    home.add_entity("switch.late", "off")
    home.set_running()
    session.wait_synced()
    after = [call for call in sink.calls if call != "states"]
    assert after[after.index("config") :] == ["config", *LISTS, "snapshot", "synced"]
    assert states_of(sink) == {"light.lamp": "on", "switch.late": "off"}
    assert {row.area_id for row in sink.registries["area"]} == {"kitchen", "attic"}


def test_running_is_noticed_without_an_event(home, run, monkeypatch):
    monkeypatch.setattr(session_module, "CONFIG_POLL_INTERVAL", 0.1)
    home.state = "STARTING"
    session = run()
    eventually(lambda: "config" in session.sink.calls)
    home.state = "RUNNING"
    session.wait_synced()


def test_recovery_mode_is_not_running(home, run):
    home.recovery_mode = True
    session = run()
    eventually(lambda: session.sink.state("light.lamp"))
    time.sleep(0.2)
    assert not {"snapshot", "synced"} & set(session.sink.calls)


def test_while_it_stops_nothing_is_removed(home, run):
    session = run()
    session.wait_synced()
    home.set_running("STOPPING")
    eventually(lambda: session.sink.config["state"] == "STOPPING")
    home.remove_entity("sensor.lone")
    home.set_state("light.lamp", "on")
    eventually(lambda: session.sink.state("light.lamp") == "on")
    assert "sensor.lone" in session.sink.states
    home.set_running("RUNNING")
    session.wait_synced(times=2)
    assert "sensor.lone" not in session.sink.states


def test_a_change_of_the_configuration_is_told_without_another_sync(home, run):
    session = run()
    session.wait_synced()
    home.location_name = "Elsewhere"
    home.set_running()
    eventually(lambda: session.sink.config["location_name"] == "Elsewhere")
    assert session.sink.synced == 1


# --- registries


def test_a_registry_is_fetched_again_when_it_changes(home, run):
    session = run()
    session.wait_synced()
    session.sink.calls.clear()
    home.update_registry("area", {"area_id": "kitchen", "name": "Cuisine"})
    eventually(lambda: session.sink.registries["area"][0].name == "Cuisine")
    assert session.sink.calls == ["registry area"]


def test_a_burst_of_changes_is_fetched_once_in_order(home, run):
    session = run()
    session.wait_synced()
    before = lists_sent(home)
    session.sink.calls.clear()
    for number in range(20):
        row = {"id": f"n{number}", "entity_id": f"light.n{number}"}
        home.update_registry("entity", row)
    home.update_registry("area", {"area_id": "attic", "name": "Attic"})
    eventually(lambda: len(session.sink.registries["entity"]) == 21)
    assert session.sink.calls == ["registry area", "registry entity"]
    assert lists_sent(home) == before, "single entries, not the whole list"
    assert home.commands[ENTRIES_COMMAND] == 1


def test_many_changes_at_once_are_fetched_as_the_list(home, run):
    session = run()
    session.wait_synced()
    before = lists_sent(home)
    for number in range(MAX_ENTRIES + 1):
        row = {"id": f"n{number}", "entity_id": f"light.n{number}"}
        home.update_registry("entity", row)
    eventually(lambda: len(session.sink.registries["entity"]) == MAX_ENTRIES + 2)
    assert lists_sent(home) > before


def test_a_server_without_single_entries_sends_the_list(home, run):
    home.refused_commands[ENTRIES_COMMAND] = "unknown_command"
    session = run()
    session.wait_synced()
    home.update_registry("entity", {"id": "r1", "entity_id": "light.lamp", "name": "L"})
    eventually(lambda: session.sink.registries["entity"][0].name == "L")


def test_single_entries_come_change_and_go(home, run):
    session = run()
    session.wait_synced()
    before = lists_sent(home)

    def names():
        return {row.entity_id: row.name for row in session.sink.registries["entity"]}

    home.update_registry("entity", {"id": "n", "entity_id": "light.n", "name": "N"})
    eventually(lambda: names() == {"light.lamp": None, "light.n": "N"})
    home.update_registry("entity", {"id": "n", "entity_id": "light.n", "name": "M"})
    eventually(lambda: names() == {"light.lamp": None, "light.n": "M"})
    home.remove_from_registry("entity", "n")
    eventually(lambda: names() == {"light.lamp": None})
    assert lists_sent(home) == before


def test_endless_changes_are_fetched_meanwhile(home, run, monkeypatch):
    monkeypatch.setattr(timing, "REGISTRY_DEBOUNCE", 0.2)
    monkeypatch.setattr(timing, "REGISTRY_DEBOUNCE_MAX", 0.3)
    session = run()
    session.wait_synced()
    before = lists_sent(home, "label")
    deadline = time.monotonic() + GENEROUS
    while lists_sent(home, "label") == before:
        assert time.monotonic() < deadline
        home.update_registry("label", {"label_id": "cold", "name": "Cold"})
        time.sleep(0.02)


def test_a_removed_row_is_gone(home, run):
    session = run()
    session.wait_synced()
    home.remove_from_registry("label", "cold")
    eventually(lambda: session.sink.registries["label"] == [])


@pytest.mark.parametrize("version", ["2024.3.3", "2025.4.4"])
def test_a_rename_is_known_before_its_states(home, run, version):
    home.version = version
    session = run()
    session.wait_synced()
    session.sink.calls.clear()
    home.rename_entity("light.lamp", "light.desk")
    home.set_state("light.desk", "on")
    eventually(lambda: session.sink.state("light.desk") == "on")
    assert session.sink.calls[0] == "registry entity"
    assert [row.entity_id for row in session.sink.registries["entity"]] == [
        "light.desk"
    ]
    assert set(session.sink.states) == {"light.desk", "sensor.lone"}


def test_a_deleted_entity_leaves_the_registry_first(home, run):
    session = run()
    session.wait_synced()
    session.sink.calls.clear()
    home.remove_entity("light.lamp")
    eventually(lambda: "light.lamp" not in session.sink.states)
    assert session.sink.calls == ["registry entity", "states"]


def test_several_renames_at_once(home, run):
    for number in range(30):
        home.add_entity(f"light.old{number}", "off", registry_id=f"x{number}")
    session = run()
    session.wait_synced()
    for number in range(30):
        home.rename_entity(f"light.old{number}", f"light.new{number}")
    home.set_state("light.new29", "on")
    eventually(lambda: session.sink.state("light.new29") == "on")
    expected = {entity_id: state["s"] for entity_id, state in home.states.items()}
    assert states_of(session.sink) == expected


def test_old_versions_without_floors_and_labels(home, run):
    for kind in ("floor", "label"):
        home.refused_commands[f"config/{kind}_registry/list"] = "unknown_command"
    session = run()
    session.wait_synced()
    assert session.sink.registries["floor"] == []
    assert session.sink.registries["label"] == []


def test_a_token_that_may_not_subscribe_to_everything(home, run, caplog, monkeypatch):
    monkeypatch.setattr(session_module, "REGISTRY_POLL_INTERVAL", 0.3)
    for kind in ("floor", "label"):
        home.refused_commands[f"{kind}_registry_updated"] = "unauthorized"
    home.refused_commands["core_config_updated"] = "unauthorized"
    with caplog.at_level("INFO"):
        session = run()
        session.wait_synced()
        home.update_registry("label", {"label_id": "hot", "name": "Hot"})
        eventually(lambda: len(session.sink.registries["label"]) == 2)
    assert caplog.text.count("not told about") == 1


@pytest.mark.parametrize(
    "command",
    ["get_config", "subscribe_entities", "config/entity_registry/list"],
)
def test_a_refused_essential_command_ends_the_session(home, run, command):
    home.refused_commands[command] = "unauthorized"
    end = run().wait_end()
    assert isinstance(end, ProtocolError)
    assert "unauthorized" in str(end)


def test_a_registry_that_makes_no_sense_is_not_taken_for_empty(home, run):
    home.registries["entity"] = {"r1": {"identifier": "r1", "entity": "light.lamp"}}
    end = run().wait_end()
    assert isinstance(end, ProtocolError)


def test_a_session_without_coalescing(home, run):
    home.refused_commands["supported_features"] = "unknown_command"
    run().wait_synced()


# --- more states than can be received


class SlowRecorder(Recorder):
    """Takes longer for a change than the next one takes to come."""

    delay = 0.0

    def on_states(self, changes):
        super().on_states(changes)
        time.sleep(self.delay)


def flood(home, run, delay):
    sink = SlowRecorder()
    session = run(sink=sink)
    session.wait_synced()
    sink.delay = delay
    for number in range(40):  # frames
        home.set_states([("sensor.lone", f"{number}.{n}") for n in range(50)])
    home.set_states([(f"sensor.n{n}", "1") for n in range(50)])
    eventually(lambda: sink.state("sensor.n49") == "1", 30)
    home.set_state("light.lamp", "on")
    eventually(lambda: sink.state("light.lamp") == "on", 30)
    expected = {entity_id: state["s"] for entity_id, state in home.states.items()}
    assert states_of(sink) == expected
    return sink


def test_who_cannot_take_more_asks_for_less(home, run, monkeypatch):
    monkeypatch.setattr(state_feed, "RELIEF_S", 0.2)
    monkeypatch.setattr(state_feed, "MANY_MESSAGES", 200)
    sink = flood(home, run, delay=0.001)
    unsubscribed = home.commands["unsubscribe_events"]
    assert unsubscribed >= 1
    assert home.commands["subscribe_entities"] == unsubscribed + 1
    assert len(sink.missed) == unsubscribed
    assert all(0 < since <= until for since, until in sink.missed)
    assert sink.calls.count("states") < 2000, "nothing was spared"
    assert sink.synced == home.total_connections == 1, "the link stays"


def test_who_is_late_for_a_moment_takes_everything(home, run, monkeypatch):
    monkeypatch.setattr(state_feed, "LAG_LIMIT_S", GENEROUS)
    sink = flood(home, run, delay=0.0005)
    assert home.commands["ping"] >= 1, "not late at all"
    assert home.commands["subscribe_entities"] == 1
    assert sink.calls.count("states") >= 2000
    assert sink.missed == []


def test_a_session_that_ends_leaves_nothing_behind(home, run):
    """No home's states wait for Python's next full collection."""

    def count():
        kinds = (EntityState, RegistryEntity)
        return sum(type(thing) in kinds for thing in gc.get_objects())

    for number in range(500):
        row = {"id": f"n{number}", "entity_id": f"light.n{number}"}
        home.update_registry("entity", row)
        home.add_entity(f"light.n{number}", "off")
    gc.collect()
    gc.disable()
    try:
        before = count()
        session = run()
        session.wait_synced()
        assert count() > before + 500
        home.drop_connections()
        session.wait_end()
        session.sink.states.clear()
        session.sink.registries.clear()
        assert count() <= before
    finally:
        gc.enable()


# --- liveness


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(timing, "IDLE_BEFORE_PING", 0.1)
    monkeypatch.setattr(timing, "PONG_TIMEOUT", 0.5)


def test_a_quiet_peer_is_pinged_and_stays_connected(home, run, hasty):
    session = run()
    session.wait_synced()
    alive = session.sink.alive
    eventually(lambda: home.commands["ping"] >= 5)
    eventually(lambda: session.sink.alive >= alive + 4)
    assert session.end is None


def test_a_silent_peer_is_given_up(home, run, hasty):
    session = run()
    session.wait_synced()
    home.silent = True
    end = session.wait_end()
    assert isinstance(end, ConnectionLost)
    assert end.cause == "no_answer"


def test_a_peer_that_stalls_in_a_frame_is_given_up(home, run, hasty):
    session = run()
    session.wait_synced()
    home.silent = True
    home.send_bytes(text_frame(b"x" * 10_000)[:5_000])
    assert session.wait_end().cause == "no_answer"


def test_a_peer_that_trickles_is_given_up(home, run, hasty):
    session = run()
    session.wait_synced()
    home.silent = True
    home.send_bytes(text_frame(b"x" * 1_000_000)[:20])
    deadline = time.monotonic() + GENEROUS
    while session.end is None and time.monotonic() < deadline:
        home.send_bytes(b"x")
        time.sleep(0.02)
    assert session.wait_end().cause == "no_answer"


def test_a_large_frame_over_a_slow_line_is_waited_for(home, run, hasty):
    session = run()
    session.wait_synced()
    home.silent = True
    frame = text_frame(b'{"text": "' + b"x" * 400_000 + b'"}')
    alive = session.sink.alive
    for begin in range(0, len(frame), 20_000):
        home.send_bytes(frame[begin : begin + 20_000])
        time.sleep(0.06)
    assert session.sink.alive > alive
    home.silent = False
    eventually(lambda: home.commands["ping"] > 3 or session.end)
    assert session.end is None


def test_answers_may_queue_behind_a_large_frame(home, run, hasty, monkeypatch):
    monkeypatch.setattr(commands, "COMMAND_TIMEOUT", 0.4)
    session = run()
    session.wait_synced()
    asked = home.commands["get_config"]
    home.answer_delay = 60.0
    home.set_running()  # the session asks for the configuration, in vain
    eventually(lambda: home.commands["get_config"] > asked)
    home.silent = True
    frame = text_frame(b'{"text": "' + b"x" * 400_000 + b'"}')
    for begin in range(0, len(frame), 20_000):
        assert session.end is None
        home.send_bytes(frame[begin : begin + 20_000])
        time.sleep(0.06)
    assert session.wait_end().cause == "no_answer"


def test_a_snapshot_that_never_comes_ends_the_session(home, run, monkeypatch, hasty):
    monkeypatch.setattr(commands, "COMMAND_TIMEOUT", 0.3)

    async def forget(link, message_id, command):
        link._result(message_id)

    monkeypatch.setattr(fake_ha._Link, "_on_subscribe_entities", forget)
    end = run().wait_end()
    assert end.cause == "no_answer"
    assert "subscribe_entities" in end.params["detail"]


# --- the end


def test_cancelled(home, run):
    session = run()
    session.wait_synced()
    started = time.monotonic()
    session.canceller.cancel()
    assert isinstance(session.wait_end(), Cancelled)
    assert time.monotonic() - started < 1.0
    eventually(lambda: home.close_codes == [1000])


def test_closed_with_code_1000_is_a_lost_connection(home, run):
    session = run()
    session.wait_synced()
    home.close_connections(1000)
    end = session.wait_end()
    assert isinstance(end, ConnectionLost)
    assert end.params["code"] == 1000


def test_dropped(home, run):
    session = run()
    session.wait_synced()
    home.drop_connections()
    assert isinstance(session.wait_end(), ConnectionLost)


def test_out_of_step(home, run):
    session = run()
    session.wait_synced()
    home._call(home._send_entity_event, {"c": {"light.ghost": {"+": {"s": "on"}}}})
    assert isinstance(session.wait_end(), ProtocolError)


def test_garbage(home, run):
    session = run()
    session.wait_synced()
    home.send_text("]")
    assert isinstance(session.wait_end(), ProtocolError)


def test_messages_for_nobody_are_ignored(home, run):
    session = run()
    session.wait_synced()
    home.send_text('{"id": 99, "type": "result", "success": true}')
    home.send_text('{"id": 99, "type": "event", "event": {}}')
    home.send_text('{"type": "news from the future"}')
    home.send_text('{"id": [1], "type": ["result"]}')
    home.send_text('{"id": {}, "type": "result"}')
    home.set_state("light.lamp", "on")
    eventually(lambda: session.sink.state("light.lamp") == "on")


def test_a_sink_that_fails_ends_the_session_with_its_error(home):
    class Broken(Recorder):
        def on_synced(self):
            raise RuntimeError("no room")

    session = RunningSession(config_for(home), sink=Broken())
    session.connection.open()
    session.connection.authenticate()
    with pytest.raises(RuntimeError, match="no room"):
        session_module.LinkSession(session.connection, session.sink).run(
            session.canceller
        )
    session.connection.close()


def test_reconnecting_leaves_no_ghosts(home, run):
    sink = Recorder()
    first = run(sink=sink)
    first.wait_synced()
    home.stop()
    first.wait_end()
    home.remove_entity("sensor.lone")
    home.add_entity("switch.new", "on")
    home.start()
    run(sink=sink).wait_synced(times=2)
    assert states_of(sink) == {"light.lamp": "off", "switch.new": "on"}
