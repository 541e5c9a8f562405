"""Opening a TCP or TLS connection that can be given up at any moment.

Every step has one overall deadline and ends within about 0.1 s of
:meth:`Canceller.cancel`, also against a black hole or a mute peer.
"""

import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from . import causes
from .const import ADDRESS_STAGGER
from .exceptions import Cancelled, CannotConnect, readable
from .network_errors import os_error, tls_error

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
# poll() where there is one: select() fails on descriptors above 1023, and Odoo
# processes have many.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Canceller:
    """A stop request that wakes whoever waits in this package.

    Thread-safe. ``cancel`` is final; make a new one for the next connection.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._socket: socket.socket | None = None

    def cancel(self) -> None:
        """Ask to stop; everybody who waits raises :class:`Cancelled`."""
        self._event.set()
        with suppress(OSError):
            self._writer.send(b"x")

    def register(self, sock: socket.socket | None) -> None:
        """Name the socket that :meth:`force` shall cut."""
        self._socket = sock

    def force(self) -> None:
        """Cancel and cut the registered socket, for whoever is stuck in it."""
        self.cancel()
        sock = self._socket
        if sock is not None:
            with suppress(OSError):
                # The plain method: that of SSLSocket would drop the TLS layer
                # under the feet of the thread that uses it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep up to ``timeout`` seconds; True as soon as cancelled."""
        return self._event.wait(timeout)

    def fileno(self) -> int:
        """Readable once cancelled, for selectors."""
        return self._reader.fileno()

    def close(self) -> None:
        """Release both descriptors, when nobody waits on it any more."""
        self._reader.close()
        self._writer.close()


def wait_io(
    waiting: Iterable[tuple[Any, int]], canceller: Canceller | None, timeout: float
) -> list[Any]:
    """The file objects that became ready; [] after ``timeout`` seconds.

    ``waiting`` holds pairs of a socket and READ or WRITE. Raises
    :class:`Cancelled`.
    """
    with _Selector() as selector:
        if canceller is not None:
            selector.register(canceller, READ)
        for fileobj, events in waiting:
            selector.register(fileobj, events)
        ready = selector.select(max(0.0, timeout))
    if canceller is not None and canceller.is_set():
        raise Cancelled()
    return [key.fileobj for key, _ in ready]


def resolve(
    host: str, port: int, deadline: float, canceller: Canceller
) -> list[tuple[Any, ...]]:
    """``getaddrinfo`` that can be given up.

    It runs in a daemon thread because nothing can interrupt it; the thread holds
    no resource but itself and ends when the resolver does.
    """
    with suppress(OSError, UnicodeError):
        return socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    result: list[Any] = []
    done, signal = socket.socketpair()

    def look_up() -> None:
        # Closing its end is the thread's message: it cannot fail or block.
        with signal:
            try:
                result.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                result.append(error)

    with done:
        try:
            threading.Thread(target=look_up, name="ha-dns", daemon=True).start()
        except RuntimeError as error:  # out of threads, or the interpreter ends
            signal.close()
            raise CannotConnect(
                causes.DNS, host=host, port=port, detail=readable(error)
            ) from None
        wait_io([(done, READ)], canceller, deadline - time.monotonic())
    if not result:
        raise CannotConnect(causes.DNS, host=host, port=port, detail="no answer")
    if isinstance(result[0], Exception):
        detail = getattr(result[0], "strerror", None) or result[0]
        raise CannotConnect(causes.DNS, host=host, port=port, detail=readable(detail))
    return result[0]


class _Race:
    """Connection attempts to several addresses; the first to succeed wins."""

    def __init__(self) -> None:
        self.pending: list[socket.socket] = []
        self.errors: list[OSError] = []

    def start(self, address: tuple[Any, ...]) -> None:
        family, kind, protocol, _, target = address
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            self.errors.append(error)
            return
        sock.setblocking(False)
        code = sock.connect_ex(target)
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self.pending.append(sock)
        else:
            sock.close()
            self.errors.append(OSError(code, os.strerror(code)))

    def winner(self, ready: list[Any]) -> socket.socket | None:
        for sock in ready:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.pending.remove(sock)
            if not code:
                return sock
            sock.close()
            self.errors.append(OSError(code, os.strerror(code)))
        return None

    def close(self) -> None:
        for sock in self.pending:
            sock.close()

    def worst(self) -> OSError:
        """The most telling error: a refusal proves that the host is there."""
        refused = [e for e in self.errors if e.errno == errno.ECONNREFUSED]
        return (refused or self.errors)[0]


def connect_tcp(
    host: str, port: int, deadline: float, canceller: Canceller
) -> socket.socket:
    """A connected non-blocking socket, to whichever address answers first."""
    addresses = resolve(host, port, deadline, canceller)
    race = _Race()
    next_start = 0.0
    try:
        while addresses or race.pending:
            now = time.monotonic()
            if now >= deadline:
                raise CannotConnect(causes.CONNECT_TIMEOUT, host=host, port=port)
            if addresses and (now >= next_start or not race.pending):
                race.start(addresses.pop(0))
                next_start = now + ADDRESS_STAGGER
            until = min(deadline, next_start) if addresses else deadline
            waiting = [(sock, WRITE) for sock in race.pending]
            ready = wait_io(waiting, canceller, until - now if waiting else 0.0)
            if sock := race.winner(ready):
                return sock
        raise os_error(race.worst(), host, port)
    finally:
        race.close()


def _tune(sock: socket.socket) -> None:
    """Small frames at once; let the kernel notice a vanished peer too."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10)):
        if hasattr(socket, option):
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def open_socket(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    timeout: float,
    canceller: Canceller,
) -> socket.socket:
    """A connected, non-blocking socket, with TLS when a context is given.

    ``timeout`` (seconds) covers name resolution, TCP and TLS together. The socket
    is registered with ``canceller``. Raises :class:`CannotConnect` with the true
    cause, or :class:`Cancelled`.
    """
    if canceller.is_set():
        raise Cancelled()
    deadline = time.monotonic() + timeout
    sock = connect_tcp(host, port, deadline, canceller)
    try:
        _tune(sock)
        if tls is not None:
            sock = _start_tls(sock, tls, host, port, deadline, canceller)
        canceller.register(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _start_tls(
    sock: socket.socket,
    context: ssl.SSLContext,
    host: str,
    port: int,
    deadline: float,
    canceller: Canceller,
) -> ssl.SSLSocket:
    try:
        # From here on the plain socket object is empty; close the wrapped one.
        wrapped = context.wrap_socket(
            sock, server_hostname=host.rstrip("."), do_handshake_on_connect=False
        )
    except (OSError, ValueError) as error:
        raise tls_error(error, host, port) from None
    try:
        while True:
            try:
                wrapped.do_handshake()
                return wrapped
            except ssl.SSLWantReadError:
                events = READ
            except ssl.SSLWantWriteError:
                events = WRITE
            left = deadline - time.monotonic()
            if not wait_io([(wrapped, events)], canceller, left):
                raise CannotConnect(causes.TIMEOUT, host=host, port=port)
    except (OSError, ValueError) as error:
        wrapped.close()
        raise tls_error(error, host, port) from None
    except BaseException:
        wrapped.close()
        raise
