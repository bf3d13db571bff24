#!/usr/bin/env bash
# How many instructions a packet takes, compared with benches/instructions.txt. Counted by callgrind, so a busy machine
# does not matter; another compiler does: a change of one is a reason for --update, as is a change that is meant.
#   scripts/instructions.sh [--update]
# Exit code 1 if a case takes more than 3 % more than the table says. Not part of check.sh: it builds with full optimisation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

table=benches/instructions.txt
tolerance=3
# Of each case, as in the benchmark.
times=1000

if ! command -v valgrind >/dev/null; then
    echo "valgrind is missing: nothing was counted" >&2
    exit 0
fi

bench=$(cargo bench --locked --bench instructions --no-run --message-format=json |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')

count() {
    local log
    log=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*instructions::measured*' \
        "$bench" "$1" 2>&1)
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$log" | awk -v times="$times" '{ printf "%.0f", $1 / times }'
}

counts=$("$bench" | while read -r case; do
    printf '%-36s %6d\n' "$case" "$(count "$case")"
done)

if [[ ${1:-} == --update ]]; then
    printf '%s\n' "$counts" >"$table"
fi

awk -v tolerance="$tolerance" '
    NR == FNR { before[$1] = $2; next }
    {
        change = $1 in before ? 100 * ($2 - before[$1]) / before[$1] : 0
        more = change > tolerance
        printf "%-36s %6d %+6.1f %%%s\n", $1, $2, change, more ? "  more than before" : ""
        worse = worse || more
    }
    END { exit worse }
' "$table" - <<<"$counts"
