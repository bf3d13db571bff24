#!/usr/bin/env bash
# Everything a commit must pass: format, lints, docs, tests. The same here, on a laptop and in CI.
# One step after the other: each keeps all cores busy by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
    printf '\n== %s\n' "$*" >&2
    "$@"
}

step cargo fmt --all --check
step cargo clippy --all-targets --locked -- -D warnings
RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" step cargo doc --no-deps --locked
# Most tests wait, for timers and for guests. On two cores netns takes 394 s with two threads, and 227 s with four.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"
failed=0
step cargo test --locked --no-fail-fast || failed=$?
# Once more with TUNs, which labs have where the kernel loads no programs; whatever failed before.
VNET_DEVICE=tun step cargo test --locked --no-fail-fast --test conformance --test netns --test soak || failed=$?
if ((failed)); then
    printf '\nSome tests failed.\n' >&2
    exit "$failed"
fi
printf '\nAll checks passed.\n' >&2
