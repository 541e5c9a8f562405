"""What is wrong with an instance's URL and token, before anything is tried.

Pure functions. ``find_problems`` is for people (each problem by itself);
``LinkConfig`` is what the rest of the package connects with.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from . import causes
from .const import TOKEN_MIN_LENGTH
from .exceptions import ConfigError

Field = Literal["api_url", "api_token"]
_DEFAULT_PORTS = {"http": 80, "https": 443}
# People paste the address of the API instead of the server's.
_API_SUFFIX = re.compile(r"/api(/websocket)?/*$")
_USERINFO = re.compile(r"[^/\\\s]*@")
# A long-lived token pasted into the URL field must not end up in a log.
_SECRET_LIKE = re.compile(r"eyJ[\w.\-]+|[\w\-+=]{24,}")


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One problem; ``params`` fills the cause's message and holds no secret."""

    cause: str
    field: Field
    params: dict[str, str | int] = field(default_factory=dict)


def without_credentials(url: str) -> str:
    """The URL without user, password, query and fragment."""
    text = re.split(r"[?#]", url.strip(), maxsplit=1)[0]
    return _USERINFO.sub("***@", text)


def shown_url(url: str) -> str:
    """What people typed as URL, fit for a log: nothing in it looks like a token."""
    return _SECRET_LIKE.sub("***", without_credentials(url))[:100]


def _split(url: str) -> SplitResult:
    """Parse a stripped URL. Raises ConfigError with the one cause that applies."""
    shown = shown_url(url)
    if not re.match(r"https?://", url, re.IGNORECASE):
        raise ConfigError(causes.URL_SCHEME, url=shown)
    if any(c.isspace() or not c.isprintable() for c in url) or "\\" in url:
        raise ConfigError(causes.URL_MALFORMED, url=shown, detail="white space")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError:
        raise ConfigError(
            causes.URL_MALFORMED, url=shown, detail="host or port"
        ) from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(causes.URL_CREDENTIALS, url=shown)
    if not host:
        raise ConfigError(causes.URL_HOST, url=shown)
    if port == 0:
        raise ConfigError(causes.URL_MALFORMED, url=shown, detail="port 0")
    try:
        _ascii_host(host)
    except UnicodeError:
        raise ConfigError(causes.URL_MALFORMED, url=shown, detail="host name") from None
    return parts


def _ascii_host(host: str) -> str:
    """The host as DNS and HTTP headers want it. Raises UnicodeError."""
    if ":" in host:
        return host
    return host.encode("idna").decode("ascii")


@dataclass(frozen=True)
class LinkConfig:
    """Where Home Assistant is and how to log in; both values are stripped.

    The properties raise :class:`ConfigError` for a URL that
    :func:`find_problems` complains about. A path prefix is kept; a trailing
    ``/api`` or ``/api/websocket``, query and fragment are dropped.
    """

    url: str
    token: str = field(repr=False)
    verify_ssl: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.strip())
        object.__setattr__(self, "token", self.token.strip())

    def __repr__(self) -> str:
        return f"LinkConfig({shown_url(self.url)!r}, verify_ssl={self.verify_ssl})"

    @property
    def is_tls(self) -> bool:
        return _split(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """Host name or address, ASCII, without brackets."""
        return _ascii_host(_split(self.url).hostname or "")

    @property
    def port(self) -> int:
        parts = _split(self.url)
        return parts.port or _DEFAULT_PORTS[parts.scheme]

    @property
    def base_url(self) -> str:
        """``http(s)://host[:port][/prefix]`` without a trailing slash."""
        parts = _split(self.url)
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{parts.port}" if parts.port else ""
        path = _API_SUFFIX.sub("", parts.path).rstrip("/")
        return f"{parts.scheme}://{host}{port}{path}"

    @property
    def websocket_url(self) -> str:
        """``ws(s)://…/api/websocket``"""
        return f"ws{self.base_url.removeprefix('http')}/api/websocket"


def _url_problems(url: str | None | bool) -> list[ConfigProblem]:
    if not url or not isinstance(url, str):
        return [ConfigProblem(causes.URL_EMPTY, "api_url")]
    if not url.strip():
        return [ConfigProblem(causes.URL_BLANK, "api_url")]
    try:
        _split(url.strip())
    except ConfigError as error:
        return [ConfigProblem(error.cause, "api_url", error.params)]
    return []


def _token_problems(token: str | None | bool) -> list[ConfigProblem]:
    if not token or not isinstance(token, str):
        return [ConfigProblem(causes.TOKEN_EMPTY, "api_token")]
    text = token.strip()
    if not text:
        return [ConfigProblem(causes.TOKEN_BLANK, "api_token")]
    problems = []
    if len(text) < TOKEN_MIN_LENGTH:
        problems.append(
            ConfigProblem(causes.TOKEN_SHORT, "api_token", {"len": len(text)})
        )
    if not all("!" <= character <= "~" for character in text):
        problems.append(ConfigProblem(causes.TOKEN_CHARACTERS, "api_token"))
    return problems


def find_problems(
    url: str | None | bool, token: str | None | bool
) -> list[ConfigProblem]:
    """All problems of a configuration, the URL's first; [] when it can be tried.

    ``False`` and ``None`` stand for a field that was never filled (Odoo, SQL).
    """
    return _url_problems(url) + _token_problems(token)


def log_text(problem: ConfigProblem) -> str:
    """The problem in English, in the fixed wording that administrators grep for."""
    return str(ConfigError(problem.cause, **problem.params))
