"""A TCP proxy that can stop forwarding without closing anything."""

import contextlib
import socket
import threading


class StoppingProxy:
    """Forwards 127.0.0.1:``port`` to another address, as long as it is told to.

    While it is stopped, connections stay open and new ones are accepted, but not a
    byte passes, in either direction: what a firewall that has lost its state, or a
    cable that was pulled behind it, leaves of a connection.

    :param target: a port of 127.0.0.1, or the path of a socket
    """

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._lock = threading.Lock()
        self._new = threading.Event()  # forwarding of new connections
        self._new.set()
        self._stopped = []  # events of the connections that were stopped
        self._socks = []
        self._closed = False

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self._closed = True
        self.resume()
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def stop(self):
        """Forward nothing more, whether of old or of new connections."""
        with self._lock:
            self._stopped.append(self._new)
            self._new.clear()

    def forward_new(self):
        """Forward connections made from now on; the others stay as they are."""
        with self._lock:
            self._new = threading.Event()
            self._new.set()

    def resume(self):
        """Forward everything again, and what was held back."""
        with self._lock:
            for event in [*self._stopped, self._new]:
                event.set()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                with self._lock:
                    flowing = self._new
                threading.Thread(
                    target=self._serve, args=[client, flowing], daemon=True
                ).start()

    def _serve(self, client, flowing):
        flowing.wait()
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._socks += [client, server]
        for pair in ((client, server), (server, client)):
            threading.Thread(
                target=self._pump, args=[*pair, flowing], daemon=True
            ).start()

    def _connect(self):
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target), 5)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        return server

    def _pump(self, source, sink, flowing):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                flowing.wait()
                sink.sendall(data)
        flowing.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
