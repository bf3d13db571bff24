#!/usr/bin/env bash
# Measures what a capture of 100,000 packets a second costs a TCP stream beside it.
#
#   sudo scripts/capture.sh [--rounds N] [--seconds S] [--bound RATIO]
#
# A lab of four machines: one pair has a TCP stream, the other 100,000 datagrams a second. In every round the stream is
# measured without a capture and with one of the datagrams, written to a file; so what disturbs the machine disturbs both.
# Prints each round, the medians and their ratio; ends with an error if that is below RATIO (0.9), or if a datagram that
# arrived is neither in the file nor counted as missed. `VNET` names the program, else it is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=5 seconds=4 bound=0.9
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift 2 ;;
        --seconds) seconds=$2; shift 2 ;;
        --bound) bound=$2; shift 2 ;;
        *) sed -n '2,4p' "$0" >&2; exit 2 ;;
    esac
done
if [ -z "${VNET:-}" ]; then
    nice cargo build --profile dist --locked --quiet
    VNET=$PWD/target/dist/vnet
fi

lab=capture-$$
work=$(mktemp -d)
clean_up() {
    trap - EXIT INT TERM
    "$VNET" down "$lab" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cat >"$work/lab.yaml" <<YAML
name: $lab
virtualNetworks:
  - name: a
    location: westeurope
    addressSpace: [10.1.0.0/16]
    subnets: [{name: machines, addressPrefix: 10.1.0.0/24}]
    virtualNetworkPeerings: [{name: a-b, remoteVirtualNetwork: b}]
  - name: b
    location: westeurope
    addressSpace: [10.2.0.0/16]
    subnets: [{name: machines, addressPrefix: 10.2.0.0/24}]
    virtualNetworkPeerings: [{name: b-a, remoteVirtualNetwork: a}]
virtualMachines:
  - {name: client, networkInterfaces: [{subnet: a/machines}]}
  - {name: server, networkInterfaces: [{subnet: b/machines}]}
  - {name: sender, networkInterfaces: [{subnet: a/machines}]}
  - {name: receiver, networkInterfaces: [{subnet: b/machines}]}
YAML
"$VNET" up "$work/lab.yaml" >/dev/null
ask() { "$VNET" -l "$lab" "$@"; }

# Prints the stream's bits a second, and the datagrams that arrived.
measure() {
    ask bench sender receiver --only udp --rate 100000 --seconds "$seconds" -o json >"$work/udp" &
    local datagrams=$!
    ask bench client server --only tcp --seconds "$seconds" -o json >"$work/tcp"
    wait "$datagrams"
    printf '%s %s\n' "$(jq .tcp.bitsPerSecond "$work/tcp")" "$(jq .udp.received "$work/udp")"
}

median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

measure >/dev/null
for ((round = 1; round <= rounds; round++)); do
    read -r plain arrived < <(measure)
    "$VNET" -l "$lab" capture sender udp -w "$work/file.pcapng" 2>"$work/said" &
    capture=$!
    until [ -s "$work/file.pcapng" ]; do sleep 0.01; done
    read -r captured seen < <(measure)
    kill -TERM "$capture"
    wait "$capture" || true
    echo "$plain" >>"$work/plain"
    echo "$captured" >>"$work/captured"
    read -r written missed < <(awk '{ for (at = 1; at <= NF; at++) { if ($at == "captured," || $at == "captured") w = $(at - 2); if ($at == "found") m = $(at - 1) } } END { print w + 0, m + 0 }' "$work/said")
    awk -v a="$plain" -v b="$captured" -v u="$arrived" -v v="$seen" -v w="$written" -v m="$missed" -v s="$seconds" 'BEGIN {
        printf "%6.2f Gbit/s and %6.0f datagrams/s without, %6.2f Gbit/s and %6.0f with: %d in the file, %d missed\n", a / 1e9, u / s, b / 1e9, v / s, w, m }'
    if [ $((written + missed)) -lt "$seen" ]; then
        echo "$seen datagrams arrived, more than are in the file or counted as missed" >&2
        exit 1
    fi
done
awk -v a="$(median "$work/plain")" -v b="$(median "$work/captured")" -v bound="$bound" 'BEGIN {
    printf "medians: %.2f Gbit/s without, %.2f with: %.2f\n", a / 1e9, b / 1e9, b / a
    exit b / a < bound }'
