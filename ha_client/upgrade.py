"""The HTTP upgrade to WebSocket, with every refusal told apart."""

import re
from contextlib import suppress
from email import message_from_bytes

from websocket import (
    WebSocket,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketTimeoutException,
)

from . import causes
from .config_check import LinkConfig, without_credentials
from .exceptions import (
    AuthenticationFailed,
    CannotConnect,
    HaError,
    ProtocolError,
    readable,
)
from .frames import StrictFrames
from .stream import Stream

USER_AGENT = "odoo_ha_addon"
# Of what a page holds, nobody reads these.
_MARKUP = re.compile(
    r"<(style|script)\b.*?(</\1\s*>|$)|<!--.*?(-->|$)|<[^>]*(>|$)",
    re.DOTALL | re.IGNORECASE,
)
# First bytes of a TLS alert record: the answer of a TLS server to plain HTTP.
_TLS_ALERT = b"\x15\x03"


def upgrade(config: LinkConfig, stream: Stream) -> WebSocket:
    """Turn a fresh stream into a WebSocket within the stream's deadline.

    Sends no token. Raises :class:`CannotConnect`, :class:`AuthenticationFailed`
    (HTTP 403 is Home Assistant's ban), :class:`ProtocolError`.
    """
    websocket = WebSocket(skip_utf8_validation=True, enable_multithread=True)
    websocket.frame_buffer = StrictFrames(websocket.frame_buffer.recv, True)
    where: dict[str, str | int] = {"host": config.host, "port": config.port}
    # websocket-client quotes headers and bodies in its messages, therefore the
    # original exceptions are not chained.
    try:
        websocket.connect(
            config.websocket_url,
            socket=stream,
            redirect_limit=0,
            suppress_origin=True,
            header=[f"User-Agent: {USER_AGENT}"],
        )
    except WebSocketTimeoutException:
        raise CannotConnect(causes.TIMEOUT, **where) from None
    except WebSocketBadStatusException as error:
        raise refusal(
            error.status_code, error.resp_headers or {}, error.resp_body, where
        ) from None
    except (WebSocketConnectionClosedException, OSError) as error:
        if stream.head.startswith(_TLS_ALERT):
            raise CannotConnect(causes.HTTPS_REQUIRED, **where) from None
        if refused := _cut_off(stream.head, where):
            raise refused from None
        raise CannotConnect(
            causes.CONNECTION_LOST, **where, detail=lost_detail(error)
        ) from None
    except (WebSocketException, ValueError, IndexError) as error:
        # The latter two: what 1.9.0 makes of a malformed header.
        if redirect := _redirect(websocket, where):
            raise redirect from None
        if stream.head.startswith(_TLS_ALERT):
            raise CannotConnect(causes.HTTPS_REQUIRED, **where) from None
        raise ProtocolError(**where, detail=readable(error)) from None
    if redirect := _redirect(websocket, where):  # 1.9.0 is content with it
        raise redirect
    return websocket


def lost_detail(error: Exception) -> str:
    """How a connection ended; websocket-client says no more than that it did."""
    if isinstance(error, WebSocketConnectionClosedException):
        return "the other side hung up"
    return readable(getattr(error, "strerror", None) or error)


def _cut_off(head: bytes, where: dict[str, str | int]) -> HaError | None:
    """What an HTTP answer says whose body never came.

    Odoo answers so to an upgrade that it does not know.
    """
    top, _, body = head.partition(b"\r\n\r\n")
    line, _, fields = top.partition(b"\r\n")
    match = re.match(rb"HTTP/1\.[01] ([2-5]\d\d)\b", line)
    if match is None:
        return None
    headers = {k.lower(): v for k, v in message_from_bytes(fields).items()}
    return refusal(int(match[1]), headers, body, where)


def _redirect(websocket: WebSocket, where: dict[str, str | int]) -> HaError | None:
    response = websocket.handshake_response
    if response is None or not 300 <= response.status < 400:
        return None
    return refusal(response.status, response.headers, None, where)


def refusal(
    status: int | None,
    headers: dict[str, str],
    body: bytes | None,
    where: dict[str, str | int],
) -> HaError:
    """The typed form of an HTTP answer other than the expected one.

    ``headers`` has lower-case keys. Shared by REST and WebSocket.
    """
    if not status:
        return ProtocolError(**where, detail="not an HTTP answer")
    where = {**where, "status": status}
    if 300 <= status < 400:
        location = readable(without_credentials(headers.get("location") or "?"))
        return CannotConnect(causes.REDIRECT, **where, location=location)
    if status == 401:
        return CannotConnect(causes.PROXY_LOGIN, **where)
    if status == 403:
        return AuthenticationFailed(causes.BANNED, **where)
    if status >= 500 or status == 429:
        return CannotConnect(causes.SERVER_ERROR, **where)
    text = _plain_text(body)
    if status == 400:
        # aiohttp's own words when a proxy has dropped the Upgrade header.
        if "upgrade" in text.lower():
            return CannotConnect(causes.WEBSOCKET_BLOCKED, **where, detail=text)
        if "https port" in text.lower():  # nginx
            return CannotConnect(causes.HTTPS_REQUIRED, **where)
        return CannotConnect(causes.PROXY_UNTRUSTED, **where)
    return CannotConnect(causes.NOT_HOME_ASSISTANT, **where, detail=text)


def _plain_text(body: bytes | None) -> str:
    text = ""
    with suppress(UnicodeDecodeError):
        text = (body or b"")[:4096].decode()
    return readable(_MARKUP.sub(" ", text))
