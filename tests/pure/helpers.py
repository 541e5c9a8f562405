"""Shared by the tests of the client: peers that misbehave, sinks, bounded waits."""

import contextlib
import socket
import threading
import time

from fake_ha import TOKEN
from ha_client.config_check import LinkConfig
from ha_client.connection import HaConnection
from ha_client.exceptions import HaError
from ha_client.session import LinkSession
from ha_client.transport import Canceller

GENEROUS = 10.0  # seconds; only a hang fails it


def config_for(ha, **kwargs):
    return LinkConfig(ha.url, kwargs.pop("token", ha.token), **kwargs)


def eventually(condition, timeout=GENEROUS):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class RawServer:
    """Accepts TCP connections on 127.0.0.1 and runs ``script(sock)`` for each."""

    def __init__(self, script, token=TOKEN):
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = token
        self.accepted = threading.Event()
        self.done = threading.Event()
        self._socks = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self.done.set()
        self._listener.close()
        for sock in self._socks:
            sock.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._socks.append(sock)
                self.accepted.set()
                threading.Thread(target=self._serve, args=[sock], daemon=True).start()

    def _serve(self, sock):
        with contextlib.suppress(OSError), sock:
            self._script(sock)


def mute(sock):
    """Read, never answer."""
    while sock.recv(65536):
        pass


def answer(data):
    """Answer each request with ``data`` and hang up."""

    def script(sock):
        sock.recv(65536)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        mute(sock)

    return script


def http(status, body=b"", headers=""):
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return answer(head.encode() + body)


def trickle(sock):
    """An HTTP header that never ends, a byte at a time."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        sock.sendall(b"x")
        time.sleep(0.05)


@contextlib.contextmanager
def black_hole():
    """(host, port) on loopback that never completes a TCP handshake: the queue of
    a listener that does not accept is full, so Linux drops further SYNs."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()


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
