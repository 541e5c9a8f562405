"""Every cause of a failure that the product can name.

The value of a constant is stored (status row, connection log) and translated by
the layer above, so it must never change. ``MESSAGES`` holds the English text for
logs; its placeholders are the keys of :attr:`HaError.params`.
"""

from typing import Final

# What is wrong with the configuration
URL_EMPTY: Final = "url_empty"
URL_BLANK: Final = "url_blank"
URL_SCHEME: Final = "url_scheme"
URL_HOST: Final = "url_host"
URL_MALFORMED: Final = "url_malformed"
URL_CREDENTIALS: Final = "url_credentials"
TOKEN_EMPTY: Final = "token_empty"
TOKEN_BLANK: Final = "token_blank"
TOKEN_SHORT: Final = "token_short"
TOKEN_CHARACTERS: Final = "token_characters"
TOKEN_UNREADABLE: Final = "token_unreadable"  # stored with another key

# The way to the server
DNS: Final = "dns"
REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
CONNECT_TIMEOUT: Final = "connect_timeout"
TIMEOUT: Final = "timeout"
TLS_CERTIFICATE: Final = "tls_certificate"
TLS_HANDSHAKE: Final = "tls_handshake"
HTTPS_REQUIRED: Final = "https_required"

# What answers there
REDIRECT: Final = "redirect"
NOT_HOME_ASSISTANT: Final = "not_home_assistant"
SERVER_ERROR: Final = "server_error"
PROXY_UNTRUSTED: Final = "proxy_untrusted"
PROXY_LOGIN: Final = "proxy_login"
WEBSOCKET_BLOCKED: Final = "websocket_blocked"
STARTING: Final = "starting"

# Home Assistant's verdict on us
TOKEN_REJECTED: Final = "token_rejected"
BANNED: Final = "banned"

# An established link
PROTOCOL: Final = "protocol"
CONNECTION_LOST: Final = "connection_lost"
NO_ANSWER: Final = "no_answer"

# One command
COMMAND_FAILED: Final = "command_failed"
COMMAND_TIMEOUT: Final = "command_timeout"
CANCELLED: Final = "cancelled"

MESSAGES: Final[dict[str, str]] = {
    URL_EMPTY: "API URL is empty!",
    URL_BLANK: "API URL is blank!",
    URL_SCHEME: ("Invalid URL format: {url} URL must start with http:// or https://"),
    URL_HOST: "Invalid URL format: {url} has no host name!",
    URL_MALFORMED: "Invalid URL format: {url} is malformed ({detail})!",
    URL_CREDENTIALS: "API URL must not contain a user name or password!",
    TOKEN_EMPTY: "API Token is empty!",
    TOKEN_BLANK: "API Token is blank!",
    TOKEN_SHORT: "Token too short (len={len})!",
    TOKEN_CHARACTERS: "Token contains white space or characters beyond ASCII!",
    TOKEN_UNREADABLE: "API Token is encrypted with a key that this server lacks!",
    DNS: "host name {host} cannot be resolved ({detail})",
    REFUSED: "{host}:{port} refused the connection",
    UNREACHABLE: "{host}:{port} cannot be reached ({detail})",
    CONNECT_TIMEOUT: "{host}:{port} did not accept the connection in time",
    TIMEOUT: "{host}:{port} accepted the connection but did not answer in time",
    TLS_CERTIFICATE: "TLS certificate of {host}:{port} is not trusted ({detail})",
    TLS_HANDSHAKE: "no TLS with {host}:{port} ({detail})",
    HTTPS_REQUIRED: "{host}:{port} speaks TLS: the URL must start with https://",
    REDIRECT: "{host}:{port} redirects to {location} (HTTP {status})",
    NOT_HOME_ASSISTANT: (
        "{host}:{port} is not a Home Assistant (HTTP {status}) {detail}"
    ),
    SERVER_ERROR: "{host}:{port} answered with HTTP {status}",
    PROXY_UNTRUSTED: (
        "{host}:{port} refused the request (HTTP {status}): Home Assistant does"
        " not trust the reverse proxy in front of it"
    ),
    PROXY_LOGIN: "a proxy at {host}:{port} asks for a login of its own",
    WEBSOCKET_BLOCKED: (
        "{host}:{port} does not let WebSocket connections through"
        " (HTTP {status}) {detail}"
    ),
    STARTING: "Home Assistant at {host}:{port} is still starting ({detail})",
    TOKEN_REJECTED: "Home Assistant at {host}:{port} rejected the token",
    BANNED: "{host}:{port} has banned this address (HTTP 403)",
    PROTOCOL: "unexpected answer: {detail}",
    CONNECTION_LOST: "connection lost ({detail})",
    NO_ANSWER: "no sign of life from the other side for {seconds} s",
    COMMAND_FAILED: "Home Assistant: {detail} ({code})",
    COMMAND_TIMEOUT: "no result of {command} within {seconds} s",
    CANCELLED: "stopped on request",
}
