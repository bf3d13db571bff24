#!/usr/bin/env bash
# Feeds one of the targets in fuzz/targets with what reaches new code, on stable Rust:
#
#   scripts/fuzz.sh bgp|packet|template|topology [SECONDS] [ARGUMENTS-OF-LIBFUZZER...]
#
# Inputs that reached something are kept in target/fuzz/corpus; one that fails is written there, too, and named.
# Needs a C++ compiler, for libFuzzer.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:?"bgp, packet, template or topology"}
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))
host=$(rustc -vV | sed -n 's/^host: //p')
out=$PWD/target/fuzz
# With a target named, build scripts and macros are built without these.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
RUSTFLAGS="${RUSTFLAGS:-} $coverage" CARGO_TARGET_DIR=$out \
  cargo build --manifest-path fuzz/Cargo.toml --release --target "$host" --bin "$target"
mkdir -p "$out/corpus/$target"
if [ "$target" = topology ]; then cp -n config/*.yaml tests/golden/config/*.yaml "$out/corpus/$target/"; fi
# Templates that people wrote may be somewhere else.
if [ "$target" = template ] && [ -n "${CORPUS:-}" ]; then
  find "$CORPUS" -name 'azuredeploy.json' | while read -r file; do cp -n "$file" "$out/corpus/$target/$(md5sum <"$file" | cut -c1-16)"; done
fi
exec "$out/$host/release/$target" -max_total_time="$seconds" -artifact_prefix="$out/" "$out/corpus/$target" "$@"
