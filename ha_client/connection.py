"""One WebSocket connection to Home Assistant: frames, authentication, commands.

Protocol: Home Assistant's developer documentation "WebSocket API", checked against
2024.3 and 2025.4.
"""

import json
import logging
import struct
import threading
import time
from typing import Any, NoReturn

from websocket import (
    ABNF,
    WebSocket,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketTimeoutException,
)

from . import causes
from .config_check import LinkConfig
from .const import (
    AUTH_TIMEOUT,
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    MESSAGE_LIMIT_BYTES,
)
from .exceptions import (
    AuthenticationFailed,
    Cancelled,
    CannotConnect,
    CommandTimeout,
    ConnectionLost,
    HaError,
    ProtocolError,
    readable,
)
from .messages import Message, encode, result_of
from .stream import Stream
from .tls import bundle_error, make_tls_context, speaks_tls
from .transport import Canceller, open_socket
from .upgrade import lost_detail, upgrade

_logger = logging.getLogger(__name__)

_CLOSE_NORMAL = struct.pack("!H", 1000)


class HaConnection:
    """A connection for one thread; only sending may come from others too.

    Every method that waits raises :class:`Cancelled` soon after the canceller is
    set, except ``close``.
    """

    def __init__(self, config: LinkConfig, canceller: Canceller) -> None:
        self._config = config
        self._canceller = canceller
        self._stream: Stream | None = None
        self._websocket: WebSocket | None = None
        self._fragments: list[bytes] = []
        self._send_lock = threading.Lock()
        self._last_id = 0

    @property
    def bytes_received(self) -> int:
        """Bytes off the socket so far: tells a slow frame from a dead peer."""
        return self._stream.received if self._stream else 0

    @property
    def behind(self) -> float:
        """Seconds for which we have not kept up with the other side."""
        stream = self._stream
        return stream.behind if stream else 0.0

    def open(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Name resolution, TCP, TLS and upgrade in ``timeout`` seconds together.

        Raises :class:`CannotConnect`, :class:`AuthenticationFailed` (HTTP 403),
        :class:`ProtocolError`, :class:`ConfigError`.
        """
        deadline = time.monotonic() + timeout
        config = self._config
        try:
            tls = make_tls_context(config.verify_ssl) if config.is_tls else None
        except OSError as error:
            raise bundle_error(error, config.host, config.port) from None
        sock = open_socket(
            config.host,
            config.port,
            tls=tls,
            timeout=timeout,
            canceller=self._canceller,
        )
        stream = Stream(sock, self._canceller)
        try:
            stream.set_deadline(deadline - time.monotonic())
            self._websocket = upgrade(config, stream)
        except BaseException as error:
            stream.close()
            self._raise_if_cancelled()
            lost = isinstance(error, HaError) and error.cause == causes.CONNECTION_LOST
            # Whoever has said something on plain TCP does not expect TLS.
            silent = lost and not stream.received
            left = deadline - time.monotonic()
            if silent and speaks_tls(config, left, self._canceller):
                where = {"host": config.host, "port": config.port}
                raise CannotConnect(causes.HTTPS_REQUIRED, **where) from None
            raise
        self._stream = stream

    def authenticate(self, timeout: float = AUTH_TIMEOUT) -> str:
        """Log in; Home Assistant's version.

        Raises :class:`AuthenticationFailed`; :class:`CannotConnect` when the peer
        is silent or speaks something else.
        """
        deadline = time.monotonic() + timeout
        where = {"host": self._config.host, "port": self._config.port}
        while (left := deadline - time.monotonic()) > 0:
            for message in self.receive(left):
                kind = message.get("type")
                if kind == "auth_required":
                    token = self._config.token
                    self._send_json({"type": "auth", "access_token": token})
                elif kind == "auth_ok":
                    return readable(message.get("ha_version", ""))
                elif kind == "auth_invalid":
                    raise AuthenticationFailed(causes.TOKEN_REJECTED, **where)
                else:
                    raise CannotConnect(
                        causes.NOT_HOME_ASSISTANT,
                        **where,
                        status=101,
                        detail="no authentication phase",
                    )
        raise CannotConnect(causes.TIMEOUT, **where)

    def send_command(self, type: str, /, **payload: Any) -> int:
        """Send one command; its id, which strictly increases.

        Raises :class:`CommandError` (``invalid_format``) for a payload that is no
        JSON, and :class:`ConnectionLost`.
        """
        with self._send_lock:
            command = self._numbered(type, payload)
            self._send_locked(command)
        return command["id"]

    def send_announced(self, announce, type: str, /, **payload: Any) -> None:
        """As :meth:`send_command`, but ``announce(id)`` is called before sending,
        so that whoever reads knows the id before the answer can be there.
        """
        with self._send_lock:
            command = self._numbered(type, payload)
            announce(command["id"])
            self._send_locked(command)

    def send_commands(self, commands: list[tuple[str, Message]]) -> list[int]:
        """Send several ``(type, payload)`` in one frame; their ids."""
        with self._send_lock:
            batch = [self._numbered(type, payload) for type, payload in commands]
            self._send_locked(batch)
        return [command["id"] for command in batch]

    def receive(self, timeout: float) -> list[Message]:
        """The messages of the next frame; [] when none is complete in time.

        A frame cut off by the timeout is continued by the next call. Raises
        :class:`ConnectionLost`, :class:`ProtocolError`, :class:`Cancelled`.
        """
        stream = self._stream
        if stream is None:
            raise ConnectionLost(detail="not open")
        self._raise_if_cancelled()
        stream.set_deadline(timeout)
        data = self._guarded_read()
        if data is None:
            return []
        stream.allow(MESSAGE_LIMIT_BYTES)
        try:
            decoded = json.loads(data.decode())
        except (ValueError, RecursionError):
            raise ProtocolError(detail="not JSON") from None
        messages = decoded if isinstance(decoded, list) else [decoded]
        if not all(isinstance(message, dict) for message in messages):
            raise ProtocolError(detail="not a message")
        return messages

    def call(self, type: str, /, timeout: float, **payload: Any) -> Any:
        """Send one command and wait for its result; other messages are lost.

        Raises :class:`CommandError` with Home Assistant's code and message,
        :class:`CommandTimeout` after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        command_id = self.send_command(type, **payload)
        while (left := deadline - time.monotonic()) > 0:
            for message in self.receive(left):
                if message.get("id") != command_id:
                    continue
                if message.get("type") == "pong":
                    return None
                if message.get("type") == "result":
                    return result_of(message)
        raise CommandTimeout(command=type, seconds=round(timeout))

    def close(self) -> None:
        """Say good-bye (close frame 1000, at most CLOSE_TIMEOUT), close the socket.

        Never raises.
        """
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            self._say_goodbye(stream)
        except (HaError, WebSocketException, OSError) as error:
            _logger.debug("good-bye not delivered: %s", error)
        finally:
            stream.close()

    # ---

    def _numbered(self, type: str, payload: Message) -> Message:
        self._last_id += 1
        return {**payload, "id": self._last_id, "type": type}

    def _send_json(self, content: Message) -> None:
        with self._send_lock:
            self._send_locked(content)

    def _send_locked(self, content: Message | list[Message]) -> None:
        self._send_frame(encode(content), ABNF.OPCODE_TEXT)

    def _send_frame(self, data: bytes, opcode: int) -> None:
        # Not WebSocket.send: with enableTrace it would log the token.
        stream = self._stream
        if stream is None or stream.broken:
            raise ConnectionLost(detail="not open")
        try:
            stream.send(ABNF.create_frame(data, opcode).format())
        except TimeoutError:
            raise ConnectionLost(detail="the other side does not read") from None
        except OSError as error:
            self._lost(error)

    def _guarded_read(self) -> bytes | None:
        try:
            return self._read_message()
        except WebSocketTimeoutException:
            return None
        except (WebSocketConnectionClosedException, OSError) as error:
            self._lost(error)
        except WebSocketException as error:
            raise ProtocolError(detail=readable(error)) from None

    def _read_message(self) -> bytes:
        """Next text, with control frames handled on the way.

        websocket-client's own loop would lose the close code when the answer to
        a close frame cannot be sent, and copies fragments again and again.
        """
        assert self._websocket is not None
        while True:
            frame = self._websocket.recv_frame()
            if frame.opcode == ABNF.OPCODE_PING:
                with self._send_lock:
                    self._send_frame(frame.data, ABNF.OPCODE_PONG)
            elif frame.opcode == ABNF.OPCODE_CLOSE:
                raise _closed_by_peer(frame.data)
            elif frame.opcode != ABNF.OPCODE_PONG:
                self._fragments.append(frame.data)
                if frame.fin:
                    data = b"".join(self._fragments)
                    self._fragments = []
                    return data

    def _lost(self, error: Exception) -> NoReturn:
        self._raise_if_cancelled()
        raise ConnectionLost(detail=lost_detail(error)) from None

    def _raise_if_cancelled(self) -> None:
        if self._canceller.is_set():
            raise Cancelled() from None

    def _say_goodbye(self, stream: Stream) -> None:
        deadline = time.monotonic() + CLOSE_TIMEOUT
        stream.ignore_cancel(CLOSE_TIMEOUT)
        if stream.broken or not self._send_lock.acquire(timeout=CLOSE_TIMEOUT):
            return
        try:
            frame = ABNF.create_frame(_CLOSE_NORMAL, ABNF.OPCODE_CLOSE)
            stream.send(frame.format())
        finally:
            self._send_lock.release()
        # Unread data at close() makes the kernel send a reset, which may overtake
        # the close frame: read on until the peer has answered.
        assert self._websocket is not None
        while (left := deadline - time.monotonic()) > 0:
            stream.set_deadline(left)
            if self._websocket.recv_frame().opcode == ABNF.OPCODE_CLOSE:
                return


def _closed_by_peer(data: bytes) -> ConnectionLost:
    """Code 1000 gets no special treatment: Home Assistant sends it when it cuts
    a client that is too slow."""
    code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
    reason = readable(data[2:].decode(errors="replace"))
    detail = f"closed by the other side, code {code} {reason}".strip()
    return ConnectionLost(code=code, reason=reason, detail=detail)
