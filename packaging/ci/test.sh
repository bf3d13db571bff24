#!/usr/bin/env bash
# Runs the tests of topology files in a CI job: packaging/ci/test.sh FILE...
#
#   VNET_JUNIT      the directory for reports, one a file (vnet-junit)
#   VNET_ALLOW_RUN  1 runs the programs of the files; otherwise they are left out
#   VNET_OPTIONS    more options of `vnet test`, as in --model-only
#
# As root where that is possible without a password, else without root. All files are tested; the exit code is 1 if one fails.
set -euo pipefail
[ $# -gt 0 ] || { echo "vnet: no topology file is given" >&2; exit 2; }
vnet=${VNET_BIN:+$VNET_BIN/}vnet
vnet=$(command -v "$vnet") || { echo "vnet: the program is not on the path; packaging/ci/install.sh installs it" >&2; exit 4; }

junit=${VNET_JUNIT:-vnet-junit}
mkdir -p "$junit"
options=()
read -r -a options <<<"${VNET_OPTIONS:-}"
case ${VNET_ALLOW_RUN:-} in
    1 | true) options+=(--allow-run) ;;
    *) options+=(--no-run) ;;
esac
as=()
if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then as=(sudo); fi

failed=0
for file in "$@"; do
    echo "# $file"
    report=$junit/$(echo "${file#./}" | tr / _).xml
    code=0
    "${as[@]}" "$vnet" test "$file" "${options[@]}" --junit "$report" || code=$?
    # 3: warnings alone.
    [ "$code" = 0 ] || [ "$code" = 3 ] || failed=1
done
exit "$failed"
