"""Give the demo devices of a fresh Home Assistant the rooms that they lack."""

# The words of names, by the area that a person would put them in.
ROOMS = {
    "Living Room": ("living", "lounge", "ecobee", "ceiling", "decorative", "walkman"),
    "Kitchen": ("kitchen", "carbon", "gas"),
    "Bedroom": ("bed", "heatpump", "ac", "hygrostat", "humidifier"),
    "Office": ("office", "power", "hvac"),
    "Entrance": ("entrance", "hall", "front", "push"),
    "Garage": ("garage", "basement", "ground"),
    "Garden": ("outside", "backyard", "pergola"),
}


def furnish(server):
    """Assign areas to devices and entities that have none; once is enough.

    :param server: a running ``HomeAssistantServer``
    """
    known = server.command("config/area_registry/list")
    areas = {area["name"]: area["area_id"] for area in known}
    if set(ROOMS) <= areas.keys():
        return
    for room in ROOMS.keys() - areas.keys():
        made = server.command("config/area_registry/create", name=room)
        areas[room] = made["area_id"]
    for device in server.command("config/device_registry/list"):
        room = _room_of(device["name"] or "")
        if room and not device["area_id"]:
            server.command(
                "config/device_registry/update",
                device_id=device["id"],
                area_id=areas[room],
            )


def _room_of(name):
    words = name.lower().replace("_", " ").replace(".", " ").split()
    for room, known in ROOMS.items():
        if any(word in known for word in words):
            return room
    return None
