#!/usr/bin/env bash
# Feeds the targets in fuzz/targets with what reaches new code, on stable Rust:
#
#   scripts/fuzz.sh TARGET [SECONDS] [ARGUMENTS-OF-LIBFUZZER...]
#   scripts/fuzz.sh all [SECONDS]       every target, as many at a time as there are processors, and a table at the end
#
# It starts with fuzz/corpus/TARGET and with the tests' own files. Inputs that reached something new are kept in
# target/fuzz/corpus; one that fails is written to target/fuzz/failures and named. Needs a C++ compiler, for libFuzzer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t names < <(basename -s .rs fuzz/targets/*.rs)
fail() { echo "fuzz: $*" >&2; exit 1; }
target=${1:-}
[[ " all ${names[*]} " == *" ${target:-none} "* ]] || fail "'$target' is no target; expected all or one of: ${names[*]}"
seconds=${2:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "'$seconds' is no number of seconds; expected one such as 60"
shift $(($# < 2 ? $# : 2))
command -v c++ >/dev/null || fail "there is no C++ compiler, which libFuzzer needs; apt-get install g++"
host=$(rustc -vV | sed -n 's/^host: //p')
out=$PWD/target/fuzz
mkdir -p "$out/failures" "$out/logs"

build() {
    # The versions that the program is built with.
    cp Cargo.lock fuzz/Cargo.lock
    # With a processor's name, build scripts and macros are built without these.
    local coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
    RUSTFLAGS="${RUSTFLAGS:-} $coverage" CARGO_TARGET_DIR=$out \
        cargo build --manifest-path fuzz/Cargo.toml --release --target "$host" "$@"
}

# The directories with what a target starts with. Templates that people wrote may be in $CORPUS.
seeds() { # TARGET
    local directories=()
    case $1 in
        arm) directories=(tests/golden/import ${CORPUS:+"$CORPUS"}) ;;
        topology) directories=(config tests/golden/config) ;;
    esac
    if [ -d "fuzz/corpus/$1" ]; then directories+=("fuzz/corpus/$1"); fi
    printf '%s\n' "${directories[@]}"
}

run() { # TARGET [ARGUMENTS-OF-LIBFUZZER...]
    local name=$1 directories
    shift
    mapfile -t directories < <(seeds "$name")
    mkdir -p "$out/corpus/$name"
    # An input that takes 30 seconds or 2 GB is a failure.
    "$out/$host/release/$name" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$out/failures/$name-" "$out/corpus/$name" "${directories[@]}" "$@"
}

if [ "$target" != all ]; then
    build --bin "$target"
    run "$target" "$@"
    exit
fi

build --bins
export -f run seeds && export out host seconds
# shellcheck disable=SC2016  # the inner shell expands it
printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -I{} bash -c 'run "$1" >"$out/logs/$1" 2>&1; echo $? >"$out/logs/$1.exit"' fuzz {}
failed=0
printf '%-12s %12s %8s\n' target executions edges >&2
for name in "${names[@]}"; do
    log=$out/logs/$name
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/^.*cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
    printf '%-12s %12s %8s\n' "$name" "${executions:-none}" "${edges:-none}" >&2
    if [ "$(cat "$log.exit")" != 0 ]; then
        failed=1
        tail -40 "$log" >&2
    fi
done
[ "$failed" = 0 ] || fail "an input fails; the lines above name its file in target/fuzz/failures"
