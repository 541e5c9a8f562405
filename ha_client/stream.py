"""A non-blocking socket as websocket-client wants it: blocking, with a deadline.

websocket-client reads frames in small pieces with a timeout per read. Behind this
wrapper it gets one overall deadline, can be cancelled in any read or write, and
costs one system call per 256 KiB instead of several per frame.
"""

import socket
import ssl
import threading
import time

from .const import (
    HANDSHAKE_LIMIT_BYTES,
    HEAD_BYTES,
    READ_BUFFER_BYTES,
    SEND_TIMEOUT,
)
from .exceptions import Cancelled, ProtocolError
from .transport import READ, WRITE, Canceller, wait_io


class Stream:
    """One reading thread; writing from any thread, one at a time.

    ``received`` counts bytes, ``head`` keeps the first of them for a diagnosis,
    ``limit`` is how many bytes may come before :meth:`allow` is called again, and
    ``broken`` tells that a write ended in the middle.
    """

    def __init__(self, sock: socket.socket, canceller: Canceller) -> None:
        self._sock = sock
        self._canceller = canceller
        self._interruptible = True
        # OpenSSL does not allow reading and writing at the same time. Calls never
        # block, so neither does the lock.
        self._lock = threading.Lock()
        self._buffer = bytearray(READ_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._deadline = 0.0
        self._fresh = True
        self._send_timeout = SEND_TIMEOUT
        self._busy_since: float | None = None
        self.received = 0
        self.limit = HANDSHAKE_LIMIT_BYTES
        self.head = b""
        self.broken = False

    @property
    def behind(self) -> float:
        """For how many seconds the peer has had more to read whenever we read."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def set_deadline(self, seconds: float) -> None:
        """Reads raise TimeoutError from then on; one is always tried."""
        self._deadline = time.monotonic() + seconds
        self._fresh = True

    def allow(self, count: int) -> None:
        """Let the peer send ``count`` more bytes; beyond it is a ProtocolError."""
        self.limit = self.received + count

    def ignore_cancel(self, send_timeout: float) -> None:
        """For the good-bye: a stop request no longer interrupts."""
        self._interruptible = False
        self._send_timeout = send_timeout

    # --- what websocket-client calls

    def recv(self, count: int) -> bytes:
        """At most ``count`` bytes, b"" at the end of the stream."""
        if self._start == self._end and not self._fill():
            return b""
        stop = min(self._start + count, self._end)
        data = bytes(self._view[self._start : stop])
        self._start = stop
        return data

    def send(self, data: bytes) -> int:
        """Send all of ``data``. Raises TimeoutError, Cancelled, OSError."""
        view = memoryview(data)
        deadline = time.monotonic() + self._send_timeout
        try:
            while view:
                try:
                    with self._lock:
                        view = view[self._sock.send(view) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    self._wait(WRITE, deadline)
                except ssl.SSLWantReadError:
                    # The reading thread may take what OpenSSL waits for here.
                    self._wait(READ, deadline, slice_=0.05)
        except BaseException:
            self.broken = True
            raise
        return len(data)

    def gettimeout(self) -> None:
        return None

    def settimeout(self, timeout: float | None) -> None:
        """Ignored: the deadline rules."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def shutdown(self, how: int) -> None:
        socket.socket.shutdown(self._sock, how)

    def close(self) -> None:
        self._canceller.register(None)
        self._sock.close()
        # websocket-client's objects refer to each other and to this one: they stay
        # until Python's next full collection.
        self._view = memoryview(b"")
        self._buffer = bytearray()

    # ---

    def _fill(self) -> int:
        """Read once into the empty buffer; the number of bytes, 0 at the end."""
        while True:
            if self._interruptible and self._canceller.is_set():
                raise Cancelled()
            if not self._fresh and time.monotonic() >= self._deadline:
                raise TimeoutError("timed out")
            self._fresh = False
            try:
                with self._lock:
                    count = self._sock.recv_into(self._buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._busy_since = None
                self._wait(READ, self._deadline)
                self._busy_since = time.monotonic()
                continue
            except ssl.SSLWantWriteError:
                self._wait(WRITE, self._deadline)
                continue
            except ssl.SSLEOFError:  # cut without a TLS good-bye
                count = 0
            self._start, self._end = 0, count
            self.received += count
            if (room := HEAD_BYTES - len(self.head)) > 0:
                self.head += bytes(self._view[: min(count, room)])
            if self.received > self.limit:
                raise ProtocolError(detail="message too large")
            return count

    def _wait(self, events: int, deadline: float, slice_: float = 1e9) -> None:
        left = deadline - time.monotonic()
        canceller = self._canceller if self._interruptible else None
        ready = wait_io([(self._sock, events)], canceller, min(left, slice_))
        if not ready and left <= slice_:
            raise TimeoutError("timed out")
