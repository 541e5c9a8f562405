"""Peers that are no Home Assistant: one script for each connection."""

import contextlib
import socket
import threading
import time


class RawServer:
    """Accepts TCP connections on 127.0.0.1 and runs ``script(sock)`` for each."""

    def __init__(self, script, token="nobody-asks-for-it-0123456789"):
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._socks = []
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = token
        self.accepted = threading.Event()
        self.done = threading.Event()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self.done.set()
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
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


def trickle(sock):
    """An HTTP header that never ends, a byte at a time."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        sock.sendall(b"x")
        time.sleep(0.05)


def hang_up(sock):
    """Read the request and close."""
    sock.recv(65536)


def answering(data):
    """Answer each request with ``data`` and hang up."""

    def script(sock):
        sock.recv(65536)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        mute(sock)

    return script


def http_answer(status, body=b"", headers=""):
    """Answer each request with an HTTP response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return answering(head.encode() + body)


def unused_port():
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def black_hole():
    """A port that never completes a TCP handshake: the listener's queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]
