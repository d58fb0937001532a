#!/bin/sh
# Create a chroot with MySQL 9 and RabbitMQ 4 of Debian's unstable suite, for the tests.
#
#   sid-servers.sh
#
# Prints the chroot's folder: ${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/call-events-tests}/sid
# (0.9 GB, about a minute). If the folder exists, the script does nothing; remove the folder
# to get newer servers. Needs root. Unstable changes daily. If it cannot be installed, the
# script prints "the MySQL 9 leg cannot run: REASON" and exits with 1.
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
    echo "the MySQL 9 leg cannot run: $1" >&2
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

# This runs inside the namespaces. All output goes to the log.
build() {
    use_proxy_of_apt
    debootstrap --variant=minbase sid "$building" "$1"
    prepare_chroot
    in_chroot apt-get -q update
    in_chroot apt-get -q -y install --no-install-recommends \
        mysql-server-core mysql-client-core rabbitmq-server
    in_chroot apt-get clean
    rm -rf "$building"/var/lib/apt/lists/*
    in_chroot mysqld --version
    in_chroot dpkg-query -W mysql-server-core rabbitmq-server erlang-base
}

if [ "${1:-}" = --build ]; then
    build "$2"
    exit
fi

# The chroot has this name only if it is complete.
if [ -d "$root" ]; then
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
    unshare --mount --propagation private true 2>/dev/null ||
        fail "this machine does not let root make a mount namespace"
    rm -rf --one-file-system "$building"
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        sh "$0" --build "$mirror" >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        rm -rf --one-file-system "$building"
        fail "Debian unstable could not be installed (above: the end of $log)"
    }
    mv "$building" "$root"
fi
echo "$root"
