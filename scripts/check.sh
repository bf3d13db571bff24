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
step cargo test --locked --no-fail-fast
# Once more with the kernel carrying known flows.
VNET_DEVICE=veth step cargo test --locked --no-fail-fast --test conformance
printf '\nAll checks passed.\n' >&2
