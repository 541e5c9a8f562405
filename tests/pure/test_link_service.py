"""A link's thread from start to end: which states it goes through, and why."""

import threading

import pytest

from ha_client.backoff import Backoff
from helpers import GENEROUS, eventually
from raw_server import RawServer, mute, unused_port
from supervision import load

service_module = load("hass_websocket_service")
LinkBuffer = service_module.LinkBuffer


class Told(LinkBuffer):
    """Writes down what the link reports."""

    def __init__(self):
        super().__init__()
        self.reports, self.events = [], []

    def report(self, state, cause=None, params=None, retry_at=None):
        self.reports.append((state, cause))
        super().report(state, cause, params, retry_at)

    def event(self, kind, cause=None, params=None):
        self.events.append((kind, cause))
        super().event(kind, cause, params)

    def on_synced(self):
        self.reports.append(("connected", None))
        super().on_synced()


UP = [("connecting", None), ("syncing", None), ("connected", None)]


@pytest.fixture
def start(monkeypatch):
    """Start a link that does not pause for long; ended with the test."""
    monkeypatch.setattr(service_module, "Backoff", lambda: Backoff(base=0.1, cap=0.2))
    started = []

    def start(url, token="a-token-0123456789", told=None, **options):
        told = told or Told()
        config = service_module.LinkConfig(url, token)
        link = service_module.HassWebSocketService(
            "db", 1, "Home", config, told, **options
        )
        link.start()
        started.append(link)
        return link, told

    yield start
    for link in started:
        link.force_stop()
        link.join(GENEROUS)
        assert not link.is_alive()


def end(link):
    link.request_stop()
    link.join(GENEROUS)
    assert not link.is_alive()
    assert link.outcome == service_module.STOPPED


def test_up_and_properly_down(ha, start):
    link, told = start(ha.url, ha.token)
    eventually(lambda: told.reports == UP)
    assert link.is_synced
    end(link)
    eventually(lambda: ha.close_codes == [1000])
    assert told.events == [("start", None), ("connect", None)]


def test_a_lost_connection_comes_back_and_is_told_once(ha, start):
    link, told = start(ha.url, ha.token)
    eventually(lambda: told.reports == UP)
    ha.drop_connections()
    # The outage goes on until it is over: no "connecting" for each attempt.
    eventually(lambda: told.reports[3:] == [("waiting", "connection_lost"), *UP[1:]])
    assert told.events.count(("disconnect", "connection_lost")) == 1
    assert ha.most_connections == 1
    end(link)


def test_an_outage_of_many_attempts_is_one_event(ha, start):
    port = ha.port
    ha.stop()
    link, told = start(f"http://127.0.0.1:{port}", ha.token)
    eventually(lambda: told.reports.count(("waiting", "refused")) == 2)
    ha.start()
    eventually(lambda: told.reports[-1] == ("connected", None))
    assert told.events.count(("disconnect", "refused")) == 1
    assert told.reports.count(("connecting", None)) == 1
    end(link)


def test_an_outage_lasts_until_the_link_is_complete(ha, start, caplog):
    """A Home Assistant that starts lets us in, and fails before all is delivered."""
    caplog.set_level("INFO")
    link, told = start(ha.url, ha.token)
    eventually(lambda: told.reports == UP)
    ha.refused_commands["get_config"] = "unknown_command"
    ha.drop_connections()
    eventually(lambda: ha.total_connections >= 4)
    assert told.events[2:] == [("disconnect", "connection_lost")]
    ha.refused_commands.clear()
    eventually(lambda: told.reports[-1] == ("connected", None))
    eventually(lambda: told.events[3:] == [("connect", None)])
    logged = [r for r in caplog.records if r.name == service_module.__name__]
    assert [r.levelname for r in logged] == ["INFO", "WARNING", "INFO"]
    assert "failed attempts" in logged[-1].getMessage()
    end(link)


def test_a_refused_token_ends_it_for_good(ha, start):
    link, told = start(ha.url, "wrong-token-0123456789")
    link.join(GENEROUS)
    assert link.outcome == service_module.AUTH_FAILED
    assert told.reports[-1] == ("auth_failed", "token_rejected")
    assert ha.auth_attempts == 1


class Poisoned(Told):
    def on_states(self, changes):
        raise ZeroDivisionError("a bug, made for the test")


def test_a_bug_ends_it_and_says_so(ha, start, caplog):
    link, told = start(ha.url, ha.token, Poisoned())
    link.join(GENEROUS)
    assert link.outcome == service_module.CRASHED
    assert told.reports[-1] == ("waiting", "crashed")
    assert told.events[-1] == ("disconnect", "crashed")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert not link.is_synced
    eventually(lambda: not ha.connections)


def test_the_same_bug_again_is_shown_but_not_told_again(ha, start, caplog):
    link, told = start(ha.url, ha.token, Poisoned(), known_error="OSError()")
    link.join(GENEROUS)
    assert not link.is_repeating
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    again, told = start(ha.url, ha.token, Poisoned(), known_error=link.error)
    again.join(GENEROUS)
    assert again.is_repeating
    assert told.reports[-1] == ("waiting", "crashed")
    assert ("disconnect", "crashed") not in told.events
    assert len(caplog.records) == 1


def test_it_ends_at_once_while_it_waits_for_the_next_attempt(start):
    link, told = start(f"http://127.0.0.1:{unused_port()}")
    eventually(lambda: ("waiting", "refused") in told.reports)
    end(link)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_it_ends_at_once_in_the_middle_of_a_handshake(start, scheme):
    with RawServer(mute) as peer:
        link, told = start(peer.url.replace("http", scheme))
        assert peer.accepted.wait(GENEROUS)
        end(link)
    assert told.reports == [("connecting", None)]


def test_its_thread_is_not_a_daemon_and_carries_database_and_instance(start):
    link, _told = start(f"http://127.0.0.1:{unused_port()}")
    assert not link.daemon
    assert link.name == "HomeAssistantWebSocket-db-Instance-1"
    assert link in threading.enumerate()
