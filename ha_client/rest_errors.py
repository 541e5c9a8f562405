"""From the nested exceptions of requests and urllib3 to typed causes."""

import http.client
import socket
import ssl
from collections.abc import Iterator

import requests

from . import causes
from .exceptions import (
    CannotConnect,
    CommandTimeout,
    ConnectionLost,
    HaError,
    ProtocolError,
    readable,
)
from .network_errors import os_error, tls_error

Where = dict[str, str | int]


def _nested(error: BaseException) -> Iterator[BaseException]:
    """The error and all it was made of: urllib3 keeps the origin in ``reason`` or
    among the arguments, depending on its version."""
    todo, seen = [error], set()
    while todo:
        item = todo.pop(0)
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        parts = (getattr(item, "reason", None), *item.args)
        todo += [part for part in parts if isinstance(part, BaseException)]
        todo += [x for x in (item.__cause__, item.__context__) if x is not None]


def _first(errors: list[BaseException], kind: type | tuple[type, ...]) -> object | None:
    return next((error for error in errors if isinstance(error, kind)), None)


def typed_error(
    error: Exception, where: Where, command: str, answer_seconds: int
) -> HaError:
    """What went wrong with one request.

    ``where`` has host and port; ``command`` and ``answer_seconds`` go into a
    :class:`CommandTimeout`. The texts of requests are dropped where they may quote
    headers or addresses.
    """
    host, port = str(where["host"]), int(where["port"])
    errors = list(_nested(error))
    if isinstance(error, requests.ConnectTimeout):
        return CannotConnect(causes.CONNECT_TIMEOUT, **where)
    if isinstance(error, requests.ReadTimeout) or "timed out" in str(error).lower():
        return CommandTimeout(command=command, seconds=answer_seconds)
    if found := _first(errors, socket.gaierror):
        detail = readable(getattr(found, "strerror", None) or found)
        return CannotConnect(causes.DNS, **where, detail=detail)
    if found := _first(errors, ssl.SSLCertVerificationError):
        return tls_error(found, host, port)
    if found := _first(errors, ssl.SSLError):
        return tls_error(found, host, port)
    if isinstance(error, requests.exceptions.SSLError):
        # urllib3's own verdict on the host name, or on the certificate's format.
        detail = readable(errors[-1])
        return CannotConnect(causes.TLS_CERTIFICATE, **where, detail=detail)
    if found := _first(errors, http.client.BadStatusLine):
        line = str(found)
        if "\\x15\\x03" in line or "\x15\x03" in line:
            return CannotConnect(causes.HTTPS_REQUIRED, **where)
        if not isinstance(found, ConnectionError):  # RemoteDisconnected is both
            return ProtocolError(detail=readable(f"not HTTP: {line}"))
    if _first(errors, (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)):
        return ConnectionLost(**where, detail="the other side hung up")
    if found := _first(errors, OSError):
        chain = [e for e in errors if isinstance(e, OSError) and e.errno]
        if chain:
            return os_error(chain[0], host, port)
    detail = type(errors[-1]).__name__
    return ProtocolError(detail=readable(f"no valid HTTP answer: {detail}"))
