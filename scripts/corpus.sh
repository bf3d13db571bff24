#!/bin/sh
# Tries ARM templates: a directory of folders, each with an `azuredeploy.json` and what it links to.
#
#   scripts/corpus.sh DIR [MINIMUM]
#
# Prints a line for each template: whether it loads and is valid, and why not. It ends with an error if fewer than MINIMUM
# percent (95) of those that declare a virtual network of their own do. `VNET` names the program, else it is built.
set -eu

directory=${1:?usage: scripts/corpus.sh DIR [MINIMUM]}
minimum=${2:-95}
here=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${VNET:-}" ]; then
    (cd "$here" && cargo build --release --locked --quiet)
    VNET=$here/target/release/vnet
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

declares=0 fine=0 others=0
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
[ "$((100 * fine))" -ge "$((minimum * declares))" ]
