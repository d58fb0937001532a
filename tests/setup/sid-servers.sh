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
cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/call-events-tests}
root=$cache/sid
building=$cache/sid.tmp
log=$cache/sid.log

fail() {
    echo "Debian unstable cannot be used: $1" >&2
    exit 1
}

# debootstrap downloads with wget, which does not read apt's configuration.
use_proxy_of_apt() {
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "${proxy:-}" ] || [ "$proxy" = DIRECT ] || export http_proxy="$proxy" https_proxy="$proxy"
}

# Files with which apt reaches the archive from inside, and a host name that Erlang needs.
prepare_chroot() {
    apt-config dump Acquire | grep -E '^Acquire::(https?::|Check-|Retries)' |
        grep -v Auto-Detect >"$building/etc/apt/apt.conf.d/50machine" || true
    for file in /etc/hosts /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -s "$file" ] || install -D -m 644 "$file" "$building$file"
    done
    grep -qw localhost "$building/etc/hosts" 2>/dev/null ||
        echo 127.0.0.1 localhost >>"$building/etc/hosts"
    printf '#!/bin/sh\nexit 101\n' >"$building/usr/sbin/policy-rc.d"
    chmod 755 "$building/usr/sbin/policy-rc.d"
    # The chroot gets its name when it is complete, so files need not be flushed.
    echo force-unsafe-io >"$building/etc/dpkg/dpkg.cfg.d/unsafe-io"
    mount --bind /proc "$building/proc"
    mount --bind /dev "$building/dev"
}

in_chroot() {
    chroot "$building" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive ${http_proxy:+"http_proxy=$http_proxy"} "$@"
}

install_packages() {
    in_chroot apt-get -q update
    in_chroot apt-get -q -y install --no-install-recommends "$@"
    in_chroot apt-get clean
    rm -rf "$building"/var/lib/apt/lists/*
    in_chroot dpkg-query -W "$@"
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
