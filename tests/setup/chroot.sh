# Functions for a chroot of Debian in $building. Scripts beside this file source it, and run them in namespaces of their own.

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

# Make Debian's minimal system of a release in a folder, with the named packages. It has its name only if it is complete.
make_minimal() {
    release=$1
    made=$2
    shift 2
    use_proxy_of_apt
    building=$made.tmp
    rm -rf --one-file-system "$building"
    debootstrap --variant=minbase "$release" "$building" "$(mirror)"
    prepare_chroot
    [ $# = 0 ] || install_packages "$@"
    umount "$building/proc" "$building/dev"
    mv "$building" "$made"
}

# pip in the chroot has this machine's configuration and authorities, and the folders that the configuration names.
reach_index() {
    for folder in /etc/ssl/certs /usr/share/ca-certificates /usr/local/share/ca-certificates; do
        [ ! -d "$folder" ] || show_folder "$folder"
    done
    for file in /etc/pip.conf "$HOME/.config/pip/pip.conf" /etc/xdg/pip/constraints.txt; do
        [ ! -f "$file" ] || install -D -m 644 "$file" "$building$file"
    done
    pip config list 2>/dev/null | grep -oE "/[^' :]+" | sed -E 's#^/+#/#; s#/simple/?$##' | sort -u | while read -r path; do
        [ ! -d "$path" ] || [ "$path" = / ] || show_folder "$path"
    done
}

show_folder() {
    mkdir -p "$building$1"
    mount --bind -o ro "$1" "$building$1"
}
