"""How an entity's state and attributes read for people, as in Home Assistant."""

import re
from datetime import UTC, datetime

from markupsafe import Markup

from odoo.tools import format_datetime
from odoo.tools.translate import LazyTranslate

from ...ha_client.model import number_of

_lt = LazyTranslate(__name__)

SECRET_TEXT = "••••••"
VALUE_LENGTH = 500  # characters of an attribute that are shown
SLUG = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
# States that are a moment in time.
MOMENT_DOMAINS = {"button", "datetime", "event", "input_button", "scene"}
# States that somebody typed or made up: shown as they are.
LITERAL_DOMAINS = {"input_select", "input_text", "select", "text"}
# Attributes that are shown elsewhere, mean nothing to people, or give access.
HIDDEN_ATTRIBUTES = {
    "access_token",
    "attribution",
    "device_class",
    "entity_picture",
    "friendly_name",
    "icon",
    "supported_features",
    "unit_of_measurement",
}

STATE_TEXTS = {
    "unavailable": _lt("Unavailable"),
    "unknown": _lt("Unknown"),
    "on": _lt("On"),
    "off": _lt("Off"),
    "open": _lt("Open"),
    "opening": _lt("Opening"),
    "closed": _lt("Closed"),
    "closing": _lt("Closing"),
    "stopped": _lt("Stopped"),
    "locked": _lt("Locked"),
    "locking": _lt("Locking"),
    "unlocked": _lt("Unlocked"),
    "unlocking": _lt("Unlocking"),
    "jammed": _lt("Jammed"),
    "home": _lt("Home"),
    "not_home": _lt("Away"),
    "idle": _lt("Idle"),
    "standby": _lt("Standby"),
    "playing": _lt("Playing"),
    "paused": _lt("Paused"),
    "buffering": _lt("Buffering"),
    "heat": _lt("Heat"),
    "cool": _lt("Cool"),
    "heat_cool": _lt("Heat/Cool"),
    "auto": _lt("Auto"),
    "dry": _lt("Drying"),
    "fan_only": _lt("Fan Only"),
    "eco": _lt("Eco"),
    "disarmed": _lt("Disarmed"),
    "arming": _lt("Arming"),
    "disarming": _lt("Disarming"),
    "pending": _lt("Pending"),
    "triggered": _lt("Triggered"),
    "armed_home": _lt("Armed, Home"),
    "armed_away": _lt("Armed, Away"),
    "armed_night": _lt("Armed, Night"),
    "armed_vacation": _lt("Armed, Vacation"),
    "armed_custom_bypass": _lt("Armed, Custom"),
    "cleaning": _lt("Cleaning"),
    "docked": _lt("Docked"),
    "returning": _lt("Returning to Dock"),
    "mowing": _lt("Mowing"),
    "error": _lt("Error"),
    "streaming": _lt("Streaming"),
    "recording": _lt("Recording"),
    "active": _lt("Active"),
    "above_horizon": _lt("Above Horizon"),
    "below_horizon": _lt("Below Horizon"),
    "clear-night": _lt("Clear, Night"),
    "cloudy": _lt("Cloudy"),
    "exceptional": _lt("Exceptional"),
    "fog": _lt("Fog"),
    "hail": _lt("Hail"),
    "lightning": _lt("Lightning"),
    "lightning-rainy": _lt("Lightning, Rainy"),
    "partlycloudy": _lt("Partly Cloudy"),
    "pouring": _lt("Pouring"),
    "rainy": _lt("Rainy"),
    "snowy": _lt("Snowy"),
    "snowy-rainy": _lt("Snowy, Rainy"),
    "sunny": _lt("Sunny"),
    "windy": _lt("Windy"),
    "windy-variant": _lt("Windy, Cloudy"),
}
_OPEN = (_lt("Open"), _lt("Closed"))
_DETECTED = (_lt("Detected"), _lt("Clear"))
_UPDATE = (_lt("Update Available"), _lt("Up-to-date"))
# What on and off of a binary sensor mean, by device class.
BINARY_TEXTS = {
    "battery": (_lt("Low"), _lt("Normal")),
    "battery_charging": (_lt("Charging"), _lt("Not Charging")),
    "carbon_monoxide": _DETECTED,
    "cold": (_lt("Cold"), _lt("Normal")),
    "connectivity": (_lt("Connected"), _lt("Disconnected")),
    "door": _OPEN,
    "garage_door": _OPEN,
    "gas": _DETECTED,
    "heat": (_lt("Hot"), _lt("Normal")),
    "light": (_lt("Light"), _lt("No Light")),
    "lock": (_lt("Unlocked"), _lt("Locked")),
    "moisture": (_lt("Wet"), _lt("Dry")),
    "motion": _DETECTED,
    "moving": (_lt("Moving"), _lt("Not Moving")),
    "occupancy": _DETECTED,
    "opening": _OPEN,
    "plug": (_lt("Plugged In"), _lt("Unplugged")),
    "power": (_lt("Power"), _lt("No Power")),
    "presence": (_lt("Home"), _lt("Away")),
    "problem": (_lt("Problem"), _lt("OK")),
    "running": (_lt("Running"), _lt("Not Running")),
    "safety": (_lt("Unsafe"), _lt("Safe")),
    "smoke": _DETECTED,
    "sound": _DETECTED,
    "tamper": _DETECTED,
    "update": _UPDATE,
    "vibration": _DETECTED,
    "window": _OPEN,
}


def state_text(entity, past_state: str | None = None) -> str | bool:
    """The state of one ``ha.entity`` in words, in the language of its ``env``.

    :param past_state: a state that it once had; by default its present one
    """
    env, domain = entity.env, entity.domain
    state, is_numeric = entity.state, entity.is_numeric
    if past_state is not None:
        state, is_numeric = past_state, number_of(past_state) is not None
    if not state:
        return False
    if state in ("unavailable", "unknown"):
        return env._(STATE_TEXTS[state])  # pylint: disable=translation-not-lazy
    if domain in LITERAL_DOMAINS:
        is_password = (entity.attributes or {}).get("mode") == "password"
        return SECRET_TEXT if is_password else state
    if is_numeric:
        return f"{state} {entity.unit}" if entity.unit else state
    if domain in MOMENT_DOMAINS or entity.device_class == "timestamp":
        return _moment_text(env, state)
    if state in ("on", "off"):
        text = _on_off_text(domain, entity.device_class, state == "off")
    elif domain == "sensor" and entity.device_class != "enum":
        return state
    elif state in STATE_TEXTS:
        text = STATE_TEXTS[state]
    else:
        return _words(state)
    return env._(text)  # pylint: disable=translation-not-lazy


def state_tables(env) -> dict:
    """What a browser needs to do the same as :func:`state_text` with new values.

    :return: ``states``, ``binary`` (by device class) and ``update`` (texts of on and
        off) in the language of ``env``; ``literal_domains`` and ``moment_domains``;
        ``secret``, the text of a password
    """

    def texts(values):
        return [env._(text) for text in values]  # pylint: disable=translation-not-lazy

    return {
        "states": dict(zip(STATE_TEXTS, texts(STATE_TEXTS.values()), strict=True)),
        "binary": {name: texts(pair) for name, pair in BINARY_TEXTS.items()},
        "update": texts(_UPDATE),
        "literal_domains": sorted(LITERAL_DOMAINS),
        "moment_domains": sorted(MOMENT_DOMAINS),
        "secret": SECRET_TEXT,
    }


def attributes_table(entity) -> Markup:
    """The attributes of one ``ha.entity`` as a table, without what is internal."""
    rows = [
        Markup("<tr><th>%s</th><td>%s</td></tr>") % (_words(key), _value_text(value))
        for key, value in sorted((entity.attributes or {}).items())
        if key not in HIDDEN_ATTRIBUTES and value not in (None, "", [], {})
    ]
    if not rows:
        return Markup()
    return Markup('<table class="table table-sm o_ha_attributes"><tbody>%s</tbody>') % (
        Markup().join(rows)
    ) + Markup("</table>")


def _on_off_text(domain: str, device_class: str | bool, is_off: bool):
    texts = (STATE_TEXTS["on"], STATE_TEXTS["off"])
    if domain == "update":
        texts = _UPDATE
    elif domain == "binary_sensor":
        texts = BINARY_TEXTS.get(device_class, texts)
    return texts[is_off]


def _moment_text(env, state: str) -> str:
    try:
        moment = datetime.fromisoformat(state)
    except ValueError:
        return state
    if moment.tzinfo:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return format_datetime(env, moment, dt_format="medium")


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize() if SLUG.fullmatch(name) else name


def _value_text(value) -> str:
    if isinstance(value, list):
        text = ", ".join(_value_text(item) for item in value)
    elif isinstance(value, dict):
        text = ", ".join(f"{key}: {_value_text(item)}" for key, item in value.items())
    else:
        text = str(value)
    return text if len(text) <= VALUE_LENGTH else f"{text[:VALUE_LENGTH]}…"
