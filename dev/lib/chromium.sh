# The browser of the web client's tests. Sourced after common.sh.
# shellcheck shell=bash

# Exports CHROME_BIN; Odoo itself looks for chromium on PATH.
ensure_chromium() {
    local name
    for name in google-chrome chromium chromium-browser google-chrome-stable; do
        if CHROME_BIN=$(command -v "$name"); then
            export CHROME_BIN
            return
        fi
    done
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        die "The web client's tests need Chromium, which is not on this machine." \
            "Install it (on Debian as root: apt-get install chromium), or run" \
            "the tests without a browser: dev/test tests/pure"
    fi
    with_lock "$OHA_CACHE/apt.lock" _install_chromium
    CHROME_BIN=$(command -v chromium) || die "Debian's chromium brought no command."
    export CHROME_BIN
}

_install_chromium() {
    if command -v chromium >/dev/null; then return; fi
    say "installing Chromium with apt"
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get update 9>&-
    quietly apt-get install -y --no-install-recommends chromium 9>&-
}
