"""Limits, times (seconds unless the name says otherwise) and service lists."""

from typing import Final

# --- one connection
CONNECT_TIMEOUT: Final = 10.0  # DNS, TCP, TLS and upgrade together
AUTH_TIMEOUT: Final = 10.0  # Home Assistant itself drops the socket after 10 s
SEND_TIMEOUT: Final = 5.0
CLOSE_TIMEOUT: Final = 0.3
ADDRESS_STAGGER: Final = 0.25  # head start of an address over the next one
READ_BUFFER_BYTES: Final = 256 * 1024
HANDSHAKE_LIMIT_BYTES: Final = 1024 * 1024
HEAD_BYTES: Final = 2048  # of what a peer says first
MESSAGE_LIMIT_BYTES: Final = 256 * 1024 * 1024
SEND_LIMIT_BYTES: Final = 4 * 1024 * 1024 - 1  # Home Assistant takes no more
DETAIL_LENGTH: Final = 300  # characters of a peer's text kept in an error

# --- one session
IDLE_BEFORE_PING: Final = 5.0
PONG_TIMEOUT: Final = 20.0
BEHIND_S: Final = 0.5  # without a pause between reads
PROBE_BEHIND_S: Final = 0.05  # … after that, find out how late we are
LAG_LIMIT_S: Final = 0.3  # later than that is too late
MANY_MESSAGES: Final = 1000  # fewer may wait in Home Assistant without a risk
RELIEF_S: Final = 1.0  # then no states are asked for
PROGRESS_BYTES: Final = 16 * 1024  # so much of an unfinished frame is a sign of life
COMMAND_TIMEOUT: Final = 60.0
CONFIG_POLL_INTERVAL: Final = 5.0
REGISTRY_DEBOUNCE: Final = 0.2
REGISTRY_DEBOUNCE_MAX: Final = 0.5
REGISTRY_POLL_INTERVAL: Final = 300.0  # registries whose events we may not have

# --- REST
REST_CONNECT_TIMEOUT: Final = 2.0
REST_ANSWER_TIMEOUT: Final = 5.0
REST_LIMIT_BYTES: Final = 32 * 1024 * 1024

# --- configuration
TOKEN_MIN_LENGTH: Final = 10

# --- reconnecting
BACKOFF_BASE: Final = 1.0
BACKOFF_CAP: Final = 60.0
BACKOFF_FLOOR: Final = 0.1
BACKOFF_RESET_AFTER: Final = 60.0
BACKOFF_LOOK_AGAIN: Final = 8.0

STATE_RUNNING: Final = "RUNNING"

_ON_OFF = frozenset({"turn_on", "turn_off", "toggle"})
_SELECT = frozenset(
    {"select_option", "select_next", "select_previous", "select_first", "select_last"}
)
_COVER = frozenset(
    {
        f"{action}_cover{tilt}"
        for action in ("open", "close", "stop")
        for tilt in ("", "_tilt")
    }
    | {"toggle", "toggle_cover_tilt"}
    | {"set_cover_position", "set_cover_tilt_position"}
)

# What an ordinary user may call on an entity of a domain. Left out on purpose:
# services that write configuration (set_default, reload), play arbitrary media or
# send arbitrary commands (play_media, send_command), or touch other entities (join).
ENTITY_SERVICES: Final[dict[str, frozenset[str]]] = {
    "alarm_control_panel": frozenset(
        {
            "alarm_disarm",
            "alarm_arm_home",
            "alarm_arm_away",
            "alarm_arm_night",
            "alarm_arm_vacation",
            "alarm_arm_custom_bypass",
            "alarm_trigger",
        }
    ),
    "automation": _ON_OFF | {"trigger"},
    "button": frozenset({"press"}),
    "camera": frozenset({"turn_on", "turn_off"}),
    "climate": _ON_OFF
    | {
        "set_temperature",
        "set_hvac_mode",
        "set_fan_mode",
        "set_preset_mode",
        "set_humidity",
        "set_swing_mode",
        "set_swing_horizontal_mode",
    },
    "counter": frozenset({"increment", "decrement", "reset", "set_value"}),
    "cover": _COVER,
    "date": frozenset({"set_value"}),
    "datetime": frozenset({"set_value"}),
    "fan": _ON_OFF
    | {
        "set_percentage",
        "set_preset_mode",
        "oscillate",
        "set_direction",
        "increase_speed",
        "decrease_speed",
    },
    "humidifier": _ON_OFF | {"set_humidity", "set_mode"},
    "input_boolean": _ON_OFF,
    "input_button": frozenset({"press"}),
    "input_datetime": frozenset({"set_datetime"}),
    "input_number": frozenset({"set_value", "increment", "decrement"}),
    "input_select": _SELECT,
    "input_text": frozenset({"set_value"}),
    "lawn_mower": frozenset({"start_mowing", "pause", "dock"}),
    "light": _ON_OFF,
    "lock": frozenset({"lock", "unlock", "open"}),
    "media_player": _ON_OFF
    | {
        "volume_up",
        "volume_down",
        "volume_set",
        "volume_mute",
        "media_play",
        "media_pause",
        "media_play_pause",
        "media_stop",
        "media_next_track",
        "media_previous_track",
        "media_seek",
        "select_source",
        "select_sound_mode",
        "shuffle_set",
        "repeat_set",
        "clear_playlist",
    },
    "number": frozenset({"set_value"}),
    "remote": _ON_OFF,
    "scene": frozenset({"turn_on"}),
    "script": _ON_OFF,
    "select": _SELECT,
    "siren": _ON_OFF,
    "switch": _ON_OFF,
    "text": frozenset({"set_value"}),
    "time": frozenset({"set_value"}),
    "timer": frozenset({"start", "pause", "cancel", "finish", "change"}),
    "update": frozenset({"install", "skip", "clear_skipped"}),
    "vacuum": frozenset(
        {
            "start",
            "pause",
            "stop",
            "return_to_base",
            "clean_spot",
            "locate",
            "set_fan_speed",
        }
    ),
    "valve": frozenset(
        {"open_valve", "close_valve", "stop_valve", "set_valve_position", "toggle"}
    ),
    "water_heater": frozenset(
        {"turn_on", "turn_off", "set_temperature", "set_operation_mode"}
        | {"set_away_mode"}
    ),
}

# Services of the domain ``homeassistant`` that act on any entity.
HOMEASSISTANT_SERVICES: Final[frozenset[str]] = _ON_OFF | {"update_entity"}
