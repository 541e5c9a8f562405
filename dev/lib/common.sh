# Paths and small helpers shared by everything under dev/. Sourced, never run.
# shellcheck shell=bash

OHA_ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.." && pwd -P)
OHA_DEV="$OHA_ROOT/.dev"
OHA_LIB="$OHA_ROOT/dev/lib"
OHA_CACHE="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/odoo_ha_addon"
OHA_MODULE=odoo_ha_addon
export OHA_ROOT OHA_DEV

mkdir -p "$OHA_DEV"

# Progress goes to stderr: what dev/odoo prints on stdout belongs to Odoo.
say() { printf '[dev] %s\n' "$*" >&2; }

die() {
    printf '[dev] ERROR: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '[dev]        %s\n' "$line" >&2; done
    exit 1
}

# A short hash of the arguments: the key under which a build is cached.
key_of() { printf '%s\n' "$@" | sha256sum | cut -c1-12; }

# Write stdin to $1 in one step, and only when that changes it.
write_file() {
    local target=$1 mode=${2:-644} temp
    temp=$(mktemp "$target.XXXXXX")
    cat >"$temp"
    chmod "$mode" "$temp"
    if cmp -s "$temp" "$target"; then rm -f "$temp"; else mv -f "$temp" "$target"; fi
}

# Run a function under a lock, so that two clones never build the same thing at
# once. What is started for good must close the lock's descriptor: 9>&-.
with_lock() {
    local lock=$1
    shift
    mkdir -p "$(dirname -- "$lock")"
    (
        if ! flock -n 9; then
            say "waiting for another run that holds $lock"
            flock 9
        fi
        "$@"
    ) 9>"$lock"
}

# A dot every 10 s. It waits by reading from a pipe that stays empty: a sleep of
# its own would outlive it.
_tick() {
    exec 8<> <(:)
    while ! read -rt 10 -u 8 && kill -0 $$ 2>/dev/null; do printf '.' >&2; done
}

# Run a command quietly, with a dot now and then for those who wait; show its
# output only when it fails.
quietly() {
    local log ticker code=0
    log=$(mktemp "${TMPDIR:-/tmp}/oha-log.XXXXXX")
    _tick 9>&- &
    ticker=$!
    "$@" >"$log" 2>&1 || code=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$code" -ne 0 ]; then
        say "failed ($code): $*"
        tail -n 40 "$log" >&2
    fi
    rm -f "$log"
    return "$code"
}
