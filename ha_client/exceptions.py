"""Typed outcomes. The type decides about retrying, the cause is for people."""

from collections import defaultdict

from . import causes
from .const import DETAIL_LENGTH


def readable(text: object) -> str:
    """One line of at most DETAIL_LENGTH characters from what a peer sent."""
    line = " ".join(str(text).split())
    printable = "".join(c if c.isprintable() else "?" for c in line)
    return printable[:DETAIL_LENGTH]


class HaError(Exception):
    """Base of all errors of this package.

    ``cause`` is one of :mod:`causes`, ``params`` fills the placeholders of its
    message. Neither ever holds a token.
    """

    default_cause = causes.PROTOCOL

    def __init__(self, cause: str | None = None, **params: str | int) -> None:
        self.cause = cause or self.default_cause
        self.params: dict[str, str | int] = params
        super().__init__(self.cause)

    def __str__(self) -> str:
        template = causes.MESSAGES.get(self.cause, self.cause)
        return template.format_map(defaultdict(lambda: "?", self.params)).strip()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigError(HaError):
    """The configuration cannot work; see :func:`config_check.find_problems`."""

    default_cause = causes.URL_MALFORMED


class CannotConnect(HaError):
    """The way to the server, or what answers there. Worth a retry."""

    default_cause = causes.UNREACHABLE


class AuthenticationFailed(HaError):
    """Token rejected or address banned. Never retry: Home Assistant bans."""

    default_cause = causes.TOKEN_REJECTED


class ConnectionLost(HaError):
    """An established connection ended or fell silent. Worth a retry."""

    default_cause = causes.CONNECTION_LOST


class ProtocolError(HaError):
    """The peer sent what the protocol does not allow. Worth a retry."""

    default_cause = causes.PROTOCOL


class CommandError(HaError):
    """Home Assistant refused or failed one command; the link is fine.

    ``code`` and ``message`` are Home Assistant's own.
    """

    default_cause = causes.COMMAND_FAILED

    def __init__(self, code: str, message: str) -> None:
        self.code = readable(code)
        self.message = readable(message)
        super().__init__(code=self.code, detail=self.message)


class CommandTimeout(HaError):
    """No result in time. The command may still be running."""

    default_cause = causes.COMMAND_TIMEOUT


class Cancelled(HaError):
    """The canceller was set."""

    default_cause = causes.CANCELLED
