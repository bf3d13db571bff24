#!/usr/bin/env bash
# Makes the files of a release, for the processor of this machine, in target/release-files:
#
#   scripts/release.sh              everything: it builds first, which takes minutes
#   scripts/release.sh --twice      builds a second time elsewhere, and compares all files byte by byte
#
#   vnet-VERSION-ARCH-linux.tar.gz  the static program, manual pages, completions, unit, licences, examples
#   vnet_VERSION_ARCH.deb           the same for Debian and Ubuntu
#   vnet-VERSION-ARCH-oci.tar       an image from scratch, in the OCI layout
#   vnet-VERSION.cdx.json           what it is made of (CycloneDX)
#   SHA256SUMS
#
# VNET_BINARY=FILE takes a program that is built already. RELEASE_FILES=DIRECTORY is another place for the files.
# Needs cargo-deb and cargo-cyclonedx: cargo install cargo-deb cargo-cyclonedx --locked.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
out=${RELEASE_FILES:-$root/target/release-files}
host=$(rustc -vV | sed -n 's/^host: //p')
arch=${host%%-*}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# The same bytes whenever and wherever it is made: no time but the commit's, no path of this machine.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C
umask 022

fail() { echo "release: $*" >&2; exit 1; }
for tool in cargo-deb cargo-cyclonedx python3; do
    command -v "$tool" >/dev/null || fail "$tool is missing; cargo install cargo-deb cargo-cyclonedx --locked"
done

# Prints the path of the program. Without debug information and symbols: those are for profiles of one's own.
build() { # TARGET-DIRECTORY
    local cargo_home=${CARGO_HOME:-$HOME/.cargo} cpu=""
    if [ "$arch" = x86_64 ]; then cpu="-C target-cpu=x86-64-v3"; fi
    RUSTFLAGS="$cpu -C target-feature=+crt-static --remap-path-prefix=$root=/vnet --remap-path-prefix=$cargo_home=/cargo" \
    CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$1=/target" \
    CARGO_PROFILE_DIST_STRIP=symbols CARGO_PROFILE_DIST_DEBUG=none \
        cargo build --profile dist --locked --target "$host" --bin vnet --target-dir "$1" >&2
    echo "$1/$host/dist/vnet"
}

# A tar file that depends on what it has alone.
pack() { # FILE DIRECTORY
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu -C "$(dirname "$2")" -cf - "$(basename "$2")" \
        | gzip -n9 >"$1"
}

# What a package has besides the program.
gather() { # PROGRAM DIRECTORY
    local program=$1 to=$2
    rm -rf "$to" && mkdir -p "$to"/{man,completions,config}
    install -m 755 "$program" "$to/vnet"
    "$to/vnet" man "$to/man" >/dev/null
    gzip -n9 "$to"/man/*
    "$to/vnet" completions bash >"$to/completions/vnet"
    "$to/vnet" completions zsh >"$to/completions/_vnet"
    "$to/vnet" completions fish >"$to/completions/vnet.fish"
    cp packaging/vnet@.service README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$to"
    cp config/*.yaml "$to/config"
}

sbom() { # FILE
    cargo cyclonedx --format json --spec-version 1.5 --override-filename vnet-release --quiet
    # Paths of this machine say nothing about the program. Cargo leaves a package's name out where its directory has it.
    sed -e "s|$root|/vnet|g" -e 's|/vnet#vnet@|/vnet#|g' vnet-release.json >"$1"
    rm vnet-release.json
}

make_all() { # PROGRAM DIRECTORY
    local program=$1 to=$2 staged=$root/target/package
    mkdir -p "$to" && rm -f "$to"/*
    gather "$program" "$staged"
    cp -r "$staged" "$root/target/vnet-$version"
    pack "$to/vnet-$version-$arch-linux.tar.gz" "$root/target/vnet-$version"
    rm -rf "$root/target/vnet-$version"
    cargo deb --no-build --no-strip --quiet --output "$to/"
    python3 scripts/oci.py "$staged/vnet" "$to/vnet-$version-$arch-oci.tar" --version "$version"
    sbom "$to/vnet-$version.cdx.json"
    (cd "$to" && sha256sum -- * >SHA256SUMS)
}

program=${VNET_BINARY:-$(build "$root/target/static")}
make_all "$program" "$out"
if [ "${1:-}" = --twice ]; then
    again=$(mktemp -d)
    trap 'rm -rf "$again"' EXIT
    program=${VNET_BINARY:-$(build "$again/target")}
    make_all "$program" "$again/files"
    diff -r "$out" "$again/files" || fail "the second time gave other bytes"
    echo "twice the same bytes" >&2
fi
cat "$out/SHA256SUMS"
