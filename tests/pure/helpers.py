"""Shared by the tests of the client: peers that misbehave, sinks, bounded waits."""

import contextlib
import threading
import time

import raw_server
from ha_client.config_check import LinkConfig
from ha_client.connection import HaConnection
from ha_client.exceptions import HaError
from ha_client.session import LinkSession
from ha_client.transport import Canceller
from raw_server import RawServer, mute, trickle  # noqa: F401
from raw_server import answering as answer  # noqa: F401
from raw_server import http_answer as http  # noqa: F401

GENEROUS = 10.0  # seconds; only a hang fails it


def config_for(ha, **kwargs):
    return LinkConfig(ha.url, kwargs.pop("token", ha.token), **kwargs)


def eventually(condition, timeout=GENEROUS):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@contextlib.contextmanager
def black_hole():
    """(host, port) on loopback that never completes a TCP handshake."""
    with raw_server.black_hole() as port:
        yield "127.0.0.1", port


class Background:
    """Runs ``function`` in a thread; ``outcome()`` is what came of it."""

    def __init__(self, function, *args, **kwargs):
        self._outcome = []

        def run():
            try:
                self._outcome.append(function(*args, **kwargs))
            except BaseException as error:
                self._outcome.append(error)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def outcome(self, timeout=GENEROUS):
        self.thread.join(timeout)
        assert self._outcome, "still running"
        return self._outcome[0]


class Recorder:
    """A sink that writes down what it is told; the map it should lead to."""

    def __init__(self):
        self.calls = []
        self.config = {}
        self.registries = {}
        self.states = {}
        self.synced = 0
        self.alive = 0
        self.missed = []

    def on_config(self, config):
        self.calls.append("config")
        self.config = config

    def on_registry(self, kind, rows):
        self.calls.append(f"registry {kind}")
        self.registries[kind] = rows

    def on_states(self, changes):
        self.calls.append("snapshot" if changes.complete else "states")
        if changes.complete:
            self.states = {}
        for entity_id in changes.removed:
            self.states.pop(entity_id, None)
        self.states.update(changes.changed)

    def on_missed(self, since, until):
        self.missed.append((since, until))

    def on_synced(self):
        self.calls.append("synced")
        self.synced += 1

    def on_alive(self):
        self.alive += 1

    def state(self, entity_id):
        known = self.states.get(entity_id)
        return known and known.state


class RunningSession:
    """A session in a thread, as the addon runs it; ``end`` is its exception."""

    def __init__(self, config, sink=None, clock=time.monotonic):
        self.canceller = Canceller()
        self.connection = HaConnection(config, self.canceller)
        self.sink = sink or Recorder()
        self._clock = clock
        self.end = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.connection.open()
            self.connection.authenticate()
            session = LinkSession(self.connection, self.sink, clock=self._clock)
            session.run(self.canceller)
        except HaError as error:
            self.end = error
        finally:
            self.connection.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.canceller.cancel()
        self.thread.join(GENEROUS)
        assert not self.thread.is_alive()
        self.canceller.close()

    def wait_synced(self, times=1):
        eventually(lambda: self.sink.synced >= times or self.end)
        assert self.end is None, self.end

    def wait_end(self):
        self.thread.join(GENEROUS)
        assert self.end is not None, "still running"
        return self.end
