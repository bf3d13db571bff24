#!/usr/bin/env bash
# Installs the package in a fresh Debian, uses it there, and removes it:
#
#   sudo scripts/try-deb.sh FILE.deb
#
# Needs root, /dev/net/tun and debootstrap, which fetches Debian's base packages: about a minute. DEBIAN_ROOT=DIRECTORY is
# such a system that is there already; a copy of it is used. Nothing of this system changes.
set -euo pipefail
deb=$(realpath "${1:?the package}")
fail() { echo "try-deb: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root"
[ -c /dev/net/tun ] || fail "needs /dev/net/tun"

# Mounts and processes of its own, which go with the script.
if [ "${TRY_DEB_INSIDE:-}" != yes ]; then
    work=$(mktemp -d)
    trap 'rm -rf --one-file-system "$work"' EXIT
    if [ -n "${DEBIAN_ROOT:-}" ]; then
        cp -a "$DEBIAN_ROOT" "$work/root"
    else
        command -v debootstrap >/dev/null || fail "needs debootstrap"
        # shellcheck source=/dev/null
        suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
        debootstrap --variant=minbase "$suite" "$work/root" >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; fail "debootstrap failed"; }
    fi
    TRY_DEB_INSIDE=yes unshare --mount --pid --fork --kill-child bash "${BASH_SOURCE[0]}" "$deb" "$work/root"
    exit
fi

root=$2
# A root is a mount, as everywhere else.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/dev/net"
for device in null zero urandom net/tun; do
    touch "$root/dev/$device" 2>/dev/null || true
    mount --bind "/dev/$device" "$root/dev/$device"
done
cp "$deb" "$root/tmp/vnet.deb"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"; }
step() { echo "- $*"; "$@"; }

step inside dpkg -i /tmp/vnet.deb
step inside vnet --version
step inside vnet validate /usr/share/doc/vnet/examples/hub-spoke.yaml
step inside vnet test /usr/share/doc/vnet/examples/hub-spoke.yaml
step inside vnet demo
step inside vnet exec web -- hostname
step inside vnet down
for file in /usr/share/man/man1/vnet.1.gz /usr/share/man/man1/vnet-up.1.gz /usr/lib/systemd/system/vnet@.service \
    /usr/share/bash-completion/completions/vnet; do
    [ -e "$root$file" ] || fail "$file is not in the package"
done
step inside dpkg -r vnet
step inside dpkg --purge vnet
left=$(find "$root/usr" "$root/etc" "$root/run" -name '*vnet*')
[ -z "$left" ] || fail "these are left: $left"
echo "installed, used and removed"
