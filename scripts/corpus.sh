#!/bin/sh
# Tries ARM templates: a directory of folders, each with an `azuredeploy.json` and what it links to.
#
#   scripts/corpus.sh DIR [MINIMUM] [--up N [--seed S]]
#
# Prints a line for each template: whether it loads and is valid, and why not. It ends with an error if fewer than MINIMUM
# percent (95) of those that declare a virtual network of their own do. `VNET` names the program, else it is built.
#
# --up brings N of the valid ones up afterwards, chosen by the seed (1), without the programs of the templates. Between
# the first three machines of each, real packets must do what the model says: pings and TCP to port 22, both ways. It ends
# with an error if a lab does not come up, or if a packet does otherwise. That needs root and jq.
set -eu

usage='usage: scripts/corpus.sh DIR [MINIMUM] [--up N [--seed S]]'
directory='' minimum=95 up=0 seed=1
while [ $# -gt 0 ]; do
    case $1 in
        --up) up=${2:?$usage}; shift 2 ;;
        --seed) seed=${2:?$usage}; shift 2 ;;
        -*) echo "$usage" >&2; exit 2 ;;
        *) if [ -z "$directory" ]; then directory=$1; else minimum=$1; fi; shift ;;
    esac
done
[ -n "$directory" ] || { echo "$usage" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${VNET:-}" ]; then
    (cd "$here" && cargo build --release --locked --quiet)
    VNET=$here/target/release/vnet
fi
scratch=$(mktemp -d)
lab=corpus-$$
clean_up() {
    "$VNET" down "$lab" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

declares=0 fine=0 others=0
: >"$scratch/valid"
for template in "$directory"/*/azuredeploy.json; do
    name=$(basename "$(dirname "$template")")
    code=0
    timeout 20 "$VNET" --color never import "$template" >"$scratch/file" 2>"$scratch/report" </dev/null || code=$?
    reason=$(grep -m 1 ' error' "$scratch/report" | sed "s|^$directory/[^:]*/\([^:]*:\)|\1|" | cut -c 1-160 || true)
    if grep -q 'there is no virtual network among the resources' "$scratch/report"; then
        others=$((others + 1))
        printf '%-60s %s\n' "$name" 'declares no virtual network'
        continue
    fi
    declares=$((declares + 1))
    case $code in
        0 | 3)
            fine=$((fine + 1))
            printf '%s\n' "$template" >>"$scratch/valid"
            printf '%-60s %s\n' "$name" 'valid'
            ;;
        124) printf '%-60s %s\n' "$name" 'FAILED: took longer than 20 seconds' ;;
        *) printf '%-60s %s\n' "$name" "FAILED: ${reason:-exit code $code}" ;;
    esac
done

if [ "$declares" -eq 0 ]; then
    echo "no template in $directory declares a virtual network" >&2
    exit 2
fi
percent=$((100 * fine / declares))
echo
echo "$fine of $declares templates with a virtual network are valid: $percent %; $others declare none"
[ "$((100 * fine))" -ge "$((minimum * declares))" ] || exit 1
[ "$up" -gt 0 ] || exit 0

# Prints the pairs of machines among which packets are sent.
pairs() {
    "$VNET" -l "$lab" reach -o json | jq -r '[.nodes[] | select(. != "internet")][:3] | . as $all
        | range(length) as $a | range(length) as $b | select($a != $b) | "\($all[$a]) \($all[$b])"'
}

# Sends a packet of each kind from one machine to another, and counts what it did.
compare() {
    for to in "$2" "$2:22"; do
        "$VNET" -l "$lab" explain "$1" "$to" --verify -o json >"$scratch/answer" 2>"$scratch/said" </dev/null || true
        case $(jq -r '"\(.verification.agrees) \(.verification.verdict)"' "$scratch/answer" 2>/dev/null) in
            'true reachable') passed=$((passed + 1)) ;;
            'true '*) stopped=$((stopped + 1)) ;;
            *) differs="$1 to $to: $(jq -r '.verification.differences | join("; ")' "$scratch/answer" 2>/dev/null; head -n 1 "$scratch/said")" ;;
        esac
    done
}

echo
came=0 tried=0
awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand() "\t" $0 }' "$scratch/valid" | sort -n | cut -f 2 | head -n "$up" >"$scratch/chosen"
while read -r template; do
    name=$(basename "$(dirname "$template")")
    tried=$((tried + 1)) passed=0 stopped=0 differs=''
    code=0
    timeout 120 "$VNET" --color never -l "$lab" up --no-run "$template" >"$scratch/said" 2>&1 </dev/null || code=$?
    if [ "$code" -ne 0 ] && [ "$code" -ne 3 ]; then
        printf '%-60s %s\n' "$name" "FAILED: $(grep -m 1 error "$scratch/said" | cut -c 1-160)"
        "$VNET" down "$lab" >/dev/null 2>&1 || true
        continue
    fi
    pairs >"$scratch/pairs" </dev/null
    while read -r from to; do compare "$from" "$to"; done <"$scratch/pairs"
    "$VNET" down "$lab" >/dev/null 2>&1 || true
    if [ -n "$differs" ]; then
        printf '%-60s %s\n' "$name" "FAILED: $differs"
    else
        came=$((came + 1))
        printf '%-60s %s\n' "$name" "up: $passed packets arrive, $stopped are dropped, as the model says"
    fi
done <"$scratch/chosen"
echo
echo "$came of $tried came up, and packets did what the model says"
[ "$came" -eq "$tried" ]
