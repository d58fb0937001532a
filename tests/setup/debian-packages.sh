#!/bin/sh
# Install the Debian packages of the test servers (or those named), where they are missing.
#
#   debian-packages.sh [PACKAGE...]
#
# Does nothing, and needs no rights, when all are there. Never starts a service now; a
# machine with an init system may start rabbitmq-server or prometheus at its next boot
# ("systemctl disable" them there). Exit code 1, with the reason, when it cannot.
set -eu

policy=/usr/sbin/policy-rc.d

fail() {
    echo "debian-packages: $1" >&2
    exit 1
}

# The programs that the tests need of a package; other packages are asked of dpkg.
programs() {
    case $1 in
        mariadb-server-core) echo mariadbd mariadb-install-db ;;
        mariadb-client-core) echo mariadb ;;
        rabbitmq-server) echo rabbitmq-server rabbitmqctl rabbitmq-plugins epmd ;;
        prometheus) echo prometheus promtool ;;
        debootstrap) echo debootstrap ;;
    esac
}

is_there() {
    names=$(programs "$1")
    if [ -z "$names" ]; then
        dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' installed$'
        return
    fi
    for name in $names; do
        command -v "$name" >/dev/null || return 1
    done
}

missing_of() {
    for package in "$@"; do
        is_there "$package" || printf ' %s' "$package"
    done
}

as_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || fail "needs root (there is no sudo) to install:$missing"
    sudo -n true 2>/dev/null || fail "needs root (sudo asks for a password) to install:$missing"
    exec sudo -n sh "$0" "$@"
}

# 101 means "forbidden" to invoke-rc.d and deb-systemd-invoke. A policy that is there
# already is the administrator's and stays; only one that forbids starting will do.
forbid_starting() {
    if [ -e "$policy" ]; then
        code=0
        "$policy" rabbitmq-server start >/dev/null 2>&1 || code=$?
        [ "$code" = 101 ] || fail "$policy is there and lets packages start services"
        return
    fi
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

# sbin is not on every user's path, and the daemons are there.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
[ $# -gt 0 ] || set -- mariadb-server-core mariadb-client-core rabbitmq-server prometheus
missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || fail "no apt-get here; install these yourself:$missing"
as_root "$@"

exec 9>/run/call-events-packages.lock
flock -w 900 9 || fail "another run has been installing for 15 minutes"
missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0

export DEBIAN_FRONTEND=noninteractive
forbid_starting
apt-get -q -o DPkg::Lock::Timeout=300 update || fail "apt-get update failed"
# Unquoted: one word a package.
# shellcheck disable=SC2086
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing ||
    fail "apt-get could not install:$missing"
missing=$(missing_of "$@")
[ -z "$missing" ] || fail "installed, but their programs are not there:$missing"
