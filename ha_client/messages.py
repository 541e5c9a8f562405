"""What goes over the WebSocket, and over REST as far as it is the same."""

import json
from typing import Any

from .const import SEND_LIMIT_BYTES
from .exceptions import CommandError, ProtocolError

Message = dict[str, Any]


def encode(content: Any) -> bytes:
    """JSON that Home Assistant can read.

    Raises :class:`CommandError` for everything else: one message that it cannot
    read would cost the whole connection.
    """
    try:
        data = json.dumps(
            content, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        detail = f"cannot be sent: {type(error).__name__}"
        raise CommandError("invalid_format", detail) from None
    if len(data) > SEND_LIMIT_BYTES:
        raise CommandError("invalid_format", f"too large: {len(data)} bytes")
    return data


def result_of(message: Message) -> Any:
    """The result in a ``result`` message. Raises :class:`CommandError`."""
    if message.get("success"):
        return message.get("result")
    error = message.get("error")
    if not isinstance(error, dict):
        error = {}
    raise CommandError(
        str(error.get("code", "unknown_error")), str(error.get("message", ""))
    )


def essential_result(message: Message, command: str) -> Any:
    """The result of a command that a link cannot do without.

    Raises :class:`ProtocolError`, because a retry is all that can help.
    """
    try:
        return result_of(message)
    except CommandError as error:
        detail = f"{command}: {error.message} ({error.code})"
        raise ProtocolError(detail=detail) from None
