"""A home for the bench: what its entities are called, say and look like.

Everything follows from the numbers of entities, devices and areas, so the load
generator and whoever checks its work need not tell each other.
"""

import json

LABELS = 10
# What 20 consecutive entities are: mostly sensors, as in a building.
KINDS = [
    "temperature",
    "humidity",
    "power",
    "energy",
    "voltage",
    "current",
    "co2",
] * 2 + ["motion", "door", "switch", "light", "text", "number"]
_SENSORS = {
    "temperature": ("°C", "measurement"),
    "humidity": ("%", "measurement"),
    "power": ("W", "measurement"),
    "energy": ("kWh", "total_increasing"),
    "voltage": ("V", "measurement"),
    "current": ("A", "measurement"),
    "co2": ("ppm", "measurement"),
}
_DOMAINS = {
    **dict.fromkeys((*_SENSORS, "text"), "sensor"),
    **dict.fromkeys(("motion", "door"), "binary_sensor"),
    **{name: name for name in ("switch", "light", "number")},
}
_TEXTS = ("idle", "heating", "cooling", "defrosting", "cleaning", "error 7")


class Home:
    """``entities`` with ``devices`` in ``areas``; entities are known by number."""

    def __init__(self, entities=5000, devices=1000, areas=50):
        self.areas, self.devices = areas, devices
        self.kinds = [KINDS[number % len(KINDS)] for number in range(entities)]
        self.ids = [
            f"{_DOMAINS[kind]}.{kind}_room_{number % areas:02d}_{number:05d}"
            for number, kind in enumerate(self.kinds)
        ]
        self.attributes = [
            json.dumps(self._attributes(number), separators=(",", ":"))
            for number in range(entities)
        ]

    def __len__(self):
        return len(self.ids)

    def state(self, number, count):
        """The state after ``count`` changes; never that of the change before."""
        kind = self.kinds[number]
        if kind in _SENSORS or kind == "number":
            return f"{(number * 7 + count) % 10000 / 10:.1f}"
        if kind == "text":
            return _TEXTS[(number + count) % len(_TEXTS)]
        return "on" if (number + count) % 2 else "off"

    def _attributes(self, number):
        """300 to 450 bytes as JSON, as integrations over MQTT and Zigbee send."""
        kind = self.kinds[number]
        device = number % self.devices
        name = f"Device {device} {kind.capitalize()}"
        attributes = {"friendly_name": name, "device_class": kind}
        if kind in _SENSORS:
            unit, state_class = _SENSORS[kind]
            attributes |= {"unit_of_measurement": unit, "state_class": state_class}
        elif kind == "number":
            attributes |= {"min": 0, "max": 1000, "step": 0.1, "mode": "slider"}
            attributes.pop("device_class")
        elif kind in ("light", "switch", "text"):
            attributes.pop("device_class")
        if kind == "light":
            modes = ["color_temp", "hs"]
            attributes |= {"supported_color_modes": modes, "brightness": number % 256}
            attributes |= {"hs_color": [number % 360, 60], "supported_features": 44}
        return {
            **attributes,
            "linkquality": number % 256,
            "battery": 100 - number % 60,
            "last_seen": "2026-01-15T10:20:30.123456+00:00",
            "ieee_address": f"00:12:4b:00:{number:08x}",
            "update_available": False,
            "firmware": {"installed": "1.4.2", "latest": "1.4.2", "state": "idle"},
            "attribution": "Measured by a device of the bench",
        }

    # -- registries, as the real one lists them -------------------------------

    def registry(self, kind):
        return getattr(self, f"_{kind}_rows")()

    def _floor_rows(self):
        return [{"floor_id": "f0", "name": "Ground Floor", "level": 0, "icon": None}]

    def _label_rows(self):
        return [
            {"label_id": f"l{n}", "name": f"Label {n}", "color": "red", "icon": None}
            for n in range(LABELS)
        ]

    def _area_rows(self):
        return [
            {
                "area_id": f"room_{n:02d}",
                "name": f"Room {n}",
                "floor_id": "f0",
                "icon": None,
                "labels": [],
                "aliases": [],
                "picture": None,
            }
            for n in range(self.areas)
        ]

    def _device_rows(self):
        return [
            {
                "id": f"{n:032x}",
                "name": f"Device {n}",
                "name_by_user": None,
                "manufacturer": "Works",
                "model": f"Model {n % 20}",
                "sw_version": "1.4.2",
                "hw_version": None,
                "area_id": f"room_{n % self.areas:02d}",
                "config_entries": ["0123456789abcdef0123456789abcdef"],
                "connections": [],
                "identifiers": [["mqtt", f"device_{n}"]],
                "disabled_by": None,
                "entry_type": None,
                "labels": [],
                "via_device_id": None,
            }
            for n in range(self.devices)
        ]

    def _entity_rows(self):
        """Nine of ten entities; the others have a state and no entry."""
        return [
            {
                "id": f"e{n:031x}",
                "entity_id": entity_id,
                "name": None,
                "original_name": self.kinds[n].capitalize(),
                "platform": "mqtt",
                "device_id": f"{n % self.devices:032x}",
                "area_id": None,
                "labels": [f"l{n % LABELS}"] if n % 3 == 0 else [],
                "categories": {},
                "config_entry_id": "0123456789abcdef0123456789abcdef",
                "disabled_by": None,
                "entity_category": "diagnostic" if n % 20 == 6 else None,
                "has_entity_name": True,
                "hidden_by": None,
                "icon": None,
                "options": {"conversation": {"should_expose": False}},
                "translation_key": None,
                "unique_id": f"{n:08x}_{self.kinds[n]}",
            }
            for n, entity_id in enumerate(self.ids)
            if n % 10 != 9
        ]
