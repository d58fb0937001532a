#!/bin/sh
# Install missing Debian packages of the test servers, or the named packages.
#
#   debian-packages.sh [PACKAGE...]
#
# If all packages are installed, the script does nothing and needs no rights. It never
# starts a service. A machine with an init system may start rabbitmq-server or prometheus
# at its next boot; use "systemctl disable" there. On failure the script prints the reason
# and exits with 1.
set -eu

policy=/usr/sbin/policy-rc.d

fail() {
    echo "debian-packages: $1" >&2
    exit 1
}

# The programs that the tests need of a package. For other packages dpkg is asked.
programs() {
    case $1 in
        mariadb-server-core) echo mariadbd mariadb-install-db ;;
        mariadb-client-core) echo mariadb ;;
        rabbitmq-server) echo rabbitmq-server rabbitmqctl rabbitmq-plugins epmd ;;
        prometheus) echo prometheus promtool ;;
        debootstrap) echo debootstrap ;;
        nodejs) echo node ;;
        npm) echo npm ;;
        default-jdk-headless) echo java javac ;;
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

# For invoke-rc.d and deb-systemd-invoke 101 means "forbidden". An existing policy is the
# administrator's, and stays. The script goes on only if it forbids starting.
forbid_starting() {
    if [ -e "$policy" ]; then
        code=0
        "$policy" rabbitmq-server start >/dev/null 2>&1 || code=$?
        [ "$code" = 101 ] || fail "$policy exists and lets packages start services"
        return
    fi
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

# The daemons are in sbin, which is not on every user's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
[ $# -gt 0 ] || set -- mariadb-server-core mariadb-client-core rabbitmq-server prometheus
missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || fail "there is no apt-get; install these packages yourself:$missing"
as_root "$@"

exec 9>/run/call-events-packages.lock
flock -w 900 9 || fail "another run has been installing for 15 minutes"
missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0

export DEBIAN_FRONTEND=noninteractive
forbid_starting
apt-get -q -o DPkg::Lock::Timeout=300 update || fail "apt-get update failed"
# Unquoted, so that each package is one word.
# shellcheck disable=SC2086
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing ||
    fail "apt-get could not install:$missing"
missing=$(missing_of "$@")
[ -z "$missing" ] || fail "installed, but their programs are missing:$missing"
