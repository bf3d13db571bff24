#!/usr/bin/env bash
# Puts vnet on the path of a CI job. By environment:
#
#   VNET_BINARY   a program that is there already, or
#   VNET_VERSION  the version of a release, as in 0.1.0, and
#   VNET_RELEASES where releases are: VNET_RELEASES/vVERSION/vnet-VERSION-ARCH-linux.tar.gz, and SHA256SUMS beside it
#   VNET_BIN      the directory that gets it (RUNNER_TEMP or TMPDIR, then vnet-bin)
#
# A download is checked against SHA256SUMS. On GitHub the directory goes onto the path of later steps.
set -euo pipefail
fail() { echo "vnet: $*" >&2; exit 1; }

bin=${VNET_BIN:-${RUNNER_TEMP:-${TMPDIR:-/tmp}}/vnet-bin}
mkdir -p "$bin"
if [ -n "${VNET_BINARY:-}" ]; then
    # As a workflow's file has it: no shell has looked at it.
    case $VNET_BINARY in "~/"*) VNET_BINARY=$HOME/${VNET_BINARY#??} ;; esac
    [ -f "$VNET_BINARY" ] || fail "there is no file $VNET_BINARY: give the path of the program, or a version"
    install -m 755 "$VNET_BINARY" "$bin/vnet"
else
    [ -n "${VNET_VERSION:-}" ] || fail "neither a version nor the path of a program is given"
    [ -n "${VNET_RELEASES:-}" ] || fail "VNET_RELEASES is not set: where are the releases?"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    name=vnet-$VNET_VERSION-$(uname -m)-linux
    for file in "$name.tar.gz" SHA256SUMS; do
        from=$VNET_RELEASES/v$VNET_VERSION/$file
        curl --fail --silent --show-error --location --retry 3 --output "$work/$file" "$from" || fail "cannot fetch $from"
    done
    (cd "$work" && sha256sum --check --strict --ignore-missing SHA256SUMS >&2) || fail "the download is not what SHA256SUMS says"
    tar -C "$work" -xzf "$work/$name.tar.gz"
    install -m 755 "$work/vnet-$VNET_VERSION/vnet" "$bin/vnet"
fi
"$bin/vnet" --version
if [ -n "${GITHUB_PATH:-}" ]; then echo "$bin" >>"$GITHUB_PATH"; fi
