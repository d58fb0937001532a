#!/bin/sh
# Create a chroot with MySQL 9 and RabbitMQ 4 of Debian's unstable suite, for the tests.
#
#   sid-servers.sh [PACKAGE...]
#
# Prints the chroot's folder: ${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/call-events-tests}/sid
# (0.9 GB, about a minute). Named packages are installed as well. If the folder exists and has
# the packages, the script does nothing; remove the folder to get newer servers. Needs root. Unstable changes daily. If it cannot be installed, the
# script prints "Debian unstable cannot be used: REASON" and exits with 1.
#
# The script works in its own mount and process namespaces. Its mounts, and processes that a
# package starts, end with it, so nothing needs to be undone.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/mirror.sh"
. "$here/chroot.sh"
cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/call-events-tests}
root=$cache/sid
building=$cache/sid.tmp
log=$cache/sid.log

fail() {
    echo "Debian unstable cannot be used: $1" >&2
    exit 1
}

# The two steps below run inside the namespaces. All output goes to the log.
build() {
    use_proxy_of_apt
    debootstrap --variant=minbase sid "$building" "$1"
    prepare_chroot
    install_packages mysql-server-core mysql-client-core rabbitmq-server
    in_chroot mysqld --version
}

# An earlier run that was killed may have left packages half installed.
add() {
    use_proxy_of_apt
    building=$root
    prepare_chroot
    in_chroot dpkg --configure -a
    install_packages "$@"
}

case ${1:-} in
    --build | --add)
        step=${1#--}
        shift
        "$step" "$@"
        exit
        ;;
esac

has_packages() {
    for package in "$@"; do
        dpkg-query --admindir "$root/var/lib/dpkg" -W -f '${Status}' "$package" 2>/dev/null |
            grep -q ' installed$' || return 1
    done
}

# Run a step of this script in its own namespaces.
isolated() {
    unshare --mount --propagation private true 2>/dev/null ||
        fail "this machine does not let root make a mount namespace"
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        sh "$0" "$@" >"$log" 2>&1 </dev/null && return
    tail -n 20 "$log" >&2
    return 1
}

# The chroot has this name only if it is complete.
if [ -d "$root" ] && has_packages "$@"; then
    echo "$root"
    exit
fi
[ "$(id -u)" = 0 ] || fail "making and using a chroot needs root"
sh "$here/debian-packages.sh" debootstrap >&2 || fail "debootstrap could not be installed"
mirror=$(mirror)
[ -n "$mirror" ] || fail "apt's sources on this machine name no Debian archive"

mkdir -p "$cache"
exec 9>"$cache/sid.lock"
flock -w 900 9 || fail "another run has been making $root for 15 minutes"
if [ ! -d "$root" ]; then
    rm -rf --one-file-system "$building"
    isolated --build "$mirror" || {
        rm -rf --one-file-system "$building"
        fail "Debian unstable could not be installed (above: the end of $log)"
    }
    mv "$building" "$root"
fi
has_packages "$@" || isolated --add "$@" ||
    fail "these packages of Debian unstable could not be installed: $* (above: the end of $log)"
echo "$root"
