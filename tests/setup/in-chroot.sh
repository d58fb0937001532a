#!/bin/sh
# Make a bare Debian system, or run a command in one.
#
#   in-chroot.sh make RELEASE [PACKAGE...]    print the folder of a minimal system with these packages
#   in-chroot.sh run FOLDER USER [NAME=VALUE...] COMMAND...   run COMMAND in FOLDER as USER, with this environment alone
#
# The systems stay in ${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/call-events-tests}. Copy one before you change it.
# Needs root. Each command has its own mount and process namespaces: mounts and processes end with it. COMMAND is the
# first process of its namespace, and thus the only child of this script's process.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/mirror.sh"
. "$here/chroot.sh"
cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/call-events-tests}

fail() {
    echo "in-chroot.sh: $1" >&2
    exit 1
}

isolated() {
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh "$0" "$@"
}

make() {
    folder=$cache/$(echo "minimal $*" | tr ' ' -)
    exec 9>"$folder.lock"
    flock -w 900 9 || fail "another run has been making $folder for 15 minutes"
    if [ ! -d "$folder" ]; then
        sh "$here/debian-packages.sh" debootstrap >&2 || fail "debootstrap could not be installed"
        [ -n "$(mirror)" ] || fail "apt's sources on this machine name no Debian archive"
        isolated --build "$folder" "$@" >"$folder.log" 2>&1 </dev/null || fail "see $folder.log"
    fi
    echo "$folder"
}

build() {
    folder=$1
    release=$2
    shift 2
    make_minimal "$release" "$folder" "$@"
}

# A service may end by SIGTERM, so the command replaces every shell.
run() {
    building=$1
    user=$2
    shift 2
    mount --bind /proc "$building/proc"
    mount --bind /dev "$building/dev"
    [ -z "${REACH_INDEX:-}" ] || reach_index
    exec chroot --userspec="$user" "$building" /usr/bin/env -i "$@"
}

[ "$(id -u)" = 0 ] || fail "making and using a chroot needs root"
mkdir -p "$cache"
step=$1
shift
case $step in
    make) make "$@" ;;
    run) exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh "$0" --run "$@" ;;
    --build) build "$@" ;;
    --run) run "$@" ;;
    *) fail "say make or run" ;;
esac
