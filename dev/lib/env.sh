# The environment of Odoo and its tests. Sourced by the commands in dev/, and by
# whoever wants psql, createdb … of the clone's own server:  . dev/lib/env.sh
# shellcheck shell=bash

_oha_lib=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=dev/lib/common.sh
. "$_oha_lib/common.sh"
# shellcheck source=dev/lib/python.sh
. "$_oha_lib/python.sh"
# shellcheck source=dev/lib/odoo_source.sh
. "$_oha_lib/odoo_source.sh"
# shellcheck source=dev/lib/postgres.sh
. "$_oha_lib/postgres.sh"
unset _oha_lib

_write_odoo_rc() {
    write_file "$ODOO_RC" 600 <<CONF
[options]
addons_path = $OHA_DEV/addons
data_dir = $OHA_DEV/data
db_host = $PGHOST
db_port = ${PGPORT:-5432}
db_user = ${PGUSER:-$(id -un)}
db_name =
list_db = True
http_interface = 127.0.0.1
screenshots = $OHA_DEV/test/screens
CONF
}

# Everything that Odoo needs, down to a running database server.
provision_odoo() {
    ensure_venv odoo "$OHA_ROOT/dev/requirements/odoo.txt" "$OHA_ROOT/dev/requirements/test.txt"
    export OHA_ODOO_VENV=$OHA_VENV
    find_odoo
    postgres_settings "$OHA_ODOO_VENV"
    mkdir -p "$OHA_DEV/addons" "$OHA_DEV/data"
    if [ "$(readlink "$OHA_DEV/addons/$OHA_MODULE" || true)" != "$OHA_ROOT" ]; then
        ln -sfn "$OHA_ROOT" "$OHA_DEV/addons/$OHA_MODULE"
    fi
    export ODOO_RC="$OHA_DEV/odoo.conf"
    export ODOO_HA_DEV="$OHA_ROOT/dev/odoo"
    export PYTHONPATH="$OHA_ODOO_PATH${PYTHONPATH:+:$PYTHONPATH}"
    export PATH="$OHA_ODOO_VENV/bin:$OHA_PG_BIN:$PATH"
    export OHA_ODOO_SCRIPT
    _write_odoo_rc
    ensure_postgres
}

# Note this very process for dev/stop, before it becomes another program; see
# processes.py, which reads it.
record_process() {
    local stat fields
    mkdir -p "$OHA_DEV/run"
    stat=$(<"/proc/$$/stat")
    read -ra fields <<<"${stat##*) }"
    printf '%s %s\n' "${fields[19]}" "${ODOO_HA_DB_PREFIX:-}" >"$OHA_DEV/run/$1.$$"
}
