#!/usr/bin/env bash
# Fails if the program that `cargo build --release` gives has 20 MB or more:
#
#   scripts/size.sh           builds it first
#   scripts/size.sh FILE      measures a program that is built already
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
most=20000000
program=${1:-}
if [ -z "$program" ]; then
    cargo build --release --locked --bin vnet >&2
    program=${CARGO_TARGET_DIR:-target}/release/vnet
fi
size=$(stat -c %s -- "$program")
if [ "$size" -ge "$most" ]; then
    echo "size: $program has $size bytes; expected fewer than $most: find what grew with \`cargo bloat --release\`" >&2
    exit 1
fi
echo "$program has $size of $most bytes"
