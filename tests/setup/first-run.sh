#!/bin/sh
# Run `make run` on bare machines as a new user does. Print its output, and the seconds to the first stored event.
#
#   first-run.sh [MACHINE...]
#
# Each machine is a chroot with Debian's minimal system, python3 and make. pip's cache is empty.
#
#   bare      Debian 12 without python3-venv
#   told      the same, after the package that `make run` names is installed
#   old       Debian 12 whose Python says that it is 3.10: Debian has no release with a real one
#   new       Debian 13, with Python 3.13 and python3-venv
#
# Needs root. The chroots stay in ${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/call-events-tests} (0.5 GB), and the
# next run is quicker. Each run has its own mount and process namespaces, and a copy of the chroot.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/mirror.sh"
. "$here/chroot.sh"
cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/call-events-tests}
token='X-API-TOKEN: super-secret-token'
event='{"call_id": "1", "from_number": "1000", "to_number": "1001", "event_type": "call_started", "timestamp": "2025-01-31T13:45:00Z"}'
SECONDS_MAX=300

fail() {
    echo "first-run.sh: $1" >&2
    exit 1
}

# Make the minimal system of a release, with what every user of `make` has.
build() {
    release=$1
    shift
    make_minimal "$release" "$cache/$release" make python3 "$@"
}

# Copy the system and the checkout to a folder of this run.
unpack() {
    building=$cache/first-run.$1
    rm -rf --one-file-system "$building"
    cp -a "$cache/$2" "$building"
    mount --bind /proc "$building/proc"
    mount --bind /dev "$building/dev"
    mkdir "$building/root/service"
    (cd "$here/../.." && git ls-files -z --cached --others --exclude-standard |
        xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' - |
        tar -c --null -T - | tar -x -C "$building/root/service")
}

now() {
    date +%s.%N
}

# Set $cpu to the CPU seconds of all processes that this shell has started and waited for.
count_cpu() {
    times >"$building.times"
    cpu=$(awk -F '[ms ]+' 'NR == 2 {print 60 * ($1 + $3) + $2 + $4}' "$building.times")
}

# Succeed once the service has stored an event, and say when. Fail if `make run` ended before.
first_event() {
    began=$1
    while kill -0 "$making" 2>/dev/null; do
        status=$(curl -s -m 2 -o /dev/null -w '%{http_code}' -H "$token" -d "$event" \
            "http://127.0.0.1:$port/api/call-events" || true)
        if [ "$status" = 200 ]; then
            echo "$began $(now)" | awk -v load="$(cut -d ' ' -f 1 /proc/loadavg)" -v cores="$(nproc)" \
                '{printf "first event stored after %.1f s, at a load of %s on %s cores\n", $2 - $1, load, cores}'
            return
        fi
        echo "$began $(now)" | awk "{exit \$2 - \$1 > $SECONDS_MAX}" || return
        sleep 0.1
    done
}

make_run() {
    port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    count_cpu
    cpu_before=$cpu
    began=$(now)
    pip_settings=$(env | grep -E '^(PIP_|SSL_CERT_)' || true)
    # shellcheck disable=SC2086 # each line is one setting
    chroot "$building" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root $pip_settings \
        INGEST_PORT="$port" make --no-print-directory -C /root/service run >"$building.log" 2>&1 &
    making=$!
    first_event "$began" >"$building.result"
    kill "$making" 2>/dev/null || true
    code=0
    wait "$making" 2>/dev/null || code=$?
    count_cpu
    sed -e 's/^/  | /' -e '/"level":/d' "$building.log" | cut -c -160
    [ -s "$building.result" ] && sed 's/^/  /' "$building.result" || echo "  no event was stored; make ended with $code"
    echo "$cpu_before $cpu" | awk '{printf "  %.1f s of CPU time until the end\n", $2 - $1}'
}

try() {
    use_proxy_of_apt
    case $1 in
        bare | told | old) unpack "$1" bookworm ;;
        new) unpack "$1" trixie ;;
    esac
    case $1 in
        told) install_packages python3-venv >"$cache/told.log" 2>&1 || fail "see $cache/told.log" ;;
        old) echo 'import sys; sys.version_info = (3, 10, 12, "final", 0)' \
            >"$building/usr/lib/python3/dist-packages/old.pth" ;;
    esac
    reach_index
    make_run
    umount -l "$building/proc" "$building/dev"
}

# Run a step of this script in its own namespaces. Mounts and processes end with it.
isolated() {
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh "$0" "$@" </dev/null
}

case ${1:-} in
    --build | --try)
        step=${1#--}
        shift
        "$step" "$@"
        exit
        ;;
esac

[ "$(id -u)" = 0 ] || fail "making and using a chroot needs root"
sh "$here/debian-packages.sh" debootstrap curl >&2 || fail "debootstrap could not be installed"
[ -n "$(mirror)" ] || fail "apt's sources on this machine name no Debian archive"
mkdir -p "$cache"
[ -d "$cache/bookworm" ] || isolated --build bookworm >"$cache/bookworm.log" 2>&1 || fail "see $cache/bookworm.log"
[ -d "$cache/trixie" ] || isolated --build trixie python3-venv >"$cache/trixie.log" 2>&1 || fail "see $cache/trixie.log"
[ $# -gt 0 ] || set -- bare told old new
for machine in "$@"; do
    echo "$machine:"
    isolated --try "$machine"
    rm -rf --one-file-system "$cache/first-run.$machine"*
done
