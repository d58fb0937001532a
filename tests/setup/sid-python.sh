#!/bin/sh
# Unpack a Python of Debian's unstable suite with its libraries, for benchmarks and tests.
#
#   sid-python.sh VERSION
#
# VERSION is 3.13, for example. Prints the interpreter in the folder
# ${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/call-events-tests}/sid-pythonVERSION (80 MB,
# about ten seconds). If the folder exists, the script does nothing; remove the folder to get a
# newer build. A Python that unstable no longer has comes from Debian 13.
#
# The interpreter runs without a chroot. It loads the C library of its own folder, as this
# machine's may be too old for it. Needs root only if patchelf is missing. If it cannot be
# installed, the script prints "Python VERSION cannot be installed: REASON" and exits with 1.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/mirror.sh"
version=$1
cache=${INGEST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/call-events-tests}
root=$cache/sid-python$version
building=$root.tmp
log=$root.log
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "Python $version cannot be installed: $1" >&2
    exit 1
}

# apt with its own lists and an empty list of installed packages, so that each dependency counts as missing.
apt() {
    apt-get -q -o Dir::Etc::sourcelist="$building/apt/sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$building/apt/lists" \
        -o Dir::State::status="$building/apt/status" -o Dir::Cache="$building/apt" \
        -o Acquire::Languages=none -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}

download() {
    mkdir -p "$building/apt/lists/partial" "$building/apt/archives/partial"
    : >"$building/apt/status"
    for suite in sid trixie; do
        echo "deb [signed-by=$keyring] $1 $suite main"
    done >"$building/apt/sources"
    apt update
    # Wheels of other packages need libstdc++.
    apt -y --no-install-recommends --download-only install "python$version" "python$version-venv" libstdc++6
}

# The paths name the finished folder.
relocate() {
    loader=$(cd "$building" && echo usr/lib/*/ld-linux-*.so.*)
    patchelf --set-interpreter "$root/$loader" --force-rpath --set-rpath "$root/$(dirname "$loader")" \
        "$building/usr/bin/python$version"
    sed -i "s#'/usr/share/python-wheels#'$root/usr/share/python-wheels#" "$building/usr/lib/python$version"/_sysconfigdata_*.py
}

# All output goes to the log.
build() {
    download "$1"
    for package in "$building"/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$building"
    done
    relocate
    rm -rf "$building/apt"
}

if [ "${2:-}" = --build ]; then
    build "$3"
    exit
fi

# The folder has this name only if it is complete.
if [ ! -d "$root" ]; then
    sh "$here/debian-packages.sh" patchelf >&2 || fail "patchelf could not be installed"
    mirror=$(mirror)
    [ -n "$mirror" ] || fail "apt's sources on this machine name no Debian archive"
    mkdir -p "$cache"
    exec 9>"$root.lock"
    flock -w 900 9 || fail "another run has been making $root for 15 minutes"
fi
if [ ! -d "$root" ]; then
    rm -rf "$building"
    mkdir "$building"
    sh "$0" "$version" --build "$mirror" >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        rm -rf "$building"
        fail "apt could not download or unpack it (above: the end of $log)"
    }
    mv "$building" "$root"
fi
echo "$root/usr/bin/python$version"
