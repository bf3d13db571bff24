#!/bin/sh
# Builds the programs that the kernel runs for us; the objects are committed. Needs clang and the headers of libbpf.
# `scripts/bpf.sh DIR` writes them to another directory.
set -eu
cd "$(dirname "$0")/.."
to=${1:-bpf}
for source in bpf/*.bpf.c; do
    # Without the path in debug information, and without that information: the object is the same wherever it is built.
    clang -O2 -Wall -Werror -target bpf -mcpu=v3 -I"/usr/include/$(uname -m)-linux-gnu" -c "$source" \
        -o "$to/$(basename "$source" .c).o"
done
