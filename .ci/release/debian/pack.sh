#!/bin/sh
# Pack a venv with the unit, the settings and the maintainer scripts. Prints the path of the package.
#
#   pack.sh VENV PYTHON FOLDER
#
# PYTHON is the name of the venv's interpreter, such as python3.11. SOURCE_DATE_EPOCH is the time of every file.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../../.." && pwd)
venv=$1
python=$2
folder=$3
packages=$(echo "$venv"/lib/python3*/site-packages)
umask 022
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
documents=$root/usr/share/doc/call-events

# The version of the wheel as Debian orders versions: 1.0rc1 and 1.0.dev2 come before 1.0.
version_of_wheel() {
    basename "$packages"/call_events_ingest-*.dist-info .dist-info |
        sed -E -e 's/^call_events_ingest-//' -e ':again' -e 's/^([^+]*[0-9])\.?(a|b|rc|dev)([0-9])/\1~\2\3/' -e 'tagain'
}

# Packages of one version differ between releases of Debian, and the newer release's is the newer package.
release() {
    . /etc/os-release
    echo "${ID:-linux}${VERSION_ID:-}" | sed 's/^debian/deb/'
}

put_files() {
    install -d "$root/usr/lib/systemd/system" "$root/usr/bin" "$root/etc/call-events" "$documents" \
        "$root/usr/share/lintian/overrides"
    cp -a "$venv" "$root/usr/lib/call-events"
    ln -sfn "../../../bin/$python" "$root/usr/lib/call-events/bin/python"
    ln -s ../lib/call-events/bin/ingest "$root/usr/bin/ingest"
    install -m 644 "$source/docs/systemd/call-events.service" "$root/usr/lib/systemd/system"
    install -m 640 "$here/env" "$root/etc/call-events"
    install -m 644 "$here/lintian-overrides" "$root/usr/share/lintian/overrides/call-events"
    python3 "$here/copyright.py" "$packages" <"$source/LICENSE" >"$documents/copyright"
    gzip -9n <"$source/CHANGELOG.md" >"$documents/changelog.gz"
    changelog | gzip -9n >"$documents/changelog.Debian.gz"
}

changelog() {
    printf 'call-events (%s) unstable; urgency=medium\n\n  * Built from the sources. changelog.gz lists the changes.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
}

put_control() {
    install -d "$root/DEBIAN"
    echo /etc/call-events/env >"$root/DEBIAN/conffiles"
    for script in preinst postinst prerm postrm; do
        install -m 755 "$here/$script" "$root/DEBIAN"
    done
    (cd "$root" && find etc usr -type f ! -path etc/call-events/env -print0 | LC_ALL=C sort -z | xargs -0 md5sum) \
        >"$root/DEBIAN/md5sums"
    sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@PYTHON@/$python/" \
        -e "s/@MAINTAINER@/$maintainer/" -e "s/@KIBIBYTES@/$(kibibytes)/" "$here/control" >"$root/DEBIAN/control"
}

# The sum of the files, as folders have other sizes on other file systems.
kibibytes() {
    find "$root/etc" "$root/usr" -type f -printf '%s\n' | awk '{sum += int(($1 + 1023) / 1024)} END {print sum}'
}

maintainer="${DEBFULLNAME:-The Call Events Service authors} <${DEBEMAIL:-call-events@packages.invalid}>"
version=$(version_of_wheel)-1~$(release)
architecture=$(dpkg --print-architecture)
put_files
put_control
# Modes do not depend on the umask of whoever made the venv. Some wheels have modules that are executable by mistake.
chmod 755 "$root"
find "$root/usr" "$root/etc" -type d -exec chmod 755 {} + -o -type f ! -path "$root/etc/*" -exec chmod 644 {} +
chmod 755 "$root/usr/lib/call-events/bin/ingest"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$folder"
package=$folder/call-events_${version}_$architecture.deb
# More threads would cut the compressed data at other places.
dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$root" "$package" >&2
echo "$package"
