#!/usr/bin/env bash
# Checks topology files, all of them: packaging/ci/validate.sh FILE... Warnings are shown and do not fail.
set -euo pipefail
failed=0
for file in "$@"; do
    code=0
    vnet validate "$file" || code=$?
    [ "$code" = 0 ] || [ "$code" = 3 ] || failed=1
done
exit "$failed"
