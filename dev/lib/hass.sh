# A real Home Assistant. Sourced after python.sh.
# shellcheck shell=bash

# Exports HA_BIN, the hass command of a venv of its own.
provision_hass() {
    find_python
    local pins=homeassistant.txt
    if [ "$OHA_PYTHON_MINOR" = 13 ]; then pins=homeassistant-py313.txt; fi
    ensure_venv hass "$OHA_ROOT/dev/requirements/$pins"
    export HA_BIN="$OHA_VENV/bin/hass"
}
