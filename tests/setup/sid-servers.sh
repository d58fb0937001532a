#!/bin/sh
# Make a chroot with MySQL 9 and RabbitMQ 4 of Debian's unstable suite, for the tests.
#
#   sid-servers.sh
#
# Prints the chroot's folder: ${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/call-events-tests}/sid
# (0.9 GB, about a minute). Does nothing when it is there; remove the folder to get newer
# servers. Needs root. Unstable changes daily: where it cannot be installed, this says
# "the MySQL 9 leg cannot run: REASON" and exits with 1.
#
# The work is done in mount and process namespaces of its own: its mounts and whatever a
# package starts end with it, however it ends, and nothing needs to be undone.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/call-events-tests}
root=$cache/sid
building=$cache/sid.tmp
log=$cache/sid.log

fail() {
    echo "the MySQL 9 leg cannot run: $1" >&2
    exit 1
}

# Of apt's own reading of its sources (both formats), the archive of this release.
mirror() {
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
        while read -r suite uri; do
            case $suite in
                "$codename" | stable | testing | unstable | sid) ;;
                *) continue ;;
            esac
            case $uri in
                http://* | https://* | file:/*) echo "$uri" && break ;;
            esac
        done
}

# debootstrap downloads with wget, which does not read apt's configuration.
use_proxy_of_apt() {
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "${proxy:-}" ] || [ "$proxy" = DIRECT ] || export http_proxy="$proxy" https_proxy="$proxy"
}

# What apt needs to reach the archive from inside, and a name that Erlang needs.
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
    # The chroot is renamed into place when complete: no need to flush each file.
    echo force-unsafe-io >"$building/etc/dpkg/dpkg.cfg.d/unsafe-io"
    mount --bind /proc "$building/proc"
    mount --bind /dev "$building/dev"
}

in_chroot() {
    chroot "$building" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive ${http_proxy:+"http_proxy=$http_proxy"} "$@"
}

# Runs inside the namespaces; all output goes to the log.
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

# It gets this name only when it is complete.
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
