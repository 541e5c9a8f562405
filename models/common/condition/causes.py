"""What every cause means and what to do about it, in the user's language.

The client and supervision name a cause by its code and parameters; this is the
one place that turns it into words for people.
"""

from odoo.tools.translate import LazyTranslate

from ....ha_client import causes as c
from ..supervision.process_role import CRON_WORKER, HTTP_WORKER, SERVER
from .link_condition import (
    DATABASE_COPIED,
    INACTIVE,
    NO_HEARTBEAT,
    STOP_REQUESTED,
    UNSUPERVISED,
)

_lt = LazyTranslate(__name__)

# Causes that only the addon knows.
CRASHED = "crashed"
BACKLOG = "backlog"
OVERFLOW = "overflow"
TOKEN_UNREADABLE = c.TOKEN_UNREADABLE
CONFIG_CHANGED = "config_changed"
CREATED = "created"

EXPLANATIONS = {
    c.URL_EMPTY: (
        _lt("The API URL is empty."),
        _lt("Enter the address of Home Assistant, e.g. http://192.168.1.10:8123."),
    ),
    c.URL_BLANK: (
        _lt("The API URL is blank: it holds nothing but spaces."),
        _lt("Enter the address of Home Assistant, e.g. http://192.168.1.10:8123."),
    ),
    c.URL_SCHEME: (
        _lt("The API URL does not start with http:// or https://."),
        _lt("Put http:// or https:// in front of the address."),
    ),
    c.URL_HOST: (
        _lt("The API URL has no host name."),
        _lt("Write it like http://192.168.1.10:8123 or https://ha.example.com."),
    ),
    c.URL_MALFORMED: (
        _lt("The API URL is malformed (%(detail)s)."),
        _lt("Write it like http://192.168.1.10:8123 or https://ha.example.com."),
    ),
    c.URL_CREDENTIALS: (
        _lt("The API URL contains a user name or password."),
        _lt("Remove them from the URL; the access token alone logs Odoo in."),
    ),
    c.TOKEN_EMPTY: (
        _lt("The API Token is empty."),
        _lt(
            "Create a long-lived access token in Home Assistant (your profile →"
            " Security) and enter it here."
        ),
    ),
    c.TOKEN_BLANK: (
        _lt("The API Token is blank: it holds nothing but spaces."),
        _lt(
            "Create a long-lived access token in Home Assistant (your profile →"
            " Security) and enter it here."
        ),
    ),
    c.TOKEN_SHORT: (
        _lt("The API Token is too short (%(len)s characters)."),
        _lt("Copy the whole long-lived access token; it has over 100 characters."),
    ),
    c.TOKEN_CHARACTERS: (
        _lt("The API Token contains spaces or characters that no token has."),
        _lt("Copy the long-lived access token again, without anything around it."),
    ),
    c.TOKEN_UNREADABLE: (
        _lt("The API Token is encrypted with a key that this server does not have."),
        _lt("Give the server the right ODOO_HA_ADDON_KEY, or enter the token again."),
    ),
    c.DNS: (
        _lt("The host name %(host)s cannot be resolved."),
        _lt(
            "Check the spelling, or enter the IP address. Names ending in .local often"
            " do not resolve on servers."
        ),
    ),
    c.REFUSED: (
        _lt("%(host)s refused the connection on port %(port)s."),
        _lt(
            "Check the port (Home Assistant's own is 8123) and that Home Assistant is"
            " running."
        ),
    ),
    c.UNREACHABLE: (
        _lt("%(host)s cannot be reached from the Odoo server (%(detail)s)."),
        _lt("Check the address, the network and the route to it."),
    ),
    c.CONNECT_TIMEOUT: (
        _lt("%(host)s did not accept the connection on port %(port)s in time."),
        _lt("Check that the machine is on and that no firewall drops the packets."),
    ),
    c.TIMEOUT: (
        _lt("%(host)s:%(port)s accepted the connection but did not answer in time."),
        _lt("Check whether Home Assistant is overloaded, or another service answers."),
    ),
    c.TLS_CERTIFICATE: (
        _lt("The TLS certificate of %(host)s is not trusted (%(detail)s)."),
        _lt(
            "Use the host name that stands in the certificate, renew it, or install its"
            " issuer on the Odoo server. Only inside a trusted network: switch"
            " “Verify TLS Certificate” off."
        ),
    ),
    c.TLS_HANDSHAKE: (
        _lt("%(host)s:%(port)s does not speak TLS (%(detail)s)."),
        _lt("If Home Assistant runs without TLS, start the URL with http://."),
    ),
    c.HTTPS_REQUIRED: (
        _lt("%(host)s:%(port)s speaks TLS only."),
        _lt("Start the URL with https://."),
    ),
    c.REDIRECT: (
        _lt("%(host)s:%(port)s redirects to %(location)s."),
        _lt("Enter the address that it redirects to; the token is not sent on."),
    ),
    c.NOT_HOME_ASSISTANT: (
        _lt("Another web server than Home Assistant answers at %(host)s:%(port)s."),
        _lt(
            "Check host and port, and the path if Home Assistant is behind a reverse"
            " proxy."
        ),
    ),
    c.SERVER_ERROR: (
        _lt("%(host)s:%(port)s answered with an error (HTTP %(status)s)."),
        _lt(
            "Check that Home Assistant is running, and the reverse proxy in front of it"
            " if there is one."
        ),
    ),
    c.PROXY_UNTRUSTED: (
        _lt("Home Assistant does not trust the reverse proxy in front of it."),
        _lt(
            "Set use_x_forwarded_for and trusted_proxies under http: in Home"
            " Assistant's configuration."
        ),
    ),
    c.PROXY_LOGIN: (
        _lt("A proxy at %(host)s:%(port)s asks for a login of its own."),
        _lt("Let the Odoo server through to Home Assistant without that login."),
    ),
    c.WEBSOCKET_BLOCKED: (
        _lt(
            "Home Assistant answers at %(host)s:%(port)s, but a proxy in between blocks"
            " its WebSocket."
        ),
        _lt(
            "Let the reverse proxy pass the headers Upgrade and Connection on, for"
            " the path /api/websocket."
        ),
    ),
    c.STARTING: (
        _lt("Home Assistant is still starting."),
        _lt("Nothing to do: Odoo waits until it is ready."),
    ),
    c.TOKEN_REJECTED: (
        _lt("Home Assistant rejected the API Token."),
        _lt(
            "Create a new long-lived access token in Home Assistant and enter it here."
            " Odoo does not try again by itself."
        ),
    ),
    c.BANNED: (
        _lt("Home Assistant refuses this server's address (HTTP 403)."),
        _lt(
            "Remove the address from ip_bans.yaml in Home Assistant, restart it, then"
            " press Restart here."
        ),
    ),
    c.PROTOCOL: (
        _lt("Home Assistant sent something unexpected (%(detail)s)."),
        _lt("Check what stands between Odoo and Home Assistant; Odoo tries again."),
    ),
    c.CONNECTION_LOST: (
        _lt("The connection was lost (%(detail)s)."),
        _lt(
            "Odoo tries again by itself. If this lasts, check the network and Home"
            " Assistant's log."
        ),
    ),
    c.NO_ANSWER: (
        _lt("Home Assistant has given no sign of life for %(seconds)s seconds."),
        _lt("Check the network and Home Assistant; Odoo tries again by itself."),
    ),
    c.COMMAND_FAILED: (
        _lt("Home Assistant reports: %(detail)s"),
        _lt("Check the values and the device in Home Assistant."),
    ),
    c.COMMAND_TIMEOUT: (
        _lt("Home Assistant has not finished %(command)s within %(seconds)s seconds."),
        _lt("It is still running; look at the state before you try again."),
    ),
    c.CANCELLED: (_lt("Stopped on request."), ""),
    INACTIVE: (
        _lt("The instance is archived."),
        _lt("Unarchive it to connect."),
    ),
    DATABASE_COPIED: (
        _lt("This database is a copy. It must not control the original's devices."),
        _lt("Press “Connect This Copy” if it really shall be connected."),
    ),
    STOP_REQUESTED: (
        _lt("The connection was stopped from odoo shell or by a program."),
        _lt("Press Restart to connect again."),
    ),
    UNSUPERVISED: (
        _lt("No Odoo process keeps this instance connected at the moment."),
        _lt(
            "Usually one takes over within seconds. If not, check that the Odoo server"
            " runs normally (not a shell, not --stop-after-init) and its log."
        ),
    ),
    NO_HEARTBEAT: (
        _lt("The connection has given no heartbeat for %(age)s seconds."),
        _lt("Odoo checks by itself; if this lasts, restart the connection."),
    ),
    BACKLOG: (
        _lt("Changes of %(pending)s entities have waited %(seconds)s s to be written."),
        _lt(
            "The database is busy or a table is locked: look for long transactions in"
            " pg_stat_activity. Nothing is lost."
        ),
    ),
    OVERFLOW: (
        _lt(
            "Changes of %(pending)s entities have waited %(seconds)s s to be written,"
            " and %(dropped)s changes of history found no room any more."
        ),
        _lt(
            "The database is busy or a table is locked: look for long transactions in"
            " pg_stat_activity. Odoo then fetches that history from Home Assistant."
        ),
    ),
    CRASHED: (
        _lt("The connection's thread crashed: %(detail)s"),
        _lt("It is started anew by itself. Report the traceback in the server log."),
    ),
    "deactivated": (_lt("The instance was archived or the server stopped."), ""),
    "deleted": (_lt("The instance was deleted."), ""),
    "misconfigured": (_lt("The configuration became incomplete."), ""),
    "changed": (_lt("The configuration changed."), ""),
    "restart_requested": (_lt("Somebody asked for a restart."), ""),
    "thread_ended": (_lt("The connection's thread had ended."), ""),
    "server_stopped": (_lt("The Odoo process ended."), ""),
    "database_lost": (_lt("The connection to the database was lost."), ""),
    "balanced": (_lt("Another Odoo process takes its share of instances."), ""),
    "unconfirmed": (_lt("This database turned out to be a copy."), ""),
    "lease_lost": (_lt("Another Odoo process owns the instance now."), ""),
    "taken_over": (
        _lt("Taken over from process %(pid)s on %(host)s, which did not end properly."),
        "",
    ),
    CONFIG_CHANGED: (_lt("%(user)s changed %(fields)s."), ""),
    CREATED: (_lt("%(user)s created the instance."), ""),
}


# Who holds a connection, by the roles of :mod:`process_role`.
OWNERS = {
    SERVER: _lt("server process %(pid)s on %(host)s"),
    CRON_WORKER: _lt("cron worker %(pid)s on %(host)s"),
    HTTP_WORKER: _lt("HTTP worker %(pid)s on %(host)s"),
}


class _Known(dict):
    """Parameters for a text; what is not known shows as a question mark."""

    def __missing__(self, key):
        return "?"


def name_owner(env, owner: dict) -> str:
    """Name the process that holds a connection, in the language of ``env``.

    :param owner: ``host``, ``pid`` and ``role``
    """
    text = OWNERS.get(owner["role"], OWNERS[SERVER])
    return env._(text) % owner  # pylint: disable=translation-not-lazy


def explain(env, cause: str | None, params: dict | None = None) -> tuple[str, str]:
    """Put a cause into words.

    :return: what is wrong and what to do, in the language of ``env``; empty
        texts without a cause, the bare code for one that is not known here
    """
    if not cause:
        return "", ""
    known = _Known(params or {})
    return tuple(
        env._(text) % known if text else ""  # pylint: disable=translation-not-lazy
        for text in EXPLANATIONS.get(cause, (cause, ""))
    )
