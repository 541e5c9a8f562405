# Python and its virtual environments. Sourced after common.sh.
# shellcheck shell=bash

# Sets OHA_PYTHON and OHA_PYTHON_MINOR: the first usable interpreter, remembered
# because asking it costs (through a version manager's shim most of all).
find_python() {
    local memo="$OHA_DEV/python" asked="PYTHON=${PYTHON:-}" candidate known='' found
    if [ -r "$memo" ]; then
        { read -r known && read -r OHA_PYTHON && read -r OHA_PYTHON_MINOR; } <"$memo" || true
        if [ "$known" = "$asked" ] && [ -x "$OHA_PYTHON" ]; then return; fi
    fi
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.13; do
        found=$("$candidate" -c '
import ensurepip, sys, venv
if sys.version_info[:2] in ((3, 11), (3, 13)):
    print(getattr(sys, "_base_executable", sys.executable), sys.version_info[1], sep="\n")
' 2>/dev/null) || continue
        if [ -n "$found" ]; then
            { read -r OHA_PYTHON && read -r OHA_PYTHON_MINOR; } <<<"$found"
            printf '%s\n%s\n' "$asked" "$found" | write_file "$memo"
            return
        fi
    done
    die "Python 3.11 or 3.13 with its venv module is needed." \
        "On Debian: apt-get install python3 python3-venv; or set PYTHON=/path/to/python3.11"
}

_build_venv() {
    local dir=$1 mark="$1/.complete"
    shift
    if [ -e "$mark" ]; then return; fi
    # A venv cannot be moved, so it is made in its place; without the mark
    # at its end it counts as half-made.
    rm -rf -- "$dir"
    "$OHA_PYTHON" -m venv "$dir"
    local args=() file
    for file in "$@"; do args+=(-r "$file"); done
    quietly "$dir/bin/python" -m pip install --disable-pip-version-check --no-input \
        "${args[@]}"
    touch "$mark"
}

# ensure_venv NAME REQUIREMENTS...  sets OHA_VENV
ensure_venv() {
    local name=$1
    shift
    find_python
    OHA_VENV="$OHA_CACHE/venv-$name-$(key_of "$OHA_PYTHON" "$(cat -- "$@")")"
    if [ -e "$OHA_VENV/.complete" ]; then return; fi
    say "installing the Python packages of '$name' into $OHA_VENV"
    with_lock "$OHA_VENV.lock" _build_venv "$OHA_VENV" "$@"
}
