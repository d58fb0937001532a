#!/bin/sh
# Build a Debian package of the service, for this machine's release and architecture.
#
#   build.sh FOLDER    build it, and print the path of the file in FOLDER
#
# The package holds a venv of all dependencies, from the lock files and their hashes. Its interpreter is Debian's own,
# so Debian's updates of Python and OpenSSL reach the service. That binds the package to one Debian release.
# Two builds of one commit are the same bytes: every time in them is the commit's, or SOURCE_DATE_EPOCH.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../../.." && pwd)
interpreter=/usr/bin/python3
place=/usr/lib/call-events
pip=${PIP:-$source/.venv/bin/pip}

fail() {
    echo "build.sh: $1" >&2
    exit 1
}

# A venv is a configuration and a link. Its paths are those of the installed package.
make_venv() {
    mkdir -p "$venv/bin" "$venv/lib/$python/site-packages"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "${python#python}" >"$venv/pyvenv.cfg"
    ln -s "/usr/bin/$python" "$venv/bin/python"
}

install_packages() {
    (cd "$source" && "$pip" -qq --disable-pip-version-check --python "$venv/bin/python" install --no-compile \
        --only-binary :all: --require-hashes --no-deps -r requirements.lock -r requirements-otel.lock)
    "$pip" -qq --disable-pip-version-check wheel --no-build-isolation --no-deps --no-index --wheel-dir "$work" "$source"
    "$pip" -qq --disable-pip-version-check --python "$venv/bin/python" install --no-compile --no-index --no-deps "$work"/*.whl
}

# pip notes paths of this machine in these files. dpkg keeps the list of files, so nothing needs pip's.
forget_this_machine() {
    find "$venv/lib" -path '*.dist-info/*' \( -name RECORD -o -name direct_url.json -o -name REQUESTED \) -delete
    find "$venv/lib" -name __pycache__ -prune -exec rm -rf {} +
    find "$venv/bin" -type f ! -name ingest -delete
    sed -i "1s#.*#\#!$place/bin/python#" "$venv/bin/ingest"
}

# The service runs neither the wheels' sources in C nor their symbols for a debugger: two thirds of the size.
leave_out_sources() {
    find "$venv/lib" -type f \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' \) -delete
    find "$venv/lib" -type f \( -name '*.so' -o -name '*.so.*' \) -exec strip --strip-unneeded --remove-section=.comment {} +
}

[ $# = 1 ] || fail "name the folder for the package"
command -v dpkg-deb >/dev/null || fail "there is no dpkg-deb: a Debian package needs Debian's dpkg"
command -v strip >/dev/null || fail "there is no strip; on Debian: apt install binutils"
python=$("$interpreter" -c 'import sys; print("python%d.%d" % sys.version_info[:2])') ||
    fail "$interpreter does not run; on Debian 12 and newer: apt install python3"
case $python in python3.[0-9] | python3.10) fail "$interpreter is $python, and the service needs 3.11 or newer" ;; esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct 2>/dev/null || true)}
[ -n "$SOURCE_DATE_EPOCH" ] || fail "this is no clone: set SOURCE_DATE_EPOCH to the time of the release, in seconds"
export SOURCE_DATE_EPOCH

umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=$work/venv
make_venv
install_packages
forget_this_machine
leave_out_sources
sh "$here/pack.sh" "$venv" "$python" "$1"
