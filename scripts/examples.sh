#!/usr/bin/env bash
# Runs the tests of every file in config/ with real packets, and prints one table. Needs root. Exit code 1 if a test fails.
# Arguments are files to run instead. VNET names the program; without it, it is built. JOBS labs run at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

if ((EUID != 0)); then
    say "The tests send real packets: run this as root."
    exit 4
fi
if [[ -z ${VNET:-} ]]; then
    cargo build --locked
    VNET=${CARGO_TARGET_DIR:-target}/debug/vnet
fi
VNET=$(realpath "$VNET")
# The programs of these files are part of this repository.
export VNET_ALLOW_RUN=1
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# The tests of one file. A file that attaches namespaces finds them below a directory that only its own processes see.
run() {
    local file=$1 out=$2 names
    names=$(sed -n 's/.*attach: {namespace: \([a-z0-9-]*\).*/\1/p' "$file")
    if [[ -z $names ]]; then
        "$VNET" test "$file" >"$out" 2>&1
        return
    fi
    # shellcheck disable=SC2016 # the inner shell expands these
    unshare --mount bash -euc '
        mkdir -p /run/netns
        mount -t tmpfs names /run/netns
        for name in $3; do
            ip netns add "$name"
            ip -n "$name" link set lo up
        done
        exec "$1" test "$2"
    ' - "$VNET" "$file" "$names" >"$out" 2>&1
}

# One line of the table: the file, its result, counts, seconds.
row() {
    local file=$1 out begun=$EPOCHREALTIME code=0
    out=$results/$(basename "$file").out
    run "$file" "$out" || code=$?
    local passed failed skipped
    passed=$(grep -c '^ok ' "$out" || true)
    skipped=$(grep -c '^ok .* # SKIP ' "$out" || true)
    failed=$(grep -c '^not ok ' "$out" || true)
    awk -v file="$file" -v code="$code" -v passed="$((passed - skipped))" -v failed="$failed" -v skipped="$skipped" \
        -v seconds="$(awk -v a="$EPOCHREALTIME" -v b="$begun" 'BEGIN {print a - b}')" \
        'BEGIN {printf "%-44s %-7s %6d %6d %7d %8.1f\n", file, code == 0 ? "ok" : "not ok", passed, failed, skipped, seconds}' \
        >"$results/$(basename "$file").row"
    echo "$code" >"$results/$(basename "$file").code"
}

files=("$@")
((${#files[@]})) || files=(config/*.yaml)
jobs=${JOBS:-$(nproc)}
for file in "${files[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
    row "$file" &
done
wait

printf '%-44s %-7s %6s %6s %7s %8s\n' File Result Passed Failed Skipped Seconds
cat "$results"/*.row
broken=0
for file in "${files[@]}"; do
    name=$(basename "$file")
    if [[ $(cat "$results/$name.code") != 0 ]]; then
        broken=1
        say "" "$file:"
        cat "$results/$name.out" >&2
    fi
done
exit "$broken"
