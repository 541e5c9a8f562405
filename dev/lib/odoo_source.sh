# Where Odoo comes from. Sourced after python.sh.
# shellcheck shell=bash

# jquery and the fonts are links out of Odoo's own package: without them in the
# same tree the asset bundles fail.
OHA_ODOO_PACKAGES=(odoo-19 libjs-jquery libjs-jquery-form libjs-underscore
    fonts-font-awesome fonts-roboto-unhinted fonts-montserrat
    fonts-inconsolata fonts-ocr-b)
OHA_ODOO_SUITE=sid

# The Debian mirror that this machine's own apt uses.
_debian_mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)' 2>/dev/null | awk -F'|' '
        $2 ~ /security/ { next }
        $1 == "Debian" && !best { best = $2 }
        $2 ~ /\/debian\/?$/ && !likely { likely = $2 }
        END { print best ? best : likely }'
}

_debian_keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.gpg \
        $(sed -rn 's/.*[Ss]igned-[Bb]y[:=] *([^] ]+).*/\1/p' /etc/apt/sources.list \
            /etc/apt/sources.list.d/* 2>/dev/null); do
        if [ -r "$file" ]; then
            printf '%s' "$file"
            return
        fi
    done
}

# An apt of our own, so that the system's lists and packages stay as they are.
_apt_root() {
    local dir=$1 mirror=$2 keyring=$3
    mkdir -p "$dir"/{lists,cache/archives}/partial
    : >"$dir/status"
    printf 'deb %s%s %s main\n' "${keyring:+[signed-by=$keyring] }" "$mirror" \
        "$OHA_ODOO_SUITE" >"$dir/sources.list"
    cat >"$dir/apt.conf" <<CONF
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
}

_unpack_odoo() {
    local dir=$1 temp mirror deb
    if [ -d "$dir" ]; then return; fi
    rm -rf -- "$dir".tmp.*
    mirror=$(_debian_mirror)
    if [ -z "$mirror" ]; then
        die "apt on this machine names no Debian mirror to take Odoo 19 from." \
            "Set ODOO_SOURCE=/path/to/an/odoo/19.0/checkout instead."
    fi
    temp=$(mktemp -d "$dir.tmp.XXXXXX")
    _apt_root "$temp/apt" "$mirror" "$(_debian_keyring)"
    say "downloading Odoo 19 as Debian packages (130 MB)"
    quietly apt-get -c "$temp/apt/apt.conf" update
    mkdir "$temp/debs" "$temp/tree"
    (cd "$temp/debs" && quietly apt-get -c "$temp/apt/apt.conf" download \
        "${OHA_ODOO_PACKAGES[@]}")
    say "unpacking Odoo 19 (1.1 GB) into $dir"
    for deb in "$temp"/debs/*.deb; do dpkg-deb -x "$deb" "$temp/tree"; done
    basename -a "$temp"/debs/*.deb >"$temp/tree/PACKAGES"
    chmod 755 "$temp/tree"
    mv -T -- "$temp/tree" "$dir"
    rm -rf -- "$temp"
}

# Sets OHA_ODOO_PATH (the directory that holds the package `odoo`) and
# OHA_ODOO_SCRIPT (what to run with the venv's python).
find_odoo() {
    if [ -n "${ODOO_SOURCE:-}" ]; then
        if [ ! -f "$ODOO_SOURCE/odoo-bin" ]; then
            die "ODOO_SOURCE=$ODOO_SOURCE has no odoo-bin."
        fi
        OHA_ODOO_PATH=$(cd -- "$ODOO_SOURCE" && pwd -P)
        OHA_ODOO_SCRIPT="$OHA_ODOO_PATH/odoo-bin"
        return
    fi
    if _find_installed_odoo; then return; fi
    local tree
    tree="$OHA_CACHE/odoo-$(key_of "$OHA_ODOO_SUITE" "${OHA_ODOO_PACKAGES[@]}")"
    if [ ! -d "$tree" ]; then
        if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
            die "Odoo 19 is not on this machine, and there is no apt to get it with." \
                "Set ODOO_SOURCE=/path/to/an/odoo/19.0/checkout."
        fi
        with_lock "$tree.lock" _unpack_odoo "$tree"
    fi
    OHA_ODOO_PATH="$tree/usr/lib/python3/dist-packages"
    OHA_ODOO_SCRIPT="$tree/usr/bin/odoo"
}

# An Odoo 19 that the python on PATH can import. It is linked into a directory
# of its own: its neighbours in site-packages must not hide the venv's packages.
_find_installed_odoo() {
    local memo="$OHA_DEV/odoo-installed" package
    if [ ! -r "$memo" ] || [ "$OHA_DEV/python" -nt "$memo" ]; then
        (cd / && "$OHA_PYTHON" -c '
import odoo, odoo.release
if odoo.release.version_info[0] == 19:
    print(list(odoo.__path__)[0])' 2>/dev/null || true) | write_file "$memo"
        touch "$memo"
    fi
    package=$(<"$memo")
    if [ -z "$package" ] || [ ! -d "$package" ]; then return 1; fi
    OHA_ODOO_PATH="$OHA_DEV/odoo-path"
    OHA_ODOO_SCRIPT="$OHA_ODOO_PATH/odoo-bin"
    mkdir -p "$OHA_ODOO_PATH"
    ln -sfn "$package" "$OHA_ODOO_PATH/odoo"
    if [ -d "$package/../addons" ]; then
        ln -sfn "$package/../addons" "$OHA_ODOO_PATH/addons"
    fi
    printf 'import odoo.cli\n\nif __name__ == "__main__":\n    odoo.cli.main()\n' |
        write_file "$OHA_ODOO_SCRIPT"
}
