# Node and the linters written for it. Sourced after python.sh.
# shellcheck shell=bash

_build_node_modules() {
    local dir=$1
    if [ -e "$dir/.complete" ]; then return; fi
    rm -rf -- "$dir"
    mkdir -p "$dir"
    cp "$OHA_ROOT/package.json" "$OHA_ROOT/package-lock.json" "$OHA_ROOT/.npmrc" "$dir/"
    (cd "$dir" && quietly npm ci --no-audit --no-fund --ignore-scripts 9>&-)
    touch "$dir/.complete"
}

# Puts node on PATH: the machine's when it is new enough, else a wheel's.
_find_node() {
    if command -v npm >/dev/null && node -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit(major > 18 || (major === 18 && minor >= 18) ? 0 : 1)' 2>/dev/null; then
        return
    fi
    ensure_venv node "$OHA_ROOT/dev/requirements/node.txt"
    export PATH="$OHA_VENV/bin:$PATH"
    # Unlike Debian's, this one would not trust what the machine trusts.
    local certificates=/etc/ssl/certs/ca-certificates.crt
    if [ -r "$certificates" ]; then
        export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$certificates}"
    fi
}

# Puts eslint and prettier on PATH, with their plugins where they look for them.
provision_node() {
    _find_node
    local dir
    dir="$OHA_CACHE/node-$(key_of "$(node --version)" "$(cat "$OHA_ROOT"/package*.json)")"
    if [ ! -e "$dir/.complete" ]; then
        say "installing the packages of package-lock.json into $dir"
        with_lock "$dir.lock" _build_node_modules "$dir"
    fi
    export NODE_PATH="$dir/node_modules"
    export PATH="$dir/node_modules/.bin:$PATH"
}
