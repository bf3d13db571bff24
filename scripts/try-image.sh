#!/usr/bin/env bash
# Runs the program of an image in the image's own root, without a container engine:
#
#   sudo scripts/try-image.sh IMAGE.tar
#
# Needs root and /dev/net/tun. The root has what the image has, and what an engine gives it with
# `--device /dev/net/tun --privileged`.
set -euo pipefail
image=$(realpath "${1:?the image}")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
fail() { echo "try-image: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root"
if [ "${TRY_IMAGE_INSIDE:-}" != yes ]; then
    work=$(mktemp -d)
    trap 'rm -rf --one-file-system "$work"' EXIT
    TRY_IMAGE_INSIDE=yes unshare --mount --pid --fork --kill-child --net bash "${BASH_SOURCE[0]}" "$image" "$work"
    exit
fi

work=$2
mkdir "$work/image" "$work/root"
tar -C "$work/image" -xf "$image"
blob() { echo "$work/image/blobs/sha256/${1#sha256:}"; }
digest() { python3 -c 'import json, sys; value = json.load(open(sys.argv[1]))
for key in sys.argv[2].split("."): value = value[int(key) if key.isdigit() else key]
print(value)' "$@"; }
manifest=$(blob "$(digest "$work/image/index.json" manifests.0.digest)")
for file in "$work"/image/blobs/sha256/*; do
    [ "$(sha256sum <"$file")" = "$(basename "$file")  -" ] || fail "$file is not what its name says"
done
tar -C "$work/root" -xzf "$(blob "$(digest "$manifest" layers.0.digest)")"
program=$(digest "$(blob "$(digest "$manifest" config.digest)")" config.Entrypoint.0)
# A root is a mount, as everywhere else.
mount --bind "$work/root" "$work/root"
mount -t proc proc "$work/root/proc"
mount -t sysfs sysfs "$work/root/sys"
mkdir -p "$work/root/dev/net" "$work/root/lab"
for device in null zero urandom net/tun; do
    touch "$work/root/dev/$device"
    mount --bind "/dev/$device" "$work/root/dev/$device"
done
cp "$here"/config/*.yaml "$work/root/lab"
inside() { chroot "$work/root" "$program" "$@"; }
step() { echo "- vnet $*"; inside "$@"; }
step --version
step test /lab/hub-spoke.yaml
step up /lab/hub-spoke.yaml
step ls
step down
echo "the image works"
